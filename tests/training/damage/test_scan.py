"""Sharpening, noise, streaks and a second JPEG, measured back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restorer.training.damage.jpeg import jpeg
from restorer.training.damage.scan import jpeg_again, scanner_noise, sharpen, streaks
from tests.training.damage.pictures import draws, flat, luma, texture


def _size(count: int, side: int) -> np.ndarray:
    return np.full((count, 2), side)


def test_sharpening_puts_halos_beside_an_edge() -> None:
    edge = flat(80)
    edge[..., 64:] = 170
    row = luma(sharpen(edge, 1.5, 1.0, widest=2))[0, 64]
    # The mask of a step is half the step at its foot: the halo is a bit less than that.
    assert row[64:].max() - 170 == pytest.approx(45 * 0.74, abs=6) and 80 - row[:64].min() == pytest.approx(33, abs=6)
    assert np.abs(row[:50] - 80).max() < 0.5
    assert torch.allclose(sharpen(flat(90), 1.5, 2.0, widest=2), flat(90), atol=1e-3)


def test_scanner_noise_has_its_shares_of_grey_and_colour() -> None:
    noise = scanner_noise(flat(100, 3, 256), draws(3), _size(3, 256), np.array([6, 0, 3]), np.array([0, 5, 4])) - 100
    assert torch.allclose(noise[0, 0], noise[0, 1], atol=1e-4)
    assert noise[0].std() == pytest.approx(6, rel=0.05)
    assert noise[1].std() == pytest.approx(5, rel=0.05)
    assert np.corrcoef(noise[1, 0].flatten(), noise[1, 1].flatten())[0, 1] == pytest.approx(0, abs=0.02)
    assert np.corrcoef(noise[2, 0].flatten(), noise[2, 1].flatten())[0, 1] == pytest.approx(9 / 25, abs=0.03)


def test_streaks_run_down_the_picture_in_few_columns() -> None:
    change = streaks(flat(100, 1, 512), draws(1), _size(1, 512), 20.0)[0] - 100
    assert torch.equal(change[:, :1].expand(-1, 512, -1), change)
    bad = (change[:, 0] != 0).float().mean()
    assert bad == pytest.approx(0.0455, abs=0.02)  # beyond two deviations


def test_a_second_jpeg_has_its_blocks_elsewhere() -> None:
    images = texture(2)
    once = jpeg(images, 70)
    shift = np.array([[0, 0], [3, 5]])
    twice = jpeg_again(once, 30, _size(2, 96), shift)
    assert torch.equal(twice[0], jpeg(once[:1], 30)[0])
    # Moved by hand: what is cut off at the far side makes no difference away from it.
    canvas = torch.nn.functional.pad(once[1:], (5, 11, 3, 13), mode="replicate")
    assert torch.equal(twice[1], jpeg(canvas, 30)[0, :, 3:99, 5:101])
    steps = np.abs(np.diff(luma(twice), axis=2)).mean(axis=1)
    places = np.arange(95)
    seams = [[steps[row, places % 8 == phase].mean() for phase in range(8)] for row in range(2)]
    assert int(np.argmax(seams[0])) == 7 and int(np.argmax(seams[1])) == (7 - 5) % 8
