"""Boxes of eyes and mouth from five points."""

from __future__ import annotations

import numpy as np
import pytest

from restorer.pipeline.align import template
from restorer.training.components import COMPONENTS, component_boxes, mirror_boxes
from restorer.training.dataset import MIRRORED

FRONTAL = template(512)


def _inside(box: np.ndarray, point: np.ndarray) -> bool:
    return bool((point >= box[:2]).all() and (point <= box[2:]).all())


def test_each_box_holds_its_own_points_and_no_others_but_the_nose() -> None:
    boxes = component_boxes(FRONTAL, 512)
    assert boxes.shape == (len(COMPONENTS), 4) and boxes.dtype == np.float32
    holds = [[_inside(box, point) for point in FRONTAL[[0, 1, 3, 4]]] for box in boxes]
    assert holds == [[True, False, False, False], [False, True, False, False], [False, False, True, True]]


def test_boxes_are_square_and_as_large_as_worked_out_by_hand() -> None:
    points = np.array([[200, 200], [300, 200], [250, 250], [210, 300], [290, 300]], np.float32)
    left, right, mouth = component_boxes(points, 512)
    # Both distances are 100 pixels: the face's scale. An eye's box is 1.4 × 0.7 × 100 wide, 10 pixels above the pupil.
    assert left == pytest.approx([200 - 49, 190 - 49, 200 + 49, 190 + 49], abs=1e-3)
    assert right == pytest.approx([300 - 49, 190 - 49, 300 + 49, 190 + 49], abs=1e-3)
    assert mouth == pytest.approx([250 - 47.5, 300 - 47.5, 250 + 47.5, 300 + 47.5], abs=1e-3)


def test_a_turned_head_keeps_its_boxes_size() -> None:
    narrow = FRONTAL.copy()
    narrow[:, 0] = 256 + (narrow[:, 0] - 256) * 0.5
    widths = [np.diff(component_boxes(points, 512)[:, ::2], axis=1)[:, 0] for points in (FRONTAL, narrow)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


@pytest.mark.parametrize("size", [64, 256, 512])
def test_boxes_scale_with_the_crop_and_lie_inside(size: int) -> None:
    boxes = component_boxes(template(size), size)
    assert (boxes + 0.5) / size == pytest.approx((component_boxes(FRONTAL, 512) + 0.5) / 512, abs=1e-5)
    moved = component_boxes(template(size) + size / 2, size)
    assert moved.min() >= -0.5 and moved.max() <= size - 0.5 + 1e-4
    assert np.diff(moved[:, ::2], axis=1) == pytest.approx(np.diff(moved[:, 1::2], axis=1), rel=1e-4)


def test_mirrored_points_have_the_mirrored_boxes_and_a_batch_is_as_good_as_one() -> None:
    points = FRONTAL + np.array([[3, -4], [-2, 5], [6, 1], [0, 2], [4, 4]])
    other = points[MIRRORED] * np.array([-1, 1]) + np.array([511, 0])
    both = component_boxes(np.stack([points, other]), 512)
    assert mirror_boxes(both[0], 512) == pytest.approx(both[1], abs=1e-3)
    assert np.array_equal(both[0], component_boxes(points, 512))


def test_points_that_fall_together_give_a_box_of_a_pixel() -> None:
    boxes = component_boxes(np.full((5, 2), 100.0), 512)
    assert np.isfinite(boxes).all() and (boxes[:, 2:] - boxes[:, :2] >= 1).all()
