"""Where a face's eyes and mouth are: square boxes from the five points, for losses that look at them closely.

Source: Wang et al., CVPR 2021, section 3.4: left eye, right eye and mouth are cut out by ROI align, the eyes enlarged
by 1.4. The released data has boxes around 68 points (an eye's with its brow); with five, the face's own size stands in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.faces import Point

COMPONENTS = ("left_eye", "right_eye", "mouth")
"""The boxes in their order; left and right are the image's."""
MIRRORED_BOXES = [1, 0, 2]
"""Where each box comes from when the picture is mirrored."""
EYE_ENLARGED = 1.4
"""How much larger an eye's box is than the eye with its brow (paper, section 3.4)."""
EYE_SIDE = 0.7
"""Width of an eye with its brow, in face scales: the distance of the eyes of a face seen from the front."""
EYE_RAISED = 0.1
"""How far the middle of eye and brow lies above the pupil, in face scales."""
MOUTH_SIDE = 0.95
"""Side of the mouth's box in face scales; a mouth as wide as that reaches its box's edges."""
_TALL = 0.96
"""Distance of the eyes over that from eyes to mouth, in the template: a turned head narrows the one, not the other."""


def component_boxes(points: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Return the boxes of left eye, right eye and mouth.

    Args:
        points: Five points (..., 5, 2) in crop pixels, centres at integers, in the order of :class:`Point`.
        size: Side of the crop in pixels.

    Returns:
        (..., 3, 4) float32 x0, y0, x1, y1: squares in the same coordinates, moved inside the crop, whose edges are
        -0.5 and size - 0.5. An operator that counts from the crop's edge (torchvision's ``roi_align`` with ``aligned``)
        wants 0.5 added.
    """
    points = np.asarray(points, np.float64)
    left, right = points[..., Point.LEFT_EYE, :], points[..., Point.RIGHT_EYE, :]
    mouth = (points[..., Point.LEFT_MOUTH, :] + points[..., Point.RIGHT_MOUTH, :]) / 2
    down = mouth - (left + right) / 2
    height = np.linalg.norm(down, axis=-1)
    scale = np.maximum(np.linalg.norm(right - left, axis=-1), _TALL * height)
    up = -down / np.maximum(height, 1e-6)[..., None]
    raised = EYE_RAISED * scale[..., None] * up
    mouth_width = np.linalg.norm(points[..., Point.RIGHT_MOUTH, :] - points[..., Point.LEFT_MOUTH, :], axis=-1)
    eye_side = EYE_ENLARGED * EYE_SIDE * scale
    centres = np.stack([left + raised, right + raised, mouth], axis=-2)
    sides = np.stack([eye_side, eye_side, np.maximum(MOUTH_SIDE * scale, mouth_width)], axis=-1)
    half = np.clip(sides, 1, size)[..., None] / 2
    centres = np.clip(centres, half - 0.5, size - 0.5 - half)
    return np.concatenate([centres - half, centres + half], axis=-1).astype(np.float32)


def mirror_boxes(boxes: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return the boxes (..., 3, 4) of the mirrored crop, left and right exchanged."""
    mirrored = boxes[..., MIRRORED_BOXES, :]
    x0, y0, x1, y1 = np.moveaxis(mirrored, -1, 0)
    return np.stack([size - 1 - x1, y0, size - 1 - x0, y1], axis=-1).astype(np.float32)
