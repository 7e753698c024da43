"""Which candidates can be faces: five points that lie like a face's, at any turn, and boxes that do not nest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from restorer.faces import Point
from restorer.pipeline.retinaface_decode import Detections, FloatArray, overlaps

POINT_MARGIN = 0.15
"""How far a point may lie outside its box, in longer sides of the box."""
INSIDE = 0.7
"""Part of a smaller box that lies in a larger one from which it counts as nested."""
CLEARLY_SURER = 0.05
"""Difference of scores from which a nested box outweighs the one around it."""
AS_SURE = 0.02
"""Difference of scores within which two boxes are equally sure."""


def plausible(found: Detections) -> NDArray[np.bool_]:
    """Tell for every candidate (N,) whether its five points lie like a face's, turned in the plane by any angle."""
    size = np.maximum(found.sizes, np.float32(1e-3))
    left_eye, right_eye, nose, left_mouth, right_mouth = (found.points[:, point] for point in Point)
    eyes, mouth = right_eye - left_eye, right_mouth - left_mouth
    half = np.float32(0.5)
    brow: FloatArray = (left_eye + right_eye) * half
    down: FloatArray = (left_mouth + right_mouth) * half - brow
    length = np.maximum(_norm(down), np.float32(1e-3))
    # Measured on 470 faces at all turns of the head: 0.27 to 0.55 of the box; a lying face's box is shorter.
    tall = (length > 0.15 * size) & (length < 0.9 * size)
    wide = np.maximum(_norm(eyes), _norm(mouth)) < 0.9 * size
    nose_place = np.sum((nose - brow) * down, axis=1) / length**2
    between = (nose_place > -0.2) & (nose_place < 1.2)
    # Seen from the side a pair falls together, so it may be short or a little crossed, but never long and mirrored.
    crossed = np.minimum(_cross(eyes, down), _cross(mouth, down)) < -0.1 * size * length
    return np.asarray(tall & wide & between & ~crossed & _points_in_box(found, size), dtype=np.bool_)


def _norm(vectors: FloatArray) -> FloatArray:
    return np.asarray(np.hypot(vectors[:, 0], vectors[:, 1]), dtype=np.float32)


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _points_in_box(found: Detections, size: FloatArray) -> NDArray[np.bool_]:
    margin = POINT_MARGIN * size[:, None, None]
    after: NDArray[np.bool_] = found.points >= found.boxes[:, None, :2] - margin
    before: NDArray[np.bool_] = found.points <= found.boxes[:, None, 2:] + margin
    return np.asarray(np.all(after & before, axis=(1, 2)), dtype=np.bool_)


def without_nested(found: Detections) -> NDArray[np.bool_]:
    """Tell which to keep (N,) of boxes that lie in one another: a "face" on an eye, half a face, a box around a crowd.

    The larger stays, unless the one inside is clearly surer or two inside are as sure: then it is no face but holds
    some. Expects boxes that overlap no more than different faces do.
    """
    areas = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    shared = np.array([overlaps(box, found.boxes)[1] for box in found.boxes]).reshape(len(found), len(found))
    # inside[i, j]: box i lies in box j.
    inside = (shared >= INSIDE) & (areas[:, None] < areas[None, :])
    surer = inside & (found.scores[:, None] > found.scores[None, :] + CLEARLY_SURER)
    as_sure = inside & (found.scores[:, None] >= found.scores[None, :] - AS_SURE)
    holder = surer.any(axis=0) | (as_sure.sum(axis=0) >= 2)
    nested = (inside & ~holder[None, :]).any(axis=1)
    return np.asarray(~holder & ~nested, dtype=np.bool_)
