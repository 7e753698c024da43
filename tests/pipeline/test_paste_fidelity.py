"""A crop that comes back unchanged leaves the photograph as it was: any turn and scale, the networks' own size, too.

The picture is noise with a dense spectrum up to what crop and canvas can hold, so that an error at any frequency shows.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restorer.faces import RestoredFace
from restorer.pipeline.align import align
from restorer.pipeline.mask import face_mask
from restorer.pipeline.paste import paste
from restorer.pipeline.upsample import enlarge
from restorer.resample import enlarged_size

from .scenes import face_at

BAND = 0.2
"""Greatest frequency of the picture in cycles per pixel of the photograph, the crop or the canvas: the coarsest."""


def noise(side: int, band: float, seed: int) -> np.ndarray:
    """Side×side×3 uint8 whose spectrum is flat up to ``band`` cycles per pixel and ends there."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    white = np.random.default_rng(seed).normal(size=(3, side, side))
    limited = np.fft.irfft2(np.fft.rfft2(white) * (frequencies <= band), s=(side, side))
    return np.rint(128 + 120 * limited / np.abs(limited).max()).astype(np.uint8).transpose(1, 2, 0)


def phase_shift(before: np.ndarray, after: np.ndarray, band: float) -> np.ndarray:
    """Return by how many pixels (x, y) a picture is shifted against another, from the phases of their spectra."""
    rows, columns = before.shape
    window = np.hanning(rows)[:, None] * np.hanning(columns)
    first, second = (np.fft.fft2((picture - picture.mean()) * window) for picture in (before, after))
    y, x = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij")
    inside = (np.hypot(x, y) < 0.9 * band) & (np.hypot(x, y) > 2 / min(rows, columns))
    inside &= np.abs(first) > np.median(np.abs(first[inside]))  # the phase of what is hardly there is noise
    turn = np.angle(second[inside] * np.conj(first[inside]))
    shift, *_ = np.linalg.lstsq(-2 * np.pi * np.stack([x[inside], y[inside]], axis=1), turn, rcond=None)
    return shift


def pasted_back(
    scale: float, degrees: float, size: int, upscale: float, seed: int = 0, band: float = BAND
) -> tuple[np.ndarray, np.ndarray, float]:
    """Cut a face out and paste it back; return the canvas, the result, and the crop's side in the canvas."""
    side = int(1.45 * size / scale) // 2 * 2 + 24
    photo = noise(side, band * min(1, scale, upscale), seed)
    canvas = enlarge(photo, upscale)
    aligned = align(photo, face_at((side / 2 + 0.3, side / 2 - 0.4), scale, degrees, size), size)
    mask = np.pad(np.ones((size - 16, size - 16), np.float32), 8)
    result = paste(canvas, [RestoredFace(aligned, aligned.crop)], [mask], scale=true_scale(photo, canvas))
    return canvas, result, size / scale * upscale


def true_scale(photo: np.ndarray, canvas: np.ndarray) -> tuple[float, float]:
    return canvas.shape[1] / photo.shape[1], canvas.shape[0] / photo.shape[0]


def middle(picture: np.ndarray, half: int) -> np.ndarray:
    y, x = picture.shape[0] // 2, picture.shape[1] // 2
    return picture[y - half : y + half, x - half : x + half].mean(axis=2)


def test_the_measure_sees_a_twentieth_of_a_pixel() -> None:
    large = noise(512, BAND, 1).mean(axis=2)
    spectrum = np.fft.fft2(large)
    y, x = np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512), indexing="ij")
    for true in ((0.05, 0.0), (-0.03, 0.3), (0.0, 0.0)):
        moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (x * true[0] + y * true[1]))).real
        part = np.s_[200:280, 200:280]
        assert phase_shift(large[part], np.rint(moved)[part], BAND) == pytest.approx(true, abs=0.01)


@pytest.mark.parametrize(
    ("scale", "upscale", "degrees"),
    [
        (0.5, 1.0, 290),
        (0.8, 1.5, 118),
        (1.0, 1.0, 75),
        (1.0, 2.0, 344),
        (1.6, 1.0, 204),
        (2.5, 2.0, 0.5),
        (4.0, 1.0, 250),
    ],
)
def test_the_networks_own_crop_survives(scale: float, upscale: float, degrees: float) -> None:
    canvas, result, crop = pasted_back(scale, degrees, 512, upscale)
    assert np.abs(result.astype(int) - canvas).max() <= 2
    half = int(crop * 0.35 * 0.7)  # within the turned crop, more than 20 pixels from its end
    shift = phase_shift(middle(canvas, half), middle(result, half), BAND * min(1, scale) / upscale)
    assert np.abs(shift).max() < 0.05


@settings(max_examples=25, deadline=None, derandomize=True)
@given(scale=st.floats(0.5, 4), degrees=st.floats(0, 360), upscale=st.floats(1, 3), seed=st.integers(0, 99))
def test_any_turn_and_scale(scale: float, degrees: float, upscale: float, seed: int) -> None:
    canvas, result, _ = pasted_back(scale, degrees, 128, upscale, seed)
    assert np.abs(result.astype(int) - canvas).max() <= 2


@pytest.mark.parametrize("upscale", [0.5, 0.7, 0.95])
@pytest.mark.parametrize("scale", [0.5, 0.95, 3.0])
def test_in_a_photograph_made_smaller(scale: float, upscale: float) -> None:
    canvas, result, _ = pasted_back(scale, 33, 128, upscale, band=0.15)
    assert np.abs(result.astype(int) - canvas).max() <= 2


@settings(max_examples=15, deadline=None, derandomize=True)
@given(scale=st.floats(0.5, 4), degrees=st.floats(0, 360), upscale=st.floats(0.5, 3), level=st.integers(0, 235))
def test_a_crop_raised_by_20_shows_no_step(scale: float, degrees: float, upscale: float, level: int) -> None:
    side = int(1.45 * 256 / scale) + 24
    photo = np.full((side, side, 3), level, np.uint8)
    aligned = align(photo, face_at((side / 2, side / 2), scale, degrees, 256), 256)
    width, height = enlarged_size(side, side, upscale)
    canvas = np.full((height, width, 3), level, np.uint8)
    face = RestoredFace(aligned, aligned.crop + 20)
    factors = true_scale(photo, canvas)
    result = paste(canvas, [face], [face_mask(aligned, scale=factors)], scale=factors).astype(int)
    assert np.abs(np.diff(result, axis=0)).max() <= 1 and np.abs(np.diff(result, axis=1)).max() <= 1
    assert result.min() == level and result.max() <= level + 20
    if 256 / scale * upscale > 120:
        assert result.max() == level + 20
