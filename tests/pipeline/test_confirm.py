"""The second look at faces that are cut out: points that were guessed are found again, or not trusted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from restorer.faces import Face
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo
from restorer.pipeline.align import TEMPLATE, similarity, template
from restorer.pipeline.choose import GUESSED, choose
from restorer.pipeline.confirm import SIZE, confirmed
from restorer.resample import transform

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))


def turned(degrees: float, about: tuple[float, float] = (250.0, 230.0)) -> np.ndarray:
    """Return a face's five points at a third of the template's size, turned about a place."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return ((TEMPLATE - TEMPLATE.mean(axis=0)) / 3 @ turn + about).astype(np.float32)


def marked(points: np.ndarray, dtype: type = np.uint8) -> np.ndarray:
    """Return a photograph with a dot of its own colour on each point."""
    pixels = np.zeros((480, 500, 3), np.uint8)
    for (x, y), colour in zip(points.tolist(), COLOURS, strict=True):
        cv2.circle(pixels, (round(16 * x), round(16 * y)), 16 * 5, colour, -1, cv2.LINE_AA, 4)
    return pixels if dtype is np.uint8 else pixels.astype(np.uint16) * 257


def face_with(points: np.ndarray) -> Face:
    low, high = points.min(axis=0) - 30, points.max(axis=0) + 30
    return Face((*low.tolist(), *high.tolist()), 0.99, points)


def find_dots(pixels: np.ndarray) -> list[Face]:
    """A detector that is right: it sees the dots."""
    assert pixels.shape == (SIZE, SIZE, 3) and pixels.dtype == np.uint8
    y, x = np.mgrid[:SIZE, :SIZE]
    points = []
    for colour in COLOURS:
        weight = np.clip(1 - np.abs(pixels / 255 - np.array(colour) / 255).max(axis=-1) * 2, 0, 1)
        if weight.sum() < 4:
            return []
        points.append([(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()])
    return [face_with(np.array(points, np.float32))]


def find_askew(pixels: np.ndarray) -> list[Face]:
    """A detector that guesses: whatever it is shown, it sees a face on its side."""
    middle = template(SIZE).mean(axis=0)
    return [face_with(turned(90, (float(middle[0]), float(middle[1]))))]


@pytest.mark.parametrize("degrees", [0, 50, 180, 260])
def test_right_points_stay_to_the_bit(degrees: float) -> None:
    face = face_with(turned(degrees))
    assert confirmed(marked(face.landmarks), face, find_dots) is face


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("lies", "guessed"), [(180, 0), (60, 0), (0, 90), (250, 110)])
def test_guessed_points_are_found_again(lies: float, guessed: float, dtype: type) -> None:
    """The points come back to half a pixel of where the dots were drawn."""
    found = confirmed(marked(turned(lies), dtype), face_with(turned(guessed)), find_dots)
    assert found is not None and np.abs(found.landmarks - turned(lies)).max() < 0.5


def test_where_no_face_is_seen_no_points_are_trusted() -> None:
    face = face_with(turned(20))
    assert confirmed(marked(face.landmarks), face, lambda pixels: []) is None


def test_a_neighbour_in_the_crop_is_another_face() -> None:
    face = face_with(turned(0))
    corner = face_with((template(SIZE) / 6).astype(np.float32))
    assert confirmed(marked(face.landmarks), face, lambda pixels: [corner, *find_dots(pixels)]) is face
    assert confirmed(marked(face.landmarks), face, lambda pixels: [corner]) is None


def test_a_face_that_the_edge_cuts_in_two_is_not_taken_for_its_mirror_image() -> None:
    """Beyond the edge the crop is mirrored; eyes and mouth may be seen on either side of it."""
    points = turned(0, (10.0, 230.0))
    pixels = marked(points)
    assert points[0, 0] < 0 < points[1, 0]
    mirrored = points * [-1, 1]
    guessed = face_with(points + np.array([20, 0], np.float32))

    def find(crop: np.ndarray) -> list[Face]:
        to_crop = similarity(guessed.landmarks, template(SIZE))
        return [face_with(transform(to_crop, mirrored[[1, 0, 2, 4, 3]]).astype(np.float32))]

    assert confirmed(pixels, guessed, find) is None


@pytest.mark.parametrize("off", [0.1, 0.2])
def test_looks_that_differ_a_little_agree(off: float) -> None:
    """Moved by a tenth of the distance from eyes to mouth the points stay, by a fifth they are put right."""
    right = turned(0)
    length = np.linalg.norm(right[:2].mean(axis=0) - right[3:].mean(axis=0))
    guessed = right + np.array([off * length, 0], np.float32)
    found = confirmed(marked(right), face_with(guessed), find_dots)
    assert found is not None
    assert np.abs(found.landmarks - (guessed if off < 0.15 else right)).max() < 0.5


def reason(find: Any, **options: Any) -> tuple[str | None, np.ndarray]:
    photo = Photo(marked(turned(180)), None, False, "PNG", Metadata())
    faces, (why,), aligned = choose(photo, [face_with(turned(0))], RestoreOptions(**options), 512, find)
    assert len(aligned) == (why is None)
    assert why is not None or aligned[0].face is faces[0]
    return why, faces[0].landmarks


def test_a_detector_that_contradicts_itself_is_not_believed_unless_asked() -> None:
    why, points = reason(find_askew)
    assert why == GUESSED and np.array_equal(points, turned(0))
    assert reason(find_askew, select=(0,))[0] is None
    assert reason(None)[0] is None


def test_the_better_points_are_those_reported_and_aligned() -> None:
    why, points = reason(find_dots)
    assert why is None and np.abs(points - turned(180)).max() < 0.5


def test_settled_points_are_not_looked_at_again() -> None:
    from dataclasses import replace

    face = replace(face_with(turned(0)), settled=True)
    assert confirmed(marked(face.landmarks), face, lambda pixels: pytest.fail("a look")) is face
