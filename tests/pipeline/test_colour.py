"""Colours of faces: held against scikit-image's CIELAB and CIEDE2000."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from restorer.api import Restorer
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo
from restorer.photo.colour import from_srgb, to_srgb
from restorer.pipeline.colour import from_lab, keep_colour, to_lab
from tests.fakes import FakeEngine, FakeNetworks
from tests.photo.samples import adobe, p3
from tests.pipeline.scenes import waves

SIDE = 256


def painted(batch: np.ndarray) -> np.ndarray:
    """Paint as a careless model does: a green cast everywhere, and purple where a mouth may be."""
    batch = batch.copy()
    batch[:, 1] += 0.2
    batch[:, (0, 2), 80:100, 40:90] += 0.3
    return np.clip(batch, -1, 1)


def face_lab(pixels: np.ndarray, icc: bytes | None = None) -> np.ndarray:
    """Return CIELAB of the middle of the face that the fake detector finds."""
    middle = slice(SIDE // 2 - 40, SIDE // 2 + 40)
    return rgb2lab(to_srgb(pixels[middle, middle], icc) / 255)


def restored(photo: Photo, change: object = painted, **options: object) -> np.ndarray:
    engine = FakeEngine(change) if change else FakeEngine()  # type: ignore[arg-type]
    settings = RestoreOptions(upscale=1, **options)  # type: ignore[arg-type]
    return Restorer(settings, engines=FakeNetworks(engine=engine)).restore(photo).photo.pixels


def portrait(icc: bytes | None = None, seed: int = 5) -> Photo:
    values = np.array([168, 128, 108]) + 0.4 * (waves(SIDE, SIDE, 0.03, seed) - 128)
    return Photo(from_srgb(values.astype(np.float32), icc, np.uint8), None, False, "PNG", Metadata(icc=icc))


def test_lab_is_cielab(rng: np.random.Generator) -> None:
    pixels = rng.uniform(0, 255, (40, 50, 3)).astype(np.float32)
    assert np.abs(to_lab(pixels) - rgb2lab(pixels / 255)).max() < 0.05
    wide = rng.uniform(-40, 300, (40, 50, 3)).astype(np.float32)
    assert np.abs(from_lab(to_lab(wide)) - wide).max() < 0.05


def test_a_change_of_brightness_stays_and_a_cast_goes() -> None:
    crop = np.full((SIDE, SIDE, 3), (168, 128, 108), np.float32)
    cast = crop * 1.2 + np.array([-20, 25, 0], np.float32)
    before, network, after = (rgb2lab(x / 255) for x in (crop, cast, keep_colour(cast, crop)))
    assert np.abs(network[..., 1:] - before[..., 1:]).max() > 10
    assert np.abs(after[..., 1:] - before[..., 1:]).max() < 0.1
    assert np.abs(after[..., 0] - network[..., 0]).max() < 0.1


def test_fine_colour_stays_with_the_network() -> None:
    crop = np.full((SIDE, SIDE, 3), 140, np.float32)
    fine = crop.copy()
    fine[::2, :, 0] += 40
    difference = keep_colour(fine, crop)[..., 0] - crop[..., 0]
    assert difference[100:200:2].mean() - difference[101:200:2].mean() > 30


@pytest.mark.parametrize("icc", [None, p3(), adobe()], ids=["srgb", "p3", "adobe"])
def test_mean_chroma_of_a_face_moves_by_at_most_5_unless_asked(icc: bytes | None) -> None:
    photo = portrait(icc)
    before = face_lab(photo.pixels, icc)[..., 1:].mean(axis=(0, 1))
    moved = face_lab(restored(photo), icc)[..., 1:].mean(axis=(0, 1)) - before
    assert np.linalg.norm(moved) < 1
    asked = face_lab(restored(photo, colorize=True), icc)[..., 1:].mean(axis=(0, 1)) - before
    assert np.linalg.norm(asked) > 5


@pytest.mark.parametrize("icc", [None, p3(), adobe()], ids=["srgb", "p3", "adobe"])
@pytest.mark.parametrize("vivid", [False, True])
def test_an_unchanged_face_keeps_its_colours_to_1(icc: bytes | None, vivid: bool) -> None:
    photo = portrait(icc)
    if vivid:  # colours that a wide profile holds and sRGB does not
        values = 128 + 1.0 * (waves(SIDE, SIDE, 0.02, 9) - 128)
        # 16 bits: here one level of 8 is more than 1
        photo = Photo(np.rint(values * 257).astype(np.uint16), None, False, "PNG", Metadata(icc=icc))
    result = restored(photo, None)
    assert deltaE_ciede2000(face_lab(result, icc), face_lab(photo.pixels, icc)).max() <= 1
    assert np.array_equal(result[:4], photo.pixels[:4]) and np.array_equal(result[:, :4], photo.pixels[:, :4])
    assert result.shape == photo.pixels.shape


def test_black_and_white_gets_the_models_colours_only_on_request() -> None:
    grey = np.repeat(portrait().pixels[..., :1], 3, axis=2)
    photo = Photo(grey, None, True, "PNG", Metadata())
    assert (restored(photo).std(axis=2) == 0).all()
    assert np.abs(face_lab(restored(photo, colorize=True))[..., 1:]).mean() > 3
