"""Faces turned aside: geometry by hand on pictures whose pixels say where they come from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from restorer.training.turning import depths, head_of, turned

POINTS = np.array([[192, 240], [320, 240], [256, 314], [201, 371], [313, 371]], np.float32)
SIZE = (512, 512)


def dotted() -> np.ndarray:
    """Return a grey picture with a white dot on each point."""
    pixels = np.full((512, 512, 3), 90, np.uint8)
    for x, y in POINTS.tolist():
        cv2.circle(pixels, (round(x), round(y)), 7, (255, 255, 255), -1, cv2.LINE_AA)
    return pixels


def dot_near(pixels: np.ndarray, x: float, y: float, reach: int = 24) -> np.ndarray | None:
    """Return the centre of what is brighter than grey around a place; None where nothing is."""
    x0, y0 = max(0, round(x) - reach), max(0, round(y) - reach)
    weight = np.clip(pixels[y0 : round(y) + reach, x0 : round(x) + reach, 0].astype(float) - 110, 0, None)
    if weight.sum() < 500:
        return None
    rows, columns = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]]
    return np.array([x0 + (columns * weight).sum() / weight.sum(), y0 + (rows * weight).sum() / weight.sum()])


def test_the_head_is_an_ellipsoid_with_a_nose():
    eyes = 128.0
    depth = depths(POINTS, SIZE)
    middle = 240 + 0.3 * (371 - 240)
    assert head_of(POINTS, SIZE)[round(middle), 256] == pytest.approx(0, abs=1e-3)
    assert head_of(POINTS, SIZE)[round(middle), round(256 + 1.25 * eyes)] == pytest.approx(1, abs=0.01)
    across, down = 64 / (1.25 * eyes), (240 - middle) / (1.9 * eyes)
    assert depth[240, 192] == pytest.approx(1.3 * eyes * np.sqrt(1 - across**2 - down**2), rel=0.02)
    assert depth[314, 256] - depth[314, 192] > 0.38 * eyes  # the nose stands out, and the cheek falls off
    assert (depth[head_of(POINTS, SIZE) > 1.2] == 0)[:200].all()


def test_without_a_turn_the_face_is_as_it_was():
    picture, points, head = turned(dotted(), POINTS, 0.0)
    np.testing.assert_allclose(points, POINTS)
    assert np.abs(picture.astype(int) - dotted())[head].mean() < 2


@pytest.mark.parametrize("degrees", [-40.0, -20.0, 20.0, 40.0])
def test_dots_lie_where_the_points_say(degrees):
    picture, points, head = turned(dotted(), POINTS, degrees)
    assert picture.shape == (512, 512, 3) and picture.dtype == np.uint8 and head.shape == SIZE
    np.testing.assert_allclose(points[:, 1], POINTS[:, 1])
    assert np.sign(points[2, 0] - points[:2, 0].mean()) == np.sign(degrees)  # the nose goes furthest
    assert abs(points[1, 0] - points[0, 0]) < 128  # the eyes come closer
    seen = 0
    for x, y in points.tolist():
        dot = dot_near(picture, x, y)
        if dot is not None:
            seen += 1
            assert np.hypot(*(dot - (x, y))) < 12, (degrees, x, y)
    assert seen >= 4


def test_turns_to_both_sides_are_mirror_images():
    pixels = dotted()
    left, _, _ = turned(pixels, POINTS, -35.0)
    mirrored = POINTS[[1, 0, 2, 4, 3]] * [-1, 1] + [511, 0]
    right, _, _ = turned(np.ascontiguousarray(pixels[:, ::-1]), mirrored.astype(np.float32), 35.0)
    assert np.abs(left[:, ::-1].astype(int) - right).mean() < 1.0


def test_a_turn_hides_the_far_eye_and_shows_what_is_behind():
    behind = np.zeros((512, 512, 3), np.uint8)
    behind[..., 1] = 200
    picture, points, head = turned(dotted(), POINTS, 80.0, behind)
    assert (picture[~cv2.dilate(head.astype(np.uint8), np.ones((15, 15))).astype(bool)] == (0, 200, 0)).all()
    assert head.any() and not head.all()
    eyes = [dot_near(picture, *point, reach=10) for point in points[:2].tolist()]
    assert eyes[1] is None or eyes[0] is not None


def test_the_picture_given_is_left_alone():
    pixels, points = dotted(), POINTS.copy()
    turned(pixels, points, 50.0)
    assert (pixels == dotted()).all() and (points == POINTS).all()
