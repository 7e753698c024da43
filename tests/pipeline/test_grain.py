"""Grain of pasted faces, on photographs whose grain is drawn here, with a network that paints without any."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from restorer.api import Restorer
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo
from restorer.pipeline.grain import Graining
from tests.fakes import CONTRACT, FakeEngine, FakeNetworks

SIDE = 400
FACE, AROUND = slice(SIDE // 2 - 40, SIDE // 2 + 40), slice(2, 50)


def clean(batch: np.ndarray) -> np.ndarray:
    """Paint the same face without anything fine."""
    return np.stack([np.stack([cv2.GaussianBlur(plane, (0, 0), 5) for plane in face]) for face in batch])


def grainy(strength: float, fineness: float = 0.8, *, grey: bool = False, depth: int = 8) -> Photo:
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:SIDE, :SIDE] / 90
    ground = 128 + 40 * np.sin(x) * np.cos(y)
    film = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), fineness)
    values = (ground + strength * film / film.std())[..., None] + (0 if grey else np.array([30, 0, -25]))
    values = np.repeat(values, 3, axis=2) if grey else values
    pixels = np.rint(values * 257).astype(np.uint16) if depth == 16 else np.rint(values).astype(np.uint8)
    return Photo(pixels, None, grey, "PNG", Metadata())


def restored(photo: Photo, change: object = clean, **options: object) -> np.ndarray:
    engine = FakeEngine(change, replace(CONTRACT, input_size=512))  # type: ignore[arg-type]
    settings = RestoreOptions(**options)  # type: ignore[arg-type]
    return Restorer(settings, engines=FakeNetworks(engine=engine)).restore(photo).photo.pixels


def energy(pixels: np.ndarray, rows: slice, columns: slice, scale: int) -> float:
    """Return the variance of what is finer than about two pixels of the photograph; independent of the code's own."""
    rows, columns = (slice(scale * part.start, scale * part.stop) for part in (rows, columns))
    values = pixels.astype(np.float64).mean(axis=2) / (257 if pixels.dtype == np.uint16 else 1)
    laplacian = cv2.Laplacian(cv2.GaussianBlur(values, (0, 0), 0.5 * scale), cv2.CV_64F)
    return float(laplacian[rows, columns].var())


@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("strength", [3.0, 8.0])
def test_the_pasted_face_is_as_grainy_as_its_surroundings(upscale: int, depth: int, strength: float) -> None:
    photo = grainy(strength, depth=depth)
    smooth, result = (restored(photo, upscale=upscale, grain=choice) for choice in ("none", "auto"))
    around = energy(result, AROUND, slice(50, SIDE - 50), upscale)
    assert energy(smooth, FACE, FACE, upscale) < 0.3 * around
    assert 0.7 < energy(result, FACE, FACE, upscale) / around < 1.4
    assert np.array_equal(result[: 4 * upscale], smooth[: 4 * upscale])


@pytest.mark.parametrize("upscale", [1, 2])
@pytest.mark.parametrize("fineness", [1.0, 1.5])
def test_the_grain_is_as_fine_as_that_around(upscale: int, fineness: float) -> None:
    """Octave by octave: coarse grain is not matched in strength alone by fine one."""
    values = restored(grainy(8.0, fineness), upscale=upscale).astype(np.float64).mean(axis=2)
    face, around = (slice(upscale * part.start, upscale * part.stop) for part in (FACE, AROUND))
    wide = slice(50 * upscale, (SIDE - 50) * upscale)
    smooth = [values, *(gaussian_filter(values, sigma * upscale) for sigma in (0.7, 1.4))]
    for finer, coarser in pairwise(smooth):
        band = finer - coarser
        assert 0.7 < band[face, face].var() / band[around, wide].var() < 1.4


def test_grey_stays_grey_and_twice_is_the_same() -> None:
    photo = grainy(6.0, grey=True)
    first, second = restored(photo), restored(photo)
    assert np.array_equal(first, second) and (first == first[..., :1]).all()


def test_half_strength_is_as_grainy() -> None:
    result = restored(grainy(8.0), upscale=1, strength=0.5)
    assert 0.6 < energy(result, FACE, FACE, 1) / energy(result, AROUND, slice(50, SIDE - 50), 1) < 1.4


def nothing_added(photo: Photo, change: object = clean) -> bool:
    return np.array_equal(restored(photo, change, grain="auto"), restored(photo, change, grain="none"))


def test_clean_photographs_get_none() -> None:
    assert nothing_added(grainy(0.0))


def test_a_network_that_keeps_the_grain_gets_no_more() -> None:
    assert nothing_added(grainy(6.0), lambda batch: batch)


def test_texture_behind_a_person_is_no_grain() -> None:
    photo = grainy(8.0)
    pixels = photo.pixels.copy()
    smooth = restored(grainy(0.0), upscale=1, grain="none")
    pixels[90:310, 90:310] = smooth[90:310, 90:310]
    assert nothing_added(Photo(pixels, None, False, "PNG", Metadata()))


def test_shadows_have_more_of_it_than_bright_skin_where_they_do() -> None:
    """Grain whose strength falls from 10 levels in the dark to 3 in the light, on a face that has both."""
    film = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, (SIDE, SIDE)), (0, 0), 0.8)
    ground = 130 + 0.3 * (np.mgrid[:SIDE, :SIDE][1] - SIDE / 2)
    values = ground + (10 - 7 * (ground - 70) / 120) * film / film.std()
    pixels = np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    result = restored(Photo(pixels, None, True, "PNG", Metadata()), upscale=1)
    left, right = slice(SIDE // 2 - 45, SIDE // 2 - 15), slice(SIDE // 2 + 15, SIDE // 2 + 45)
    for columns in (left, right):
        assert 0.7 < energy(result, FACE, columns, 1) / energy(result, AROUND, columns, 1) < 1.4


def test_a_printing_screen_is_no_grain() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    dots = np.rint(128 + 18 * np.cos(2 * np.pi * (x + y) / 6) + 18 * np.cos(2 * np.pi * (x - y) / 6))
    assert nothing_added(Photo(np.repeat(dots.astype(np.uint8)[..., None], 3, axis=2), None, True, "PNG", Metadata()))


def test_too_little_ground_to_measure_on() -> None:
    canvas = np.full((90, 90, 3), 128, np.uint8)
    assert (
        Graining(1.0)(canvas, (0, 0, 90, 90), np.ones((90, 90), np.float32), lambda: canvas.astype(np.float32)) is None
    )


def test_coarse_texture_behind_a_person_is_no_grain_of_the_face():
    rng = np.random.default_rng(4)
    fine = rng.normal(0, 4, (700, 700)).astype(np.float32)
    coarse = cv2.GaussianBlur(rng.normal(0, 1, fine.shape).astype(np.float32), (0, 0), 2.0)
    coarse *= 8 / coarse.std()
    box = (230, 230, 470, 470)
    face = np.zeros(fine.shape, bool)
    face[box[1] : box[3], box[0] : box[2]] = True
    grey = 128 + fine + np.where(face, 0, coarse)
    canvas = np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    mask = np.ones((240, 240), np.float32)
    clean = np.full((240, 240, 3), 128, np.float32)
    grain = Graining(1.0)(canvas, box, mask, lambda: clean)
    assert grain is not None
    laid = grain.lay_over(clean, box, mask)[..., 0] - 128
    own = fine[face].reshape(240, 240)
    assert 0.7 < laid.var() / own.var() < 1.4
    blurred = [cv2.GaussianBlur(part, (0, 0), 1.5).var() for part in (laid, own)]
    assert blurred[0] < 1.6 * blurred[1]
