"""Look at a face again, upright as its five points say, and see whether they are still there.

On faces that lie, stand on their heads or look far aside, a detector may be sure of the box and guess the points. Cut
out on such points a face is askew, and a face network would paint another over it. The cut-out crop gives the guess
away: there a face whose points are right stands upright, where the detector is at its best, and is seen where the
points say. What is seen elsewhere is taken at its word, cut out anew and looked at once more; where the detector goes
on contradicting itself, or sees no face at all, no points are to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.faces import Face, Point
from restorer.pipeline.align import align, template
from restorer.resample import invert, to_dtype, transform

Find = Callable[[NDArray[Any]], list[Face]]

SIZE = 256
"""Side of the crop that is looked at: a face's box has some 160 pixels there, a detector's best size."""
LEAST_SCORE = 0.5
"""Least score of a face in this look, or less where less is asked for: upright in its own crop a face is seen."""
AGREE = 0.15
"""Greatest mean distance of the points from where they should be, in distances from eyes to mouth, at which the two
looks agree. Measured with two detectors: upright faces, and faces turned aside by 45 degrees, stay below it; where
looks differ more, the second is right to 0.1 in nearly all cases, whatever the first one was."""
_ROUNDS = 2
"""Times that a look may correct the one before."""


def confirmed(pixels: NDArray[Any], face: Face, find: Find) -> Face | None:
    """Look at a face again, upright.

    Args:
        pixels: H×W×3 RGB, uint8, uint16 or float32, the photograph.
        face: The face.
        find: The detector.

    Returns:
        The face itself where its points are confirmed; the face with better points; or None where no points are to be
        trusted.

    Raises:
        GeometryError: The points allow no crop.
    """
    if face.settled:
        return face
    for _ in range(_ROUNDS + 1):
        seen = _seen(pixels, face, find)
        if seen is None:
            return None
        if _distance(seen, face.landmarks) <= AGREE:
            return face
        # Beyond its edges the photograph is mirrored: half a face there is a face with two noses.
        if not _within(seen, pixels):
            return None
        face = replace(face, landmarks=seen)
    return None


def _seen(pixels: NDArray[Any], face: Face, find: Find) -> NDArray[np.float32] | None:
    """Return the five points, in the photograph, of the face in the middle of a face's crop; None: no face there."""
    aligned = align(pixels, face, SIZE)
    middle = template(SIZE).mean(axis=0)
    there = [found for found in find(to_dtype(aligned.crop, np.dtype(np.uint8))) if _holds(found, middle)]
    if not there:
        return None
    surest = max(there, key=lambda found: found.score)
    return transform(invert(aligned.photo_to_crop), surest.landmarks).astype(np.float32)


def _within(points: NDArray[np.float32], pixels: NDArray[Any]) -> bool:
    return bool((points >= -0.5).all() and (points <= np.array(pixels.shape[1::-1]) - 0.5).all())


def _holds(face: Face, place: NDArray[np.float64]) -> bool:
    x0, y0, x1, y1 = face.box
    return bool(x0 <= place[0] <= x1 and y0 <= place[1] <= y1)


def _distance(points: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Return the mean distance of points in distances from eyes to mouth, the longer of the two."""
    length = max(_length(points), _length(others), 1e-3)
    return float(np.linalg.norm(points - others, axis=1).mean()) / length


def _length(points: NDArray[np.float32]) -> float:
    eyes = points[[Point.LEFT_EYE, Point.RIGHT_EYE]].mean(axis=0)
    mouth = points[[Point.LEFT_MOUTH, Point.RIGHT_MOUTH]].mean(axis=0)
    return float(np.linalg.norm(mouth - eyes))
