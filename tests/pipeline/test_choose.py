"""Which faces are restored: chosen by number, and left alone for what they look like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data

from restorer.api import Restorer
from restorer.errors import UsageError
from restorer.faces import Face
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo
from restorer.pipeline import photo as steps
from restorer.pipeline.align import TEMPLATE
from restorer.pipeline.choose import choose
from restorer.pipeline.sharpness import measure
from tests.fakes import CONTRACT, FakeEngine, FakeNetworks, brighter, face_at, many_faces

SIZE = 512


def astronaut_face() -> np.ndarray:
    """Return a real face, 512 pixels square, as sharp as 170 pixels of it are: enlarged to twice that only."""
    return cv2.resize(skimage.data.astronaut()[40:210, 140:310], (SIZE, SIZE), interpolation=cv2.INTER_LANCZOS4)


def sharp_face(seed: int = 0) -> np.ndarray:
    """Return strokes with hard edges on a smooth ground, anti-aliased as a good lens would show them."""
    rng = np.random.default_rng(seed)
    big = np.full((2 * SIZE, 2 * SIZE, 3), 170, np.uint8)
    for _ in range(12):
        start, end = rng.integers(0, 2 * SIZE, (2, 2)).tolist()
        cv2.line(big, start, end, (60, 50, 40), int(rng.integers(4, 14)))
    return cv2.resize(big, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def engraved_face() -> np.ndarray:
    """Return curved hatching whose lines swell with the tone, as a burin cuts them."""
    y, x = np.mgrid[: 2 * SIZE, : 2 * SIZE] / 2
    tone = 0.5 + 0.35 * np.sin(x / 60) * np.cos(y / 70)
    phase = np.where((x // 90 + y // 80) % 2 > 0, x + 0.4 * y + 12 * np.sin(y / 25), y - 0.5 * x + 10 * np.sin(x / 20))
    spacing = 7 + 2 * np.sin(x / 150 + y / 130)
    ink = (np.cos(2 * np.pi * phase / spacing) > 2 * tone - 1).astype(np.float32) * 215
    grey = cv2.resize(250 - ink, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def template_face(grow: float = 1.0) -> Face:
    return Face((100 * grow, 90 * grow, 412 * grow, 470 * grow), 0.99, (TEMPLATE * grow).astype(np.float32))


def reason(pixels: np.ndarray, grow: float = 1.0, **options: Any) -> str | None:
    photo = Photo(pixels, None, False, "PNG", Metadata())
    _, (found,), aligned = choose(photo, [template_face(grow)], RestoreOptions(**options), SIZE)
    assert len(aligned) == (found is None)
    return found


def soft(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), sigma)


def test_a_sharp_face_is_left_alone_unless_asked() -> None:
    assert reason(sharp_face()) == "sharp already (--restore-sharp restores it)"
    assert reason(sharp_face(), restore_sharp=True) is None
    assert reason(sharp_face(), select=(0,)) is None


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_a_blurred_face_is_restored(sigma: float) -> None:
    assert reason(soft(sharp_face(), sigma)) is None
    assert reason(astronaut_face()) is None


def test_grain_does_not_make_a_blurred_face_sharp(rng: np.random.Generator) -> None:
    noisy = soft(sharp_face(), 3.0) + rng.normal(0, 6, (SIZE, SIZE, 1))
    assert reason(np.clip(noisy, 0, 255).astype(np.uint8)) is None


def test_a_small_sharp_face_is_restored() -> None:
    small = cv2.resize(sharp_face(), (256, 256), interpolation=cv2.INTER_AREA)
    assert reason(small, 0.5) is None


def test_an_engraving_is_left_alone_unless_asked() -> None:
    assert reason(engraved_face()) == "engraved or drawn (--restore-drawn restores it)"
    assert reason(engraved_face(), restore_drawn=True) is None
    coloured = (engraved_face() * np.array([1, 0.7, 0.6])).astype(np.uint8)
    coloured[:200] = (engraved_face()[:200] * np.array([0.6, 0.8, 1])).astype(np.uint8)
    assert reason(coloured) is None, "a photograph in colour is no engraving"


def ruled(spacing: float, wander: float) -> np.ndarray:
    """Return lines in one direction that swell with the tone: a printing screen's, or by hand if they wander."""
    y, x = np.mgrid[: 2 * SIZE, : 2 * SIZE] / 2
    tone = 0.5 + 0.3 * np.sin(x / 60) * np.cos(y / 70)
    phase = x + 0.3 * y + wander * (np.sin(y / 31 + x / 90) + np.sin(x / 47 - y / 23))
    ink = (np.cos(2 * np.pi * phase / spacing) > 2 * tone - 1).astype(np.float32) * 200
    grey = cv2.GaussianBlur(cv2.resize(240 - ink, (SIZE, SIZE), interpolation=cv2.INTER_AREA), (0, 0), 0.5)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def test_lines_in_one_direction_are_drawn_by_hand_or_ruled() -> None:
    assert reason(ruled(6, 1.5)) == "engraved or drawn (--restore-drawn restores it)"
    assert reason(ruled(6, 0.0)) is None


@pytest.mark.parametrize(("levels", "size"), [(18, 0.8), (25, 0.8), (25, 1.2), (30, 0.5)])
def test_film_grain_on_a_sharp_photograph_is_no_engraving(levels: float, size: float) -> None:
    """Without the test for lines its steep edges and its swings make it one."""
    noise = soft(np.random.default_rng(1).standard_normal((SIZE, SIZE, 1)).astype(np.float32), size)
    grainy = np.clip(sharp_face() @ np.full((3, 3), 1 / 3) + levels * (noise / noise.std())[..., None], 0, 255)
    pixels = np.rint(grainy).astype(np.uint8)
    found = measure(pixels.astype(np.float32))
    assert not found.sharp and found.steepness > 1.38 and found.texture > 4
    assert reason(pixels) is None


def test_a_printing_screen_is_no_engraving() -> None:
    y, x = np.mgrid[:SIZE, :SIZE]
    tone = 0.3 * np.sin(x / 60) * np.cos(y / 70)
    dots = 128 + 110 * np.tanh(3 * (np.cos(2 * np.pi * (x + y) / 7) * np.cos(2 * np.pi * (x - y) / 7) + tone))
    screen = np.repeat(dots.astype(np.uint8)[..., None], 3, axis=2)
    assert measure(screen.astype(np.float32)).texture > 5 and reason(screen) is None


def test_the_rule_is_the_same_for_networks_of_other_sizes() -> None:
    photo = Photo(sharp_face(), None, False, "PNG", Metadata())
    _, reasons, aligned = choose(photo, [template_face()], RestoreOptions(), 128)
    assert str(reasons[0]).startswith("sharp already") and not aligned


def test_faces_are_selected_by_their_number_from_0() -> None:
    photo = Photo(np.full((300, 300, 3), 90, np.uint8), None, False, "PNG", Metadata())
    networks = FakeNetworks(many_faces(4), FakeEngine(brighter, CONTRACT))
    report = Restorer(RestoreOptions(select=(0, 2)), engines=networks).restore(photo).report
    assert [face.restored for face in report.faces] == [True, False, True, False]
    assert report.faces[1].reason == "not selected (--select)"
    small = FakeNetworks(lambda pixels: [face_at(50, 50, 12)], FakeEngine(brighter))
    assert Restorer(RestoreOptions(select=(0,)), engines=small).restore(photo).report.restored_faces == 1
    none = replace(RestoreOptions(select=(0,)), strength=0.0)
    assert Restorer(none, engines=small).restore(photo).report.faces[0].reason == "the strength is 0"


@pytest.mark.parametrize("count", [0, 3])
def test_a_number_without_a_face_is_wrong_usage(count: int) -> None:
    photo = Photo(np.full((300, 300, 3), 90, np.uint8), None, False, "PNG", Metadata())
    find = many_faces(count) if count else lambda pixels: []
    with pytest.raises(UsageError, match="no face 3"):
        steps.restore(photo, FakeNetworks(find), RestoreOptions(select=(1, 3) if count else (3,)))


@pytest.mark.parametrize("options", [{"select": ()}, {"select": (-1,)}, {"select": (0,), "faces": "largest"}])
def test_selections_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RestoreOptions(**options)
