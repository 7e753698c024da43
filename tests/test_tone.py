from __future__ import annotations

import numpy as np
import pytest

from restorer.tone import GREY, LUMA, tone_of


def ramp(noise: float = 0.0) -> np.ndarray:
    """Return a brightness picture with all levels, float, 0..255."""
    rng = np.random.default_rng(3)
    return np.clip(np.tile(np.linspace(5, 250, 300), (200, 1)) + rng.normal(0, noise, (200, 300)), 0, 255)


def sepia(brightness: np.ndarray) -> np.ndarray:
    """Tint a brightness picture by a smooth curve that keeps its brightness."""
    tint = 30 * np.sin(np.pi * brightness / 255)
    return np.stack([brightness + tint, brightness, brightness - tint * 0.299 / 0.114], axis=-1)


def as_photo(values: np.ndarray, dtype: type = np.uint8) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255) * (257 if dtype is np.uint16 else 1)).astype(dtype)


def test_grey_is_grey() -> None:
    pixels = as_photo(np.repeat(ramp()[..., None], 3, axis=2))
    assert tone_of(pixels) is GREY
    toned = GREY.apply(np.full((4, 4, 3), (200, 100, 50), np.float32))
    assert np.allclose(toned, float(np.array([200, 100, 50]) @ LUMA), atol=1e-3)
    assert np.array_equal(toned[..., 0], toned[..., 2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_sepia_gives_its_curve(dtype: type, noise: float) -> None:
    rng = np.random.default_rng(1)
    tone = tone_of(as_photo(sepia(ramp(noise)) + rng.normal(0, noise / 2, (200, 300, 3)), dtype))
    assert tone is not None
    red = np.full((10, 10, 3), (160, 60, 60), np.float32)
    brightness = float(red[0, 0] @ LUMA)
    expected = sepia(np.array(brightness))
    assert np.abs(tone.apply(red)[0, 0] - expected).max() < 2.5
    assert abs(float(tone.apply(red)[0, 0] @ LUMA) - brightness) < 0.5


def test_colour_is_colour() -> None:
    values = sepia(ramp())
    assert tone_of(as_photo(np.random.default_rng(0).uniform(0, 255, (50, 60, 3)))) is None
    values[60:90, 100:140] = (180, 60, 60)
    assert tone_of(as_photo(values)) is None, "a small patch of colour makes a colour photograph"


def test_flat_and_tiny_pictures() -> None:
    tone = tone_of(np.full((1, 1, 3), (90, 80, 70), np.uint8))
    assert tone is not None
    applied = tone.apply(np.full((2, 2, 3), 82, np.float32))
    assert np.isfinite(applied).all() and applied[0, 0, 0] > applied[0, 0, 2]
