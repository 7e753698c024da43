"""How much of a restored crop goes into the photograph: a soft mask of the face, drawn in the crop's own pixels.

The mask is 1 on the face, falls smoothly over its surroundings, and is exactly 0 before the crop's border. How fast it
falls follows the canvas it will be pasted into: a small face, whose crop shrinks to a quarter there, gets a fringe four
times as wide in crop pixels, as far as the crop has room. The edge of the photograph itself needs no fringe: no
unrestored pixel lies beyond it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.faces import AlignedFace, Point
from restorer.resample import magnification, resize, transform

Parse = Callable[[NDArray[np.float32]], NDArray[Any]]
"""512×512×3 RGB float32 in 0..255 -> 512×512 class numbers of CelebAMask-HQ as BiSeNet gives them."""

PARSER_SIZE = 512
FACE_CLASSES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13)
"""Skin, brows, eyes, glasses, ears, nose, mouth, lips. Left out: background, earrings, neck, necklace, clothes, hat and
hair. Hair is what the networks invent most freely and what must run on beyond the crop, so it takes part only through
the fringe, which lets a restored hairline fade into the photograph's own hair."""

# Lengths below are pixels of a 512 crop.
_BORDER = 8.0
"""Width of the zeros at the crop's border."""
_FRINGE = (48.0, 100.0)
"""Least and greatest width over which the mask falls outside the face (100: all the room beside an average face)."""
_BORDER_FRINGE = (24.0, 64.0)
"""The same toward the crop's border, where it may cut into a long chin."""
_CANVAS_FRINGE = 34.0
"""Wanted width of the fringe in pixels of the canvas: its steepest step is then 1.5 / 34, below 1/20, and a difference
of 20 levels shows no step above 1."""
_CANVAS_BORDER = 2.0
"""Wanted width of the border's zeros in pixels of the canvas, so that resampling leaves zeros there."""
_SMOOTHING = 4.0
"""Standard deviation of the blur that rounds the parser's outline."""
_CLOSING = 31
"""Gaps in the parser's face narrower than this (strands of hair, a microphone) are filled."""
_ENVELOPE = 1.3
"""The parser's face is believed within the drawn oval grown by this factor; what lies beyond is a neighbour's face."""
_LEAST_AGREEMENT = 0.25
"""Part of the drawn oval that the parser must call face to be believed."""


def face_mask(
    face: AlignedFace,
    parse: Parse | None = None,
    *,
    scale: float | tuple[float, float] = 1.0,
    notify: Callable[[str], None] | None = None,
) -> NDArray[np.float32]:
    """Draw a face's soft mask.

    Args:
        face: The aligned face; its crop is what the parser sees.
        parse: The parser; None: the mask is drawn from the five points.
        scale: Canvas side divided by photograph side, as for the paste (x, y where they differ).
        notify: Gets a sentence when the parser finds no face and the drawn mask is taken instead.

    Returns:
        Size×size float32 in 0..1, exactly 0 along the crop's border.
    """
    size = face.crop.shape[0]
    unit = size / PARSER_SIZE
    scale_x, scale_y = scale if isinstance(scale, tuple) else (scale, scale)
    canvas_pixel = magnification(face.photo_to_crop) / (scale_x * scale_y) ** 0.5
    oval = _oval(face)
    core = oval <= 1
    if parse is not None:
        parsed = _parsed(face.crop, parse, oval)
        if parsed is not None:
            core = parsed
        elif notify is not None:
            notify("the parser found no face in a crop; its mask is drawn from the five points instead")
    outside = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    fringe = np.clip(_CANVAS_FRINGE * canvas_pixel, _FRINGE[0] * unit, _FRINGE[1] * unit)
    border_fringe = np.clip(_CANVAS_FRINGE * canvas_pixel, _BORDER_FRINGE[0] * unit, _BORDER_FRINGE[1] * unit)
    zeros = min(max(_BORDER * unit, _CANVAS_BORDER * canvas_pixel), size / 8)
    face_part = _ramp(1 - outside / fringe)
    border_part = _ramp((_border_distance(size) - zeros) / border_fringe)
    return np.minimum(face_part, border_part)


def _oval(face: AlignedFace) -> NDArray[np.float32]:
    """Return size×size elliptic radii about the face's middle: 1 on its outline, chin to hairline and ear to ear.

    The proportions are those of the template, whose face reaches from about y = 104 to y = 471 of 512.
    """
    size = face.crop.shape[0]
    points = transform(face.photo_to_crop, face.face.landmarks)
    eyes = points[[Point.LEFT_EYE, Point.RIGHT_EYE]]
    mouth = points[[Point.LEFT_MOUTH, Point.RIGHT_MOUTH]]
    down = mouth.mean(axis=0) - eyes.mean(axis=0)
    length = float(np.linalg.norm(down))
    # Points without a top and bottom (they coincide) leave the crop's own upright.
    upright = down / length if length > 0 else np.array([0.0, 1.0])
    # In a profile the eyes draw together; the face's depth then takes the place of its width.
    length = max(length, 0.2 * size)
    half_width = 1.1 * max(float(np.linalg.norm(eyes[1] - eyes[0])), 0.9 * length)
    half_height = 1.4 * length
    centre = eyes.mean(axis=0) + 0.36 * length * upright
    x, y = (np.arange(size) - middle for middle in centre)
    along = _sum(x * upright[0] / half_height, y * upright[1] / half_height)
    across = _sum(x * upright[1] / half_width, -y * upright[0] / half_width)
    return np.asarray(cv2.magnitude(across, along), np.float32)


def _sum(across: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the plane whose value is the sum of one number for its column and one for its row."""
    return np.asarray(across.astype(np.float32) + down.astype(np.float32)[:, None])


def _parsed(crop: NDArray[np.float32], parse: Parse, oval: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return the parser's face, smoothed and without its neighbours; None where it contradicts the five points."""
    size = crop.shape[0]
    labels = parse(np.clip(resize(crop, PARSER_SIZE, PARSER_SIZE), 0, 255))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CLOSING, _CLOSING))
    closed = cv2.morphologyEx(np.isin(labels, FACE_CLASSES).astype(np.uint8), cv2.MORPH_CLOSE, disc)
    soft = cv2.GaussianBlur(closed.astype(np.float32), (0, 0), _SMOOTHING)
    core: NDArray[np.bool_] = (resize(soft, size, size) > 0.5) & (oval <= _ENVELOPE)
    inner = oval <= 1
    if np.count_nonzero(core & inner) < _LEAST_AGREEMENT * np.count_nonzero(inner):
        return None
    return core


def _border_distance(size: int) -> NDArray[np.float32]:
    """Return size×size distances to the crop's outermost pixels."""
    to_side = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32)
    return np.minimum(to_side[:, None], to_side[None, :])


def _ramp(values: NDArray[Any]) -> NDArray[np.float32]:
    """Rise smoothly from exactly 0 at 0 to exactly 1 at 1, with a greatest slope of 1.5."""
    clipped = np.clip(values, 0, 1)
    ramp: NDArray[np.float32] = (clipped * clipped * (3 - 2 * clipped)).astype(np.float32)
    return ramp
