"""Damage for the detector's views: repeatable, same shape, and each kind does what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from restorer.training import detector_degradations as damage


@pytest.fixture
def view() -> np.ndarray:
    """Smooth colours, 64×64."""
    y, x = np.mgrid[0:64, 0:64]
    return np.stack((x * 4, y * 4, 255 - x * 2 - y * 2), axis=2).astype(np.uint8)


def test_the_same_generator_gives_the_same_damage(view):
    for seed in range(20):
        first = damage.degrade(view, np.random.default_rng(seed))
        second = damage.degrade(view, np.random.default_rng(seed))
        assert first.dtype == np.uint8
        assert first.shape == view.shape
        np.testing.assert_array_equal(first, second)


def test_the_view_itself_stays(view):
    before = view.copy()
    for seed in range(20):
        damage.degrade(view, np.random.default_rng(seed))
    np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize("step", [step for step, _ in damage.STEPS], ids=lambda step: step.__name__)
def test_each_kind_changes_pixels_and_keeps_shape_and_type(view, step):
    pixels = view.astype(np.float32)
    for seed in range(5):
        result = step(pixels.copy(), np.random.default_rng(seed))
        assert result.shape == pixels.shape
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
    assert np.abs(result - pixels).max() > 1


def test_grey_keeps_the_luma_of_an_untinted_print(view):
    pixels = view.astype(np.float32)
    luma = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]
    results = [damage.grey(pixels, np.random.default_rng(seed)) for seed in range(12)]
    untinted = [result for result in results if np.ptp(result, axis=2).max() < 1e-3]
    assert 0 < len(untinted) < len(results)
    np.testing.assert_allclose(untinted[0][..., 0], luma, atol=1e-2)


def test_blur_keeps_the_mean_and_removes_detail():
    checker = (np.indices((64, 64)).sum(axis=0) % 2 * 255.0).astype(np.float32)[..., None].repeat(3, axis=2)
    result = damage.blur(checker, np.random.default_rng(1))
    assert abs(result.mean() - checker.mean()) < 1
    assert result.std() < 0.7 * checker.std()


def test_fading_narrows_the_range(view):
    result = damage.fade(view.astype(np.float32), np.random.default_rng(0))
    assert np.ptp(result) < 0.5 * np.ptp(view.astype(np.float32))
