"""What the detector looks at: windows of the photograph, each resized into a square canvas of one of two sizes.

Whole views, tiles and close looks at one face are all the same thing, a :class:`View`. Of the large canvas only what
its views fill goes through the network; close looks keep the whole of the small one, so that a compiled network sees
few shapes and a GPU can batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract
from restorer.network_values import to_network
from restorer.pipeline.retinaface_decode import Detections, FloatArray

LARGE = 640
"""Side in pixels of the canvas for whole photographs and tiles: RetinaFace's own training size."""
SMALL = 256
"""Side in pixels of the canvas for coarse views and for close looks at one face."""
COARSEST = 32
"""Pixels of the canvas between the centres of the network's coarsest grid."""
OVERLAP = 96
"""Pixels shared by neighbouring tiles: faces to this size are whole in one of them, larger ones in a coarser level."""


@dataclass(frozen=True)
class View:
    """A window of the photograph as the network sees it, in the upper left corner of its canvas."""

    window: tuple[int, int, int, int]
    """x0, y0, x1, y1 in whole pixels of the photograph, x1 and y1 exclusive."""
    width: int
    """The window's width in pixels of the canvas."""
    height: int
    """The window's height in pixels of the canvas."""
    canvas: int
    """Side of the canvas in pixels; what the window leaves free is filled with the network's mean colour."""

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the canvas for one pixel of the photograph, across and down (they differ by rounding only)."""
        x0, y0, x1, y1 = self.window
        return self.width / (x1 - x0), self.height / (y1 - y0)

    def to_photo(self, points: FloatArray) -> FloatArray:
        """Map x, y (..., 2) from the network's numbers to the photograph's, which have pixel centres at integers.

        RetinaFace counts from the canvas's edge, so that its first pixel's centre is 0.5: its training mirrors x to
        width − x, and measured on 123 faces and their mirror images x + x' is the width to 0.1 pixel.
        """
        scale, corner = np.asarray(self.scale, dtype=np.float32), np.asarray(self.window[:2], dtype=np.float32)
        placed: FloatArray = points / scale + (corner - np.float32(0.5))
        return placed

    def detections_to_photo(self, found: Detections) -> Detections:
        """Map candidates from the canvas to the photograph."""
        boxes = self.to_photo(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        return Detections(boxes, found.scores, self.to_photo(found.points))


def view_of(window: tuple[int, int, int, int], scale: float, canvas: int) -> View:
    """Return the view of a window at a scale, at most as large as its canvas and at least one pixel."""
    width, height = (min(canvas, max(1, round((window[axis + 2] - window[axis]) * scale))) for axis in (0, 1))
    return View(window, width, height, canvas)


def tile_count(side: float) -> int:
    """Return how many overlapping tiles cover a side of so many canvas pixels."""
    # a level is LEVEL_STEP times the one before so that two tiles just suffice: no third one for a rounding error
    return max(1, math.ceil((side - OVERLAP) / (LARGE - OVERLAP) - 1e-6))


def tiles(width: int, height: int, scale: float) -> list[View]:
    """Cover a photograph with the fewest tiles at a scale, spread evenly, row by row."""
    columns, rows = (_spans(side, scale) for side in (width, height))
    return [view_of((x0, y0, x1, y1), scale, LARGE) for y0, y1 in rows for x0, x1 in columns]


def _spans(side: int, scale: float) -> list[tuple[int, int]]:
    count = tile_count(side * scale)
    # as long as so many tiles that share OVERLAP need to be, in full steps of the network's grid
    needed = (side * scale + (count - 1) * OVERLAP) / count
    length = min(side, math.floor(min(LARGE, math.ceil(needed / COARSEST) * COARSEST) / scale))
    starts = np.round(np.linspace(0, side - length, count)).astype(int)
    return [(int(start), int(start) + length) for start in starts]


def close_look(box: FloatArray, size: float, width: int, height: int) -> View:
    """Return the view around a box (4,) in which its longer side has ``size`` pixels, cut at the photograph's edges."""
    scale = size / max(float((box[2:] - box[:2]).max()), 1.0)
    half = SMALL / scale / 2
    centre = (box[:2] + box[2:]) / 2
    x0, y0 = (max(0, math.floor(float(value) - half)) for value in centre)
    x1, y1 = (
        min(side, max(start + 1, math.ceil(float(value) + half)))
        for value, start, side in zip(centre, (x0, y0), (width, height), strict=True)
    )
    return view_of((min(x0, x1 - 1), min(y0, y1 - 1), x1, y1), scale, SMALL)


def octave_look(box: FloatArray, best: float, width: int, height: int) -> View:
    """Return the view around a box (4,) at the power of two of the photograph's size at which it is nearest ``best``.

    The view is never enlarged, and its corner lies where the network's coarsest grid has a corner when it sees the
    whole photograph at that size: away from the view's edges the network sees the same as there.
    """
    longer = max(float((box[2:] - box[:2]).max()), 1.0)
    divisor = 2 ** max(0, round(math.log2(longer / best)))
    cell = COARSEST * divisor
    whole = divisor * SMALL
    centre = (box[:2] + box[2:]) / 2
    x0, y0 = (
        max(0, min(round((float(value) - whole / 2) / cell), (side - 1) // cell)) * cell
        for value, side in zip(centre, (width, height), strict=True)
    )
    return view_of((x0, y0, min(width, x0 + whole), min(height, y0 + whole)), 1 / divisor, SMALL)


def render(pixels: NDArray[Any], view: View) -> NDArray[np.float32]:
    """Return a view's pixels, height×width×3 RGB float32 in 0..255, from a photograph in uint8, uint16 or float32.

    Reduction averages areas, so that nothing aliases however small the view; enlargement is bilinear.
    """
    x0, y0, x1, y1 = view.window
    smaller = view.width <= x1 - x0 and view.height <= y1 - y0
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized = cv2.resize(pixels[y0:y1, x0:x1], (view.width, view.height), interpolation=method)
    values = np.asarray(resized, dtype=np.float32)
    return values * np.float32(255 / 65535) if pixels.dtype == np.uint16 else values


def turn_back(found: Detections, turns: int, shape: tuple[int, int]) -> Detections:
    """Map candidates from a canvas turned by ``np.rot90(canvas, turns)`` to the canvas as it was.

    The points keep their order: left is left for the face upright. ``shape`` is the turned canvas' height and width.
    """
    corners, points = found.boxes.reshape(-1, 2, 2), found.points
    height, width = shape
    for _ in range(turns % 4):
        corners, points = (np.stack([height - place[..., 1], place[..., 0]], axis=-1) for place in (corners, points))
        height, width = width, height
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Detections(boxes, found.scores, points)


def network_input(pixels: NDArray[np.generic], views: Sequence[View], contract: NetworkContract) -> NDArray[np.float32]:
    """Return the normalised batch of views that share one canvas size: (N, 3, height, width) float32.

    Height and width are the canvas' side, or for a large canvas the multiple of ``COARSEST`` that holds all views. What
    is free is 0, the mean colour, which to the network looks like the edge of a picture.
    """
    height = width = views[0].canvas
    if height == LARGE:
        sides = max(view.height for view in views), max(view.width for view in views)
        height, width = (-(-side // COARSEST) * COARSEST for side in sides)
    batch = np.zeros((len(views), 3, height, width), dtype=np.float32)
    for slot, view in zip(batch, views, strict=True):
        slot[:, : view.height, : view.width] = to_network(render(pixels, view)[None], contract)[0]
    return batch
