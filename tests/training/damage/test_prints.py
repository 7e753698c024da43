"""Tone and the marks of time, measured back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restorer.training.damage import prints
from tests.training.damage.pictures import draws, flat, luma, ramp, texture


def _chroma(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Cb and Cr, by their definition from brightness."""
    y = luma(images)
    blue, red = images[:, 2].numpy(), images[:, 0].numpy()
    return (blue - y) / 1.772, (red - y) / 1.402


def test_a_plate_that_sees_blue_makes_skin_dark_and_has_no_colour() -> None:
    skin = torch.tensor([200.0, 150.0, 120.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    seen = prints.black_and_white(skin, np.array([0.3, 0.05]), np.array([0.12, 0.45]))
    assert torch.equal(seen[:, 0], seen[:, 1]) and torch.equal(seen[:, 0], seen[:, 2])
    assert seen[0, 0, 0, 0] == pytest.approx(0.3 * 200 + 0.58 * 150 + 0.12 * 120, abs=1e-3)
    assert seen[1].max() < seen[0].max() - 10


def test_development_is_a_gamma_and_a_contrast() -> None:
    values = prints.develop(ramp(), 1.0, 1.0)
    assert torch.allclose(values, ramp(), atol=1e-3)
    assert prints.develop(flat(128), 2.0, 1.0)[0, 0, 0, 0] == pytest.approx(255 * (128 / 255) ** 2, abs=1e-2)
    slope = prints.develop(ramp(), 1.0, 0.5)[0, 0, 0].diff()
    assert slope.mean() == pytest.approx(0.5, rel=1e-3)


def test_fading_moves_black_and_white_to_their_levels() -> None:
    faded = prints.fade(ramp().expand(2, -1, -1, -1), np.array([30, 0]), np.array([200, 255]))
    assert faded[0].min() == pytest.approx(30) and faded[0].max() == pytest.approx(200)
    assert torch.allclose(faded[1], ramp()[0])


def test_sepia_has_the_chroma_asked_for_and_keeps_the_brightness() -> None:
    toned = prints.tint(ramp(), -20.0, 9.0, 0.5)
    assert np.abs(luma(toned) - luma(ramp())).max() < 0.05
    blue, red = _chroma(toned)
    middle, white, black = 128, -1, 0
    assert blue[0, 0, middle] == pytest.approx(-20, abs=0.2) and red[0, 0, middle] == pytest.approx(9, abs=0.2)
    assert blue[0, 0, white] == pytest.approx(-10, abs=0.1) and red[0, 0, white] == pytest.approx(4.5, abs=0.1)
    assert abs(blue[0, 0, black]) < 0.1


def test_uneven_fading_is_smooth_and_as_strong_as_asked_for() -> None:
    change = luma(prints.fade_unevenly(flat(128, 40, 96), draws(40), 10.0)) - 128
    assert change.std() == pytest.approx(10, rel=0.15)
    assert np.abs(np.diff(change, axis=2)).mean() < 1  # white noise would change by 11 levels a pixel


def test_a_vignette_leaves_the_middle_and_fills_the_corners() -> None:
    faded = prints.vignette(flat(100), 0.6, 240.0, 1.0)[0, 0]
    assert faded[64, 64] == 100 and faded[64, 100] == 100
    assert faded[0, 0] == pytest.approx(240, abs=0.5)
    assert (faded[64].diff()[64:] >= 0).all()


def test_a_stain_takes_light_in_its_patch_more_blue_than_red() -> None:
    paper = flat(200, 30)
    left = prints.stain(paper, draws(30), 0.4, 1.0) / paper
    assert left.min() > 1 - 0.4 - 1e-3 and left.max() <= 1 + 1e-5
    dark = left[:, 2] < 0.9
    assert 0.02 < dark.float().mean() < 0.6
    assert (left[:, 0] >= left[:, 2] - 1e-5).all()
    grey = prints.stain(paper, draws(30), 0.4, 0.0)
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert torch.equal(prints.stain(paper, draws(30), 0.0, 1.0), paper)


def test_a_scratch_is_a_thin_line_of_its_level() -> None:
    count = 30
    change = prints.scratch(flat(100, count, 192), draws(count), 80.0, 1.5)[:, 0] - 100
    assert change.min() >= 0 and change.max() <= 80
    touched = change > 20
    assert touched.any(dim=(1, 2)).float().mean() > 0.8
    for picture in touched[touched.any(dim=(1, 2))]:
        # A line: along rows or columns no more than a few pixels are touched at once, for most of them.
        thickness = min(np.median(lines[lines > 0]) for lines in (picture.sum(0).numpy(), picture.sum(1).numpy()))
        assert thickness <= 5
    dark = prints.scratch(flat(100, count, 192), draws(count), -80.0, 1.5)[:, 0] - 100
    assert torch.allclose(dark, -change, atol=1e-3)


def test_a_crease_crosses_the_picture() -> None:
    change = (prints.crease(flat(100, 20, 128), draws(20), 80.0, 2.0)[:, 0] - 100) > 30
    longest = torch.maximum(change.any(dim=1).sum(1), change.any(dim=2).sum(1))
    assert longest.float().median() > 64
    assert change.float().mean() < 0.08


def test_dust_has_the_density_and_level_asked_for() -> None:
    dusty = prints.dust(flat(100, 4, 256), draws(4), 3e-4, 0.8, 255.0, largest=1.3)
    specks = dusty[:, 0] > 200
    expected = 3e-4 * 4 * 256**2
    # a speck of this size covers about a handful of pixels
    assert expected < specks.sum() < 14 * expected
    assert dusty.max() == 255 and (dusty == 100).float().mean() > 0.9
    assert torch.equal(prints.dust(texture(1), draws(1), 0.0, 0.8, 255.0, largest=1.3), texture(1))
