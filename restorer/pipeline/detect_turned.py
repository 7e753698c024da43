"""Find faces however they lie: look at the photograph in all four quarter turns.

The detector sees faces that are tilted by up to about 45 degrees. One of four quarter turns brings any face that near
to upright; there the detector is surest and its points are right, and what it saw there counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.faces import Face, Point
from restorer.pipeline.retinaface_decode import suppress

Find = Callable[[NDArray[Any]], list[Face]]

SAME_FACE = 0.3
"""Intersection over union above which boxes seen in two turns are one face: of a tilted face they fit loosely."""
LEVEL_BONUS = 0.05
"""What a face gains in score whose eyes were level in the turn it was seen in, over one whose eyes stood upright."""


def in_all_turns(find: Find) -> Find:
    """Return a detector that looks at every quarter turn: four times the work of ``find``."""

    def find_turned(pixels: NDArray[Any]) -> list[Face]:
        seen: list[Face] = []
        certainty: list[float] = []
        for turns in range(4):
            for face in find(np.ascontiguousarray(np.rot90(pixels, turns))):
                seen.append(_turned_back(face, turns, pixels.shape[1], pixels.shape[0]))
                certainty.append(face.score + LEVEL_BONUS * _level(face))
        if not seen:
            return []
        boxes = np.array([face.box for face in seen], np.float32)
        groups = suppress(boxes, np.array(certainty, np.float32), SAME_FACE)
        kept = [seen[group[0]] for group in groups]
        return sorted(kept, key=lambda face: (face.box[0] + face.box[2], face.box[1] + face.box[3]))

    return find_turned


def _level(face: Face) -> float:
    """Return the cosine of the angle at which the face stands: 1 upright, 0 lying, -1 upside down."""
    eyes = face.landmarks[[Point.LEFT_EYE, Point.RIGHT_EYE]].mean(axis=0)
    mouth = face.landmarks[[Point.LEFT_MOUTH, Point.RIGHT_MOUTH]].mean(axis=0)
    across = face.landmarks[Point.RIGHT_EYE] - face.landmarks[Point.LEFT_EYE]
    down = mouth - eyes
    stands = np.array([across[0] + down[1], across[1] - down[0]], np.float64)
    length = float(np.hypot(*stands))
    return float(stands[0]) / length if length > 0 else 0.0


def _turned_back(face: Face, turns: int, width: int, height: int) -> Face:
    """Return a face seen in ``np.rot90(pixels, turns)`` where it lies in a photograph of width×height pixels."""
    points = np.concatenate([face.landmarks, np.array(face.box, np.float32).reshape(2, 2)])
    # rot90 shows pixel (x, y) of a picture w wide at (y, w - 1 - x).
    sides = [(width, height), (height, width)]
    for turn in reversed(range(turns)):
        across = sides[turn % 2][0]
        points = np.stack([across - 1 - points[:, 1], points[:, 0]], axis=-1)
    low, high = points[5:].min(axis=0), points[5:].max(axis=0)
    box = float(low[0]), float(low[1]), float(high[0]), float(high[1])
    return Face(box, face.score, points[:5].astype(np.float32))
