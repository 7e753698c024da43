"""The second look: its grid is that of the whole photograph, and its share in points and score is the stated one."""

import numpy as np
import pytest

from restorer.pipeline.detect import Detector
from restorer.pipeline.detect_look import Looker
from restorer.pipeline.detect_second import SHARE, second_looks
from restorer.pipeline.detect_views import SMALL, octave_look
from restorer.pipeline.retinaface_decode import Detections
from tests.pipeline.drawn_faces import POINTS, DrawnFaceEngine, corners, photo


def known(x, y, side, score=1.0, shift=0.0, points=POINTS):
    """One square face that was found, its points ``shift`` pixels too far right."""
    box = corners(x, y, side, side)
    places = points * side + box[:2] + [shift, 0]
    return Detections(box[None].astype(np.float32), np.array([score], np.float32), places[None].astype(np.float32))


def look_at(found, pixels, probability=0.999):
    engine = DrawnFaceEngine(score=lambda size: probability)
    after, _ = second_looks(Looker(engine, 8), pixels, found, 0.2)
    return after, engine


@pytest.mark.parametrize(("side", "divisor"), [(30, 1), (79, 1), (150, 1), (165, 2), (317, 4), (900, 8), (2000, 16)])
def test_the_view_is_the_power_of_two_nearest_to_112_pixels(side, divisor):
    box = corners(1500, 1203, side, side).astype(np.float32)
    view = octave_look(box, 112.0, 6001, 4007)
    assert view.scale == pytest.approx((1 / divisor, 1 / divisor), rel=0.01)
    # where the network's coarsest grid lies when it sees the whole photograph at that size
    assert view.window[0] % (32 * divisor) == 0
    assert view.window[1] % (32 * divisor) == 0
    x0, y0, x1, y1 = view.window
    assert x0 <= box[0] < box[2] <= x1
    assert y0 <= box[1] < box[3] <= y1
    assert x1 - x0 <= SMALL * divisor


@pytest.mark.parametrize("corner", [(0, 0), (900, 0), (0, 640), (900, 640), (-30, -40), (985, 700)])
def test_the_view_stays_in_the_photograph(corner):
    view = octave_look(corners(*corner, 100, 110).astype(np.float32), 112.0, 1000, 750)
    x0, y0, x1, y1 = view.window
    assert 0 <= x0 < x1 <= 1000
    assert 0 <= y0 < y1 <= 750
    assert (view.width, view.height) == (x1 - x0, y1 - y0)


def test_points_and_score_are_the_weighted_mean():
    pixels = photo(600, 400, [(200, 100, 100, 100)])
    found = known(200, 100, 100, score=1.0, shift=10.0)
    (after, _) = look_at(found, pixels, probability=0.9)
    right = known(200, 100, 100).points
    np.testing.assert_allclose(after.points - right, [[[10 * (1 - SHARE), 0]] * 5], atol=0.02)
    assert after.scores[0] == pytest.approx((1 - SHARE) + SHARE * 0.9, abs=1e-3)
    np.testing.assert_array_equal(after.boxes, found.boxes)


def test_a_face_that_the_second_look_does_not_see_keeps_its_points_and_loses_score():
    found = known(200, 100, 100, score=1.0, shift=3.0)
    after, _ = look_at(found, photo(600, 400, []))
    np.testing.assert_array_equal(after.points, found.points)
    assert after.scores[0] == pytest.approx(1 - SHARE)


@pytest.mark.parametrize(("side", "share"), [(20, 0.0), (24, 0.0), (34, 0.5), (48, 1.0), (60, 1.0)])
def test_its_share_fades_with_the_size_of_small_faces(side, share):
    after, engine = look_at(known(200, 100, side, shift=5.0), photo(600, 400, [(200, 100, side, side)]))
    moved = 5 - float((after.points - known(200, 100, side).points)[0, :, 0].mean())
    assert moved == pytest.approx(5 * SHARE * share, abs=0.15)
    assert engine.looks.get(SMALL, 0) == (share > 0)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_that_lies_on_its_side_is_left_as_it_was_found(turns):
    angle = np.pi / 2 * turns
    turned = (POINTS - 0.5) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + 0.5
    found = known(200, 100, 100, score=0.95, points=turned)
    after, engine = look_at(found, photo(600, 400, [(200, 100, 100, 100)]))
    np.testing.assert_array_equal(after.points, found.points)
    assert after.scores[0] == found.scores[0]
    assert engine.looks == {}


def test_a_face_that_only_an_enlarged_view_is_sure_of_is_not_found():
    pixels = photo(600, 400, [(100, 100, 60, 60)])
    sure_when_large = DrawnFaceEngine(score=lambda size: 0.99 if size > 100 else 0.4)
    assert Detector(sure_when_large, 0.9)(pixels) == []
    assert len(Detector(sure_when_large, 0.6)(pixels)) == 1


@pytest.mark.parametrize(
    ("shift", "score", "seen", "settled"),
    [(3.0, 0.999, 0.999, True), (10.0, 0.999, 0.999, False), (3.0, 0.99, 0.999, False), (3.0, 0.999, 0.99, False)],
)
def test_points_are_settled_where_two_sure_looks_agree(shift, score, seen, settled):
    pixels = photo(600, 400, [(200, 100, 100, 100)])
    looker = Looker(DrawnFaceEngine(score=lambda size: seen), 8)
    found = known(200, 100, 100, score=score, shift=shift)  # 40 pixels from eyes to mouth
    assert second_looks(looker, pixels, found, 0.2)[1].tolist() == [settled]


def test_a_tilted_or_an_unseen_face_is_never_settled():
    pixels = photo(600, 400, [(200, 100, 100, 100)])
    looker = Looker(DrawnFaceEngine(score=lambda size: 0.999), 8)
    elsewhere = known(20, 20, 60, score=1.0)
    assert second_looks(looker, pixels, elsewhere, 0.2)[1].tolist() == [False]
    upright = known(200, 100, 100, score=1.0)
    middle = upright.points.mean(axis=1, keepdims=True)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]], np.float32)  # 37 degrees
    tilted = type(upright)(upright.boxes, upright.scores, (upright.points - middle) @ turn + middle)
    assert second_looks(looker, pixels, tilted, 0.2)[1].tolist() == [False]
