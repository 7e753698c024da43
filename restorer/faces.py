"""A face on its way through the pipeline: found, aligned, restored. Frozen values that grow step by step.

Coordinates are x, y in pixels of the oriented photograph, pixel centres at integers. The order of the five points
stands here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Point(IntEnum):
    """Row of each of the five points; left and right are the image's, not the person's."""

    LEFT_EYE = 0
    RIGHT_EYE = 1
    NOSE = 2
    LEFT_MOUTH = 3
    RIGHT_MOUTH = 4


@dataclass(frozen=True)
class Face:
    """A face found in a photograph."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the oriented photograph."""
    score: float
    """The detector's confidence, 0 to 1."""
    landmarks: FloatArray
    """Five points, shape (5, 2), rows as in :class:`Point`."""
    settled: bool = False
    """Whether looks that have nothing else in common agree on the points, and are sure that the face stands upright."""

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.box[3] - self.box[1]

    @property
    def size(self) -> float:
        """The box's shorter side in pixels: what ``--min-face`` and ``--max-face`` compare with."""
        return min(self.width, self.height)

    @property
    def eye_distance(self) -> float:
        """Distance between the two eyes in pixels."""
        return float(np.linalg.norm(self.landmarks[Point.RIGHT_EYE] - self.landmarks[Point.LEFT_EYE]))


@dataclass(frozen=True)
class AlignedFace:
    """A face cut out and turned upright."""

    face: Face
    crop: NDArray[np.float32]
    """Size×size×3 RGB float32 in 0..255."""
    photo_to_crop: NDArray[np.float64]
    """2×3 similarity transform: photograph pixel centres to crop pixel centres."""


@dataclass(frozen=True)
class RestoredFace:
    """An aligned face with the network's result."""

    aligned: AlignedFace
    pixels: NDArray[np.float32]
    """Same shape and range as the crop: RGB float32 in 0..255."""
