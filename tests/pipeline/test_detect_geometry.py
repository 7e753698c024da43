"""Which five points can be a face, and which of two nested boxes stays; answers known by construction."""

import numpy as np
import pytest

from restorer.pipeline.detect_geometry import plausible, without_nested
from restorer.pipeline.retinaface_decode import Detections, join

POINTS = np.array([(35.0, 45.0), (65.0, 45.0), (50.0, 62.0), (38.0, 80.0), (62.0, 80.0)])
"""A frontal face in a box from 0 to 100."""


def detection(points=POINTS, box=(0, 0, 100, 100), score=0.99):
    return Detections(np.array([box], np.float32), np.array([score], np.float32), np.array([points], np.float32))


def turned(points, degrees):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - 50) @ turn.T + 50


@pytest.mark.parametrize("degrees", range(0, 360, 30))
def test_a_face_is_plausible_at_any_turn(degrees):
    assert plausible(detection(turned(POINTS, degrees)))[0]


@pytest.mark.parametrize("degrees", [0, 45, 90, 180])
def test_mirrored_points_are_no_face(degrees):
    mirrored = POINTS[[1, 0, 2, 4, 3]]
    assert not plausible(detection(turned(mirrored, degrees)))[0]


def test_a_profile_is_plausible():
    points = np.array([(20.0, 40.0), (22.0, 41.0), (10.0, 58.0), (24.0, 78.0), (25.0, 78.0)])
    assert plausible(detection(points))[0]


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 50.0),
        (POINTS - 50) * 0.2 + 50,
        POINTS + np.array([60, 0]),
        POINTS + np.array([0, -65]),
        POINTS[[3, 4, 2, 0, 1]] * [1, 0.1] + [0, 40],
        np.array([(35.0, 45.0), (65.0, 45.0), (50.0, 5.0), (38.0, 80.0), (62.0, 80.0)]),
    ],
    ids=["collapsed", "shrunk", "beside the box", "above the box", "flat", "nose above the eyes"],
)
def test_scattered_points_are_no_face(points):
    assert not plausible(detection(points))[0]


def test_nothing_is_nothing():
    assert plausible(join([])).shape == (0,)
    assert len(without_nested(join([]))) == 0


def scores_left(*parts):
    found = join([detection(box=box, score=score) for box, score in parts])
    left = found[without_nested(found)]
    return [round(float(score), 3) for score in left.scores]


def test_a_tiny_face_on_an_eye_is_dropped():
    assert scores_left(((0, 0, 100, 100), 0.99), ((20, 30, 45, 55), 0.98)) == [0.99]


def test_neighbours_that_touch_both_stay():
    assert scores_left(((0, 0, 100, 100), 0.99), ((60, 0, 160, 100), 0.95)) == [0.99, 0.95]
    assert scores_left(((0, 0, 100, 100), 0.99), ((80, 10, 120, 50), 0.95)) == [0.99, 0.95]


def test_a_clearly_surer_face_inside_outweighs_the_box_around_it():
    assert scores_left(((0, 0, 100, 100), 0.91), ((20, 20, 60, 60), 0.999)) == [0.999]


def test_a_box_around_a_crowd_gives_way_to_the_crowd():
    assert scores_left(((0, 0, 100, 100), 0.97), ((10, 10, 40, 40), 0.97), ((60, 10, 90, 40), 0.96)) == [0.97, 0.96]
