"""Training views of the detector: geometry by hand, dots that land where their coordinates say, repeatability."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from restorer.training.detector_sources import Source, halvings
from restorer.training.detector_views import ViewComposer, place, similarity, transform_faces

POINTS = np.array([[[40, 50], [70, 50], [55, 65], [43, 80], [67, 80]]], np.float32)
BOXES = np.array([[30, 30, 80, 95]], np.float32)


@pytest.fixture
def source() -> Source:
    """A grey photograph of 160×120 with a white dot at the left eye and one face."""
    pixels = np.full((120, 160, 3), 90, np.uint8)
    # A disc of radius 6 drawn around the edge coordinates 40, 50, that is, pixel centre 39.5, 49.5.
    cv2.circle(pixels, (round(39.5 * 16), round(49.5 * 16)), 6 * 16, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
    return Source(halvings(pixels, smallest=20), BOXES, POINTS)


def centre_of_mass(pixels: np.ndarray) -> np.ndarray:
    """Of what is brighter than the grey, counted from the image's edge."""
    weight = np.clip(pixels[..., 0].astype(np.float64) - 90, 0, None)
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]] + 0.5
    return np.array(((x * weight).sum(), (y * weight).sum())) / weight.sum()


def test_similarity_by_hand():
    matrix = similarity(np.array([10.0, 20.0]), (5.0, 6.0), 2.0, np.pi / 2)
    np.testing.assert_allclose(matrix @ (10, 20, 1), (5, 6), atol=1e-9)
    # A quarter turn in image coordinates takes right to down.
    np.testing.assert_allclose(matrix @ (11, 20, 1), (5, 8), atol=1e-9)
    mirrored = similarity(np.array([10.0, 20.0]), (5.0, 6.0), 1.0, mirror=True, stretch=1.5)
    np.testing.assert_allclose(mirrored @ (12, 21, 1), (2, 7), atol=1e-9)


def test_mirroring_swaps_left_and_right_points():
    matrix = similarity(np.array([80.0, 60.0]), (80.0, 60.0), 1.0, mirror=True)
    boxes, points = transform_faces(BOXES, POINTS, matrix)
    np.testing.assert_allclose(boxes, [[80, 30, 130, 95]])
    np.testing.assert_allclose(points, [[[90, 50], [120, 50], [105, 65], [93, 80], [117, 80]]])
    again_boxes, again_points = transform_faces(boxes, points, matrix)
    np.testing.assert_allclose(again_boxes, BOXES)
    np.testing.assert_allclose(again_points, POINTS)


def test_a_quarter_turn_swaps_the_sides_of_a_box():
    boxes, _ = transform_faces(BOXES, POINTS, similarity(np.array([55.0, 62.5]), (55.0, 62.5), 1.0, np.pi / 2))
    np.testing.assert_allclose(boxes, [[22.5, 37.5, 87.5, 87.5]])


@pytest.mark.parametrize("scale", [1.7, 1.0, 0.6, 0.45, 0.23])
@pytest.mark.parametrize("mirror", [False, True])
def test_pixels_land_where_the_points_say(source, scale, mirror):
    matrix = similarity(np.array([40.0, 50.0]), (31.3, 28.8), scale, 0.3, mirror=mirror)
    placed = place(source, matrix, 64, 60, cv2.BORDER_REPLICATE, (0, 0, 0))
    np.testing.assert_allclose(centre_of_mass(placed.pixels), (31.3, 28.8), atol=0.15)


def test_faces_that_are_cut_off_are_not_known(source):
    whole = place(source, similarity(np.array([55.0, 62.5]), (40, 40), 1.0), 80, 80, cv2.BORDER_REPLICATE, (0,))
    cut = place(source, similarity(np.array([55.0, 62.5]), (5, 40), 1.0), 80, 80, cv2.BORDER_REPLICATE, (0,))
    assert len(whole.boxes) == len(whole.points) == 1
    assert len(cut.boxes) == len(cut.points) == 0


@pytest.mark.parametrize("kind", ["single", "mosaic", "crowd", "compose"])
def test_views_repeat_and_hold_their_contract(source, kind):
    composer = ViewComposer([source])
    for seed in range(8):
        view = getattr(composer, kind)(96, np.random.default_rng(seed))
        again = getattr(composer, kind)(96, np.random.default_rng(seed))
        np.testing.assert_array_equal(view.pixels, again.pixels)
        np.testing.assert_array_equal(view.points, again.points)
        assert view.pixels.shape == (96, 96, 3)
        assert view.pixels.dtype == np.uint8
        assert view.boxes.shape == (len(view.boxes), 4)
        assert view.points.shape == (len(view.boxes), 10)
        assert view.boxes.dtype == view.points.dtype == np.float32
        inside = np.clip(view.boxes, 0, 96)
        assert ((inside[:, 2:] - inside[:, :2]).prod(1) >= 0.75 * (view.boxes[:, 2:] - view.boxes[:, :2]).prod(1)).all()


def test_composing_leaves_the_photographs_alone(source):
    before = [level.copy() for level in source.levels]
    composer = ViewComposer([source])
    for seed in range(12):
        composer.compose(64, np.random.default_rng(seed))
    for level, copy in zip(source.levels, before, strict=True):
        np.testing.assert_array_equal(level, copy)
    np.testing.assert_array_equal(source.points, POINTS)


def test_faces_turned_aside_take_their_share(source):
    marked = Source(halvings(np.full((120, 160, 3), (255, 0, 255), np.uint8), smallest=20), BOXES, POINTS)
    for share, least, most in ((0.0, 0, 0), (0.3, 40, 85), (1.0, 200, 200)):
        composer = ViewComposer([source], [marked], aside_share=share)
        rng = np.random.default_rng(5)
        pieces = [composer._piece(64, 64, 24.0, rng, centred=True).pixels for _ in range(200)]
        count = sum(int((piece[32, 32] == (255, 0, 255)).all()) for piece in pieces)
        assert least <= count <= most, share


def test_without_faces_aside_none_are_taken(source):
    nobody = Source(source.levels, np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32))
    composer = ViewComposer([source], [nobody], aside_share=1.0)
    assert len(composer._piece(64, 64, 24.0, np.random.default_rng(5), centred=True).boxes) == 1


def test_faces_lie_across_the_edge_only_where_asked_for(source):
    def cut_off(share: float) -> int:
        composer, rng = ViewComposer([source], cut=share), np.random.default_rng(3)
        return sum(len(composer._piece(64, 64, 40.0, rng).boxes) == 0 for _ in range(200))

    assert cut_off(0.0) < 20  # a fifth of a face may lie outside after stretching and turning
    assert cut_off(1.0) > 100
