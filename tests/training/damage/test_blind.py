"""The paper's model for batches, against the one for single pictures and measured back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from restorer.training import degradations
from restorer.training.damage import blind
from restorer.training.damage.draws import Draws
from restorer.training.degradations import PRESETS, Degradation
from tests.training.damage.pictures import draws, flat, luma, psnr, texture

NOTHING = Degradation(sigma=(0.0, 0.0), angle=0.0, downscale=1.0, noise=0.0, quality=100)


def _pixels(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.mark.parametrize("preset", PRESETS)
def test_without_noise_it_is_what_the_single_one_gives(preset: str) -> None:
    images = texture(6)
    quiet = replace(PRESETS[preset], noise=(0.0, 0.0))
    together = blind.degrade(images, quiet, draws(6))
    for row in range(6):
        alone = degradations.degrade(_pixels(images[row]), quiet, np.random.default_rng([0, row]))
        assert psnr(_pixels(together[row]), alone) > 40


def test_an_image_depends_on_its_generator_alone() -> None:
    images = texture(5)
    together = blind.degrade(images, PRESETS["released"], draws(5))
    for row in (0, 3):
        alone = blind.degrade(images[row : row + 1], PRESETS["released"], Draws([np.random.default_rng([0, row])]))
        assert torch.equal(alone[0], together[row])
    other = blind.degrade(images, PRESETS["released"], draws(5, seed=1))
    assert not torch.equal(other, together)


def test_blur_is_as_wide_as_asked_for() -> None:
    edge = flat(0, 2)
    edge[..., 64:] = 255
    drawn = [replace(NOTHING, sigma=(sigma, sigma)) for sigma in (2.0, 6.0)]
    result = luma(blind.apply(edge, drawn, draws(2)))
    for row, one in enumerate(drawn):
        slope = np.diff(result[row, 64]) / 255
        centre = (np.arange(127) * slope).sum()
        assert np.sqrt(((np.arange(127) - centre) ** 2 * slope).sum()) == pytest.approx(one.sigma[0], rel=0.05)


def test_noise_has_the_deviation_asked_for() -> None:
    drawn = [replace(NOTHING, noise=noise) for noise in (4.0, 12.0)]
    result = luma(blind.apply(flat(128, 2, 256), drawn, draws(2)))  # chroma is halved by the JPEG
    for row, one in enumerate(drawn):
        assert result[row].std() == pytest.approx(one.noise * np.linalg.norm([0.299, 0.587, 0.114]), rel=0.05)


def test_the_factor_of_the_reduction_shows_in_the_spectrum() -> None:
    noise = (torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0)) * 40 + 128).clamp(0, 255)
    images = noise.expand(-1, 3, -1, -1)
    widths = []
    for factor in (2.0, 4.0):
        result = luma(blind.apply(images, [replace(NOTHING, downscale=factor)], draws(1)))[0]
        power = (np.abs(np.fft.fft2(result - result.mean())) ** 2).mean(axis=0)[:128]
        widths.append(np.searchsorted(np.cumsum(power) / power.sum(), 0.9) / 256)
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.15) and widths[0] < 0.3


def test_jpegs_level_shows_as_blocks() -> None:
    images = texture(2)
    result = luma(blind.apply(images, [replace(NOTHING, quality=quality) for quality in (90, 15)], draws(2)))
    steps = np.abs(np.diff(result, axis=2)).mean(axis=(1,))
    blocks = np.arange(95) % 8 == 7
    seams = steps[:, blocks].mean(axis=1) / steps[:, ~blocks].mean(axis=1)
    assert seams[1] > 1.15 * seams[0]
