"""Old photographs: repeatable, each by itself, damaged in their own tone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from restorer.training.damage.draws import Draws
from restorer.training.damage.old import OldSettings, age
from tests.training.damage.pictures import draws, luma, peak_frequency, psnr, texture

UNHURT = OldSettings(
    lens=(0.01, 0.02),
    grain=0,
    halftone=0,
    uneven=0,
    vignette=0,
    stains=0,
    scratches=0,
    crease=0,
    dust=0,
    shrink=(1.0, 1.0),
    noise=(0, 0),
    streaks=0,
    sharpen=0,
    quality=(100, 100),
    twice=0,
)
"""Only the tone changes."""


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    picture = data.astronaut()[:256, 100:356]
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()


def test_a_photograph_depends_on_its_generator_alone(face: torch.Tensor) -> None:
    small = face[:, :, :120, :100]
    images = small.expand(12, -1, -1, -1)
    together = age(images, OldSettings(), draws(12))
    for row in (0, 5, 11):
        alone = age(small, OldSettings(), Draws([np.random.default_rng([0, row])]))
        for one, many in zip(alone, together, strict=True):
            assert (one[0] != many[row]).float().mean() < 1e-3  # a level may round the other way
            assert (one[0] - many[row]).abs().mean() < 0.01
    again = age(images, OldSettings(), draws(12))
    assert torch.equal(again[0], together[0]) and torch.equal(again[1], together[1])
    assert not torch.equal(age(images, OldSettings(), draws(12, seed=1))[0], together[0])


def test_pictures_are_whole_numbers_and_the_input_is_left_alone() -> None:
    images = texture(4, 80)
    before = images.clone()
    for result in age(images, OldSettings(), draws(4)):
        assert result.shape == images.shape and result.dtype == torch.float32
        assert torch.equal(result, result.round()) and result.min() >= 0 and result.max() <= 255
    assert torch.equal(images, before)


def test_without_damage_the_aged_one_is_the_truth(face: torch.Tensor) -> None:
    images = face.expand(8, -1, -1, -1)
    aged, truth = age(images, UNHURT, draws(8))
    grey = (aged.amax(dim=1) - aged.amin(dim=1)).amax(dim=(1, 2)) == 0
    for row in range(8):
        if grey[row]:  # JPEG takes nothing from the colours of a grey one
            assert psnr(aged[row], truth[row]) > 48
        else:
            assert psnr(aged[row], truth[row]) > 35


def test_damage_is_not_in_the_truth(face: torch.Tensor) -> None:
    images = face.expand(10, -1, -1, -1)
    aged, truth = age(images, OldSettings(), draws(10))
    for row in range(10):
        assert psnr(aged[row], truth[row]) < 35
        # The truth has the face's own detail: brightness follows the original's by one rising curve.
        assert np.corrcoef(luma(truth)[row].ravel(), luma(face)[0].ravel())[0, 1] > 0.9


def test_shares_of_tones_are_as_asked_for() -> None:
    images = torch.cat([texture(1, 24)] * 200)
    for settings, colourless, tinted in (
        (replace(UNHURT, black_and_white=1.0, toned=0.0), 1.0, 0.0),
        (replace(UNHURT, black_and_white=1.0, toned=1.0), 0.0, 1.0),
        (replace(UNHURT, black_and_white=0.0), 0.0, 0.0),
        (UNHURT, 0.85 * 0.5, 0.85 * 0.5),
    ):
        _, truth = age(images, settings, draws(200))
        spread = (truth.amax(dim=1) - truth.amin(dim=1)).flatten(1)
        grey = spread.amax(dim=1) == 0
        # In a toned print the colour follows from the brightness: along it, blue falls behind red everywhere.
        brightness = luma(truth).reshape(200, -1)
        residual = []
        for row in range(200):
            order = np.argsort(brightness[row])
            residual.append(np.abs(np.diff((truth[row, 2] - truth[row, 0]).flatten().numpy()[order])).mean())
        one_curve = (np.array(residual) < 3) & ~grey.numpy()
        assert grey.float().mean() == pytest.approx(colourless, abs=0.1)
        assert one_curve.mean() == pytest.approx(tinted, abs=0.12)


def test_a_grey_face_gets_no_colour_but_a_tint() -> None:
    grey = texture(1, 48)[:, :1].expand(30, 3, -1, -1)
    _, truth = age(grey, replace(OldSettings(), black_and_white=0.0, toned=0.0), draws(30))
    assert torch.equal(truth[:, 0], truth[:, 2])


def test_fading_and_sepia_lie_in_their_ranges(face: torch.Tensor) -> None:
    settings = replace(UNHURT, black_and_white=1.0, toned=1.0)
    black_to_white = torch.linspace(0, 255, 64).expand(60, 3, 8, 64)
    _, truth = age(black_to_white, replace(settings, contrast=(1.0, 1.0)), draws(60))
    brightness = luma(truth)
    assert brightness.min() >= -1 and brightness[..., 0].max() <= 86 and brightness[..., -1].min() >= 149
    blue = ((truth[:, 2].numpy() - brightness) / 1.772)[:, 0]
    red = ((truth[:, 0].numpy() - brightness) / 1.402)[:, 0]
    strongest = blue.min(axis=1)
    assert strongest.min() >= -1.35 * 26 and strongest.max() <= -2
    assert red.max() <= 14 * 1.35 + 1 and red.max(axis=1).min() >= 1


def test_the_damage_asked_for_is_found(face: torch.Tensor) -> None:
    flat = torch.full((6, 3, 192, 192), 128.0)
    printed, _ = age(
        flat, replace(UNHURT, halftone=1.0, halftone_period=(4.0, 4.0), halftone_hardness=(8, 8)), draws(6)
    )
    for picture in luma(printed):
        frequency, direction = peak_frequency(picture)
        assert 1 / frequency == pytest.approx(4, rel=0.04)
        assert min(abs(direction - np.pi / 4), direction, np.pi / 2 - direction) < 0.2
    grained, truth = age(flat, replace(UNHURT, grain=1.0, grain_amount=(8.0, 8.0), black_and_white=1.0), draws(6))
    assert (luma(grained) - luma(truth)).std(axis=(1, 2)).mean() == pytest.approx(8, rel=0.45)
    small, truth = age(face.expand(6, -1, -1, -1), replace(UNHURT, shrink=(4.0, 4.0)), draws(6))
    for picture, whole in zip(luma(small), luma(truth), strict=True):
        fine = [(np.abs(np.fft.fft2(one)) ** 2).mean(axis=0)[40:128].sum() for one in (picture, whole)]
        assert fine[0] < 0.1 * fine[1]


def test_pictures_of_any_size_can_be_aged() -> None:
    for height, width in ((1, 1), (5, 40), (33, 17)):
        for seed in range(12):
            aged, truth = age(torch.full((1, 3, height, width), 90.0), OldSettings(), draws(1, seed))
            assert aged.shape == truth.shape == (1, 3, height, width) and torch.isfinite(aged).all()
