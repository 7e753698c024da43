"""Which faces are good enough to train on: large, sharp and whole in the photograph, their points as a face's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.errors import UsageError
from restorer.faces import AlignedFace, Point
from restorer.pipeline.align import template
from restorer.pipeline.sharpness import SIZE as SHARPNESS_SIZE
from restorer.pipeline.sharpness import steepness
from restorer.resample import invert, magnification, transform

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Criteria:
    """What a face needs."""

    size: float = 256.0
    """Least pixels of the photograph across the crop; below the crop's own side a face is enlarged."""
    sharpness: float = 1.2
    """Least steepness of the strongest edges at fine over coarse scale, in a crop of 512 pixels. Sharp portraits have
    1.3 to 1.65, the same under a blur of 1 pixel 1.2 to 1.5, of 2 pixels 1.15 to 1.25, of 4 pixels 1.1."""
    cover: float = 0.85
    """Least share of the crop that lies within the photograph; the rest would be mirrored."""
    misfit: float = 0.25
    """Greatest distance of the five points from those of a face seen from the front, root mean square, in distances of
    the eyes. Frontal portraits have 0.03 to 0.17."""
    score: float = 0.9
    """The detector's least confidence."""

    def __post_init__(self) -> None:
        """Refuse what no face can have."""
        if self.size < 0 or not 0 <= self.cover <= 1 or not 0 <= self.score <= 1:
            raise UsageError("A least size is at least 0, and a share within the photograph or a score 0 to 1.")


@dataclass(frozen=True)
class Measures:
    """What was found out about a face."""

    size: float
    sharpness: float
    cover: float
    misfit: float
    score: float

    def failing(self, criteria: Criteria) -> str | None:
        """Return why the face is left out, or None."""
        if self.score < criteria.score:
            return "uncertain"
        if self.size < criteria.size:
            return "too small"
        if self.misfit > criteria.misfit:
            return "turned away"
        if self.cover < criteria.cover:
            return "cut off by the photograph's edge"
        if self.sharpness < criteria.sharpness:
            return "not sharp"
        return None


def measure(face: AlignedFace, photo_size: tuple[int, int]) -> Measures:
    """Measure an aligned face of 512 pixels.

    Args:
        face: The face.
        photo_size: Width and height of its photograph.
    """
    size = len(face.crop)
    if size != SHARPNESS_SIZE:
        raise ValueError(f"the measure of sharpness is made for {SHARPNESS_SIZE} pixels, not {size}")
    return Measures(
        size=size / magnification(face.photo_to_crop),
        sharpness=steepness(np.asarray(face.crop @ _LUMA, np.float32)),
        cover=cover(face, photo_size),
        misfit=misfit(points_in_crop(face), size),
        score=face.face.score,
    )


def points_in_crop(face: AlignedFace) -> NDArray[np.float64]:
    """Return where the five points lie in the crop, (5, 2)."""
    return transform(face.photo_to_crop, face.face.landmarks)


def misfit(points: NDArray[Any], size: int) -> float:
    """Return how far points (5, 2) of a crop lie from the template's, in its distances of the eyes."""
    wanted = template(size)
    eyes = float(np.linalg.norm(wanted[Point.RIGHT_EYE] - wanted[Point.LEFT_EYE]))
    return float(np.sqrt(((points - wanted) ** 2).sum(axis=1).mean())) / eyes


def cover(face: AlignedFace, photo_size: tuple[int, int]) -> float:
    """Return the share of the crop that lies within the photograph of this width and height."""
    size, (width, height) = len(face.crop), photo_size
    corners = transform(invert(face.photo_to_crop), _corners(size, size))
    photo = _corners(width, height)
    area, _ = cv2.intersectConvexConvex(corners.astype(np.float32), photo.astype(np.float32))
    return float(area) / (size / magnification(face.photo_to_crop)) ** 2


def _corners(width: int, height: int) -> NDArray[np.float64]:
    # pixel centres are at integers
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64) - 0.5
