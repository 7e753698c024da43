"""RetinaFace's numbers to boxes and points: priors, decoding and non-maximum suppression, vectorised over arrays.

The network gives, for every prior (a square of fixed size at every cell of three feature maps), an offset to the face's
box, two class probabilities and offsets to five points (Deng et al., RetinaFace, 2019; priors and variances as in SSD,
Liu et al., 2016, section 2.2). Everything here is NumPy, float32 in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

STEPS = (8, 16, 32)
"""Pixels of the input for one cell, per feature map."""
PRIOR_SIZES = ((16, 32), (64, 128), (256, 512))
"""Sides of the square priors at each cell in pixels, per feature map; both backbones were trained with these."""
VARIANCES = (0.1, 0.2)
"""What the trained offsets of centres (and points) and of logarithmic sizes are multiplied by."""
MAX_CANDIDATES = 3000
"""Most candidates of one look that reach the suppression, best first; a bound against a network gone wild."""
MAX_LOG_SIZE = 4.0
"""Bound of a box's logarithmic growth over its prior, so that no output overflows the exponential."""


@dataclass(frozen=True)
class Detections:
    """Candidates, one row each."""

    boxes: FloatArray
    """(N, 4): x0, y0, x1, y1."""
    scores: FloatArray
    """(N,), probability of a face, 0 to 1."""
    points: FloatArray
    """(N, 5, 2): x, y in the order of :class:`restorer.faces.Point`."""

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Detections:
        return Detections(self.boxes[rows], self.scores[rows], self.points[rows])

    @property
    def sizes(self) -> FloatArray:
        """(N,): the longer side of every box."""
        longer: FloatArray = np.max(self.boxes[:, 2:] - self.boxes[:, :2], axis=1, initial=0)
        return longer

    @property
    def centres(self) -> FloatArray:
        """(N, 2): x, y of every box's centre."""
        middle: FloatArray = np.mean(self.boxes.reshape(-1, 2, 2), axis=1)
        return middle


def join(parts: Sequence[Detections]) -> Detections:
    """Put candidates together, in order; none give an empty one."""
    nothing = Detections(*(np.zeros(shape, dtype=np.float32) for shape in ((0, 4), (0,), (0, 5, 2))))
    parts = [nothing, *parts]
    return Detections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.points for part in parts]),
    )


@lru_cache(maxsize=8)
def priors(height: int, width: int) -> FloatArray:
    """Return the priors of an input of height×width pixels.

    Returns:
        (A, 3) float32, read-only: centre x, centre y and side in pixels, in the order of the network's output: feature
        map, row, column, size.
    """
    rows = []
    for step, sizes in zip(STEPS, PRIOR_SIZES, strict=True):
        centre_y = (np.arange(-(-height // step), dtype=np.float32) + 0.5) * step
        centre_x = (np.arange(-(-width // step), dtype=np.float32) + 0.5) * step
        grid = np.meshgrid(centre_y, centre_x, np.asarray(sizes, dtype=np.float32), indexing="ij")
        rows.append(np.stack([grid[1], grid[0], grid[2]], axis=-1).reshape(-1, 3))
    result = np.concatenate(rows)
    result.flags.writeable = False
    return result


def decode_boxes(offsets: FloatArray, prior: FloatArray) -> FloatArray:
    """Turn box offsets (N, 4) and their priors (N, 3) into x0, y0, x1, y1 in pixels, (N, 4)."""
    centre = prior[:, :2] + offsets[:, :2] * VARIANCES[0] * prior[:, 2:]
    half = prior[:, 2:] * np.exp(np.clip(offsets[:, 2:] * VARIANCES[1], -MAX_LOG_SIZE, MAX_LOG_SIZE)) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def decode_points(offsets: FloatArray, prior: FloatArray) -> FloatArray:
    """Turn point offsets (N, 10) and their priors (N, 3) into x, y in pixels, (N, 5, 2)."""
    return prior[:, None, :2] + offsets.reshape(-1, 5, 2) * VARIANCES[0] * prior[:, None, 2:]


def decode(
    box_offsets: FloatArray, probabilities: FloatArray, point_offsets: FloatArray, shape: tuple[int, int], least: float
) -> Detections:
    """Decode one input's output as far as its score is at least ``least``.

    Args:
        box_offsets: (A, 4).
        probabilities: (A, 2), softmaxed; column 1 is the face's.
        point_offsets: (A, 10).
        shape: height and width of the network's input in pixels.
        least: least score that counts, 0 to 1.

    Returns:
        At most MAX_CANDIDATES candidates, the best first; equal scores in the network's order.
    """
    scores = probabilities[:, 1]
    rows = np.flatnonzero(scores >= least)
    rows = rows[np.argsort(-scores[rows], kind="stable")][:MAX_CANDIDATES]
    prior = priors(*shape)[rows]
    return Detections(decode_boxes(box_offsets[rows], prior), scores[rows], decode_points(point_offsets[rows], prior))


def overlaps(box: FloatArray, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compare one box (4,) with many (N, 4).

    Returns:
        Two arrays (N,): intersection over union, and intersection over the smaller of the two areas.
    """
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    area = np.prod(box[2:] - box[:2])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    tiny = np.finfo(np.float32).tiny
    return shared / np.maximum(area + areas - shared, tiny), shared / np.maximum(np.minimum(area, areas), tiny)


def suppress(boxes: FloatArray, order: FloatArray, most: float) -> list[NDArray[np.intp]]:
    """Group boxes greedily: the first in order takes every box whose intersection over union with it is above ``most``.

    Args:
        boxes: (N, 4).
        order: (N,), higher first; ties in the rows' order.
        most: intersection over union above which two boxes are one face.

    Returns:
        One array of rows per group, its keeper first, the others in order.
    """
    left = np.argsort(-order, kind="stable")
    groups = []
    while len(left):
        union, _ = overlaps(boxes[left[0]], boxes[left])
        union[0] = 1
        groups.append(left[union > most])
        left = left[union <= most]
    return groups
