"""Degradations, measured back from the images they make."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from restorer.training.damage import blind
from restorer.training.damage.draws import Draws
from restorer.training.degradations import PRESETS, Degradation, apply, degrade, draw, gaussian_kernel, jpeg

NOTHING = Degradation(sigma=(0.0, 0.0), angle=0.0, downscale=1.0, noise=0.0, quality=100)


@pytest.fixture
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_generator_gives_the_same_image(picture: np.ndarray, preset: str) -> None:
    before = picture.copy()
    first = degrade(picture, PRESETS[preset], np.random.default_rng(5))
    assert np.array_equal(first, degrade(picture, PRESETS[preset], np.random.default_rng(5)))
    assert not np.array_equal(first, degrade(picture, PRESETS[preset], np.random.default_rng(6)))
    assert np.array_equal(picture, before)
    assert first.shape == picture.shape and first.dtype == np.uint8


def test_draws_stay_in_their_ranges() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw(PRESETS["released"], rng) for _ in range(500)]
    assert min(min(d.sigma) for d in drawn) >= 0.1 and max(max(d.sigma) for d in drawn) <= 10
    assert min(d.downscale for d in drawn) >= 0.8 and max(d.downscale for d in drawn) <= 8
    assert max(d.noise for d in drawn) <= 20 and min(d.quality for d in drawn) >= 60
    isotropic = np.mean([d.sigma[0] == d.sigma[1] for d in drawn])
    assert isotropic == pytest.approx(0.5, abs=0.07)
    assert all(d.sigma[0] == d.sigma[1] for d in (draw(PRESETS["paper"], rng) for _ in range(50)))


@pytest.mark.parametrize("sigma", [(3.0, 3.0), (2.0, 6.0)])
@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2])
def test_a_kernel_has_the_variances_asked_for(sigma: tuple[float, float], angle: float) -> None:
    kernel = gaussian_kernel(61, sigma, angle).astype(np.float64)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    steps = np.arange(61) - 30
    xs, ys = np.meshgrid(steps, steps)
    covariance = np.array([[(kernel * a * b).sum() for b in (xs, ys)] for a in (xs, ys)])
    assert np.sort(np.linalg.eigvalsh(covariance)) == pytest.approx(np.sort(np.square(sigma)), rel=0.01)
    axis = np.array([np.cos(angle), np.sin(angle)])
    assert axis @ covariance @ axis == pytest.approx(sigma[0] ** 2, rel=0.01)


def test_nothing_but_jpeg_at_100_is_almost_nothing(picture: np.ndarray) -> None:
    result = apply(picture, NOTHING, np.random.default_rng(0))
    assert np.abs(result.astype(int) - picture).mean() < 2  # chroma is still halved


def test_blur_widens_an_edge_by_its_sigma() -> None:
    edge = np.zeros((128, 128, 3), np.uint8)
    edge[:, 64:] = 255
    result = apply(edge, replace(NOTHING, sigma=(5.0, 5.0)), np.random.default_rng(0))
    slope = np.diff(result[64, :, 1].astype(np.float64)) / 255
    centre = (np.arange(127) * slope).sum()
    assert np.sqrt(((np.arange(127) - centre) ** 2 * slope).sum()) == pytest.approx(5, rel=0.05)


def test_noise_has_the_deviation_asked_for() -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    result = apply(grey, replace(NOTHING, noise=10.0), np.random.default_rng(0))
    luma = cv2.cvtColor(result, cv2.COLOR_RGB2GRAY).astype(np.float64)  # chroma is halved by the JPEG
    assert luma.std() == pytest.approx(10 * np.linalg.norm([0.299, 0.587, 0.114]), rel=0.05)


def test_reducing_removes_what_is_finer_than_the_factor() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    assert apply(stripes, replace(NOTHING, downscale=8.0, sigma=(2.0, 2.0)), np.random.default_rng(0)).std() < 3


def test_jpeg_loses_more_at_lower_quality(picture: np.ndarray) -> None:
    errors = [np.abs(jpeg(picture, quality).astype(int) - picture).mean() for quality in (95, 60, 20)]
    assert errors == sorted(errors) and errors[0] < errors[2]


def _step(grey: np.ndarray, row: int, column: int) -> int:
    """The step in which a DCT coefficient of a decoded JPEG goes, measured from its 8×8 blocks."""
    height, width = grey.shape
    blocks = grey.reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8).astype(np.float32)
    values = np.array([cv2.dct(block - 128)[row, column] for block in blocks])
    # at the step itself and what divides it every value lies on the comb's teeth
    return max(step for step in range(1, 40) if np.cos(2 * np.pi * values / step).mean() > 0.7)


@pytest.mark.parametrize("quality", [40, 60, 75])
@pytest.mark.parametrize("batched", [False, True])
def test_jpegs_level_is_the_one_asked_for(quality: int, batched: bool) -> None:
    """The steps are those of the standard's luminance table (T.81, K.1), scaled as libjpeg scales it."""
    noise = np.random.default_rng(3).normal(0, 160, (256, 256)).astype(np.float32)
    grey = np.clip(128 + cv2.GaussianBlur(noise, (0, 0), 1.2), 0, 255).astype(np.uint8)
    image, drawn = np.stack([grey] * 3, axis=-1), replace(NOTHING, quality=quality)
    if batched:
        images = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        result = blind.apply(images, [drawn], Draws([np.random.default_rng(0)]))[0].permute(1, 2, 0).numpy()
    else:
        result = apply(image, drawn, np.random.default_rng(0)).astype(np.float32)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    for (row, column), base in {(0, 1): 11, (1, 0): 12, (1, 1): 12, (0, 2): 10}.items():
        assert _step(result[..., 1], row, column) == (base * scale + 50) // 100, (row, column)
