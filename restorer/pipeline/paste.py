"""Put restored faces into the enlarged photograph, without a seam and without touching anything else.

Each face is warped into its own box of the canvas only. A face larger there than its crop cannot hold all the detail
that the canvas shows around it: what the canvas has above the crop's band is added to the restored face. Where masks
overlap, the faces share the pixel in proportion to their squared masks, and together cover as much of it as the
greatest mask: no face is overwritten, and the order of the faces plays no part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.errors import RestorerError
from restorer.faces import RestoredFace
from restorer.resample import (
    Matrix,
    add_product,
    compose,
    cut_square,
    invert,
    magnification,
    scaling,
    shrink_for_warp,
    square_bounds,
    to_dtype,
    to_float,
    warp,
    warp_mask,
)
from restorer.runtime.device import thread_limit

Box = tuple[int, int, int, int]
Floats = NDArray[np.float32]

MASK_STEP = 0.049
"""Greatest change of a mask from a canvas pixel to its neighbour in the row or column: a face that is 20 levels off
then meets its surroundings in steps of 1. Masks that change faster, as those of faces a few dozen pixels small, are
lowered until they do not: full strength is reached about 20 pixels inside a mask's end, so a crop that measures less
than some 45 pixels in the canvas reaches it nowhere."""
_BAND = 256
"""Rows of the canvas blended at a time: bounds the float copies, whatever the number of faces."""


class Texture(Protocol):
    """What is laid over a restored face in the canvas."""

    def lay_over(self, colours: Floats, window: Box, share: Floats) -> Floats:
        """Return a face's pixels (0..255, for a window of the canvas, blended in by a share) with the texture."""
        ...


class Texturing(Protocol):
    """Measures which texture a restored face lacks."""

    def sample(self, box: Box) -> Box:
        """Return the part of a face's box in which the restored face is to be shown."""
        ...

    def __call__(self, canvas: NDArray[Any], box: Box, mask: Floats, colours: Callable[[], Floats]) -> Texture | None:
        """Return the texture: from the canvas, the face's box and mask in it, and its pixels in the sample."""
        ...


@dataclass(frozen=True)
class _Placed:
    """A restored face ready to be sampled in the canvas."""

    pixels: NDArray[np.float32]
    """The face's pixels, or where ``adds`` what they differ by from the same crop of the canvas."""
    canvas_to_pixels: Matrix
    adds: bool
    """Whether the canvas is finer than the crop, so that the face is what the crop adds to it."""
    mask: NDArray[np.float32]
    """The mask in the canvas, rows and columns of the box."""
    box: Box
    """x0, y0, x1, y1 in the canvas, ends exclusive; outside it the mask is 0."""
    texture: Texture | None = None

    def colours(self, canvas: NDArray[np.float32], window: Box) -> NDArray[np.float32]:
        """Return the face's pixels for a window of the canvas; ``canvas`` are the canvas' own there, 0..255."""
        x0, y0, x1, y1 = window
        colours = warp(self.pixels, _from(self.canvas_to_pixels, x0, y0), x1 - x0, y1 - y0)
        if self.adds:
            colours += canvas
        return np.clip(colours, 0, 255, out=colours)


def paste(
    canvas: NDArray[Any],
    restored: Sequence[RestoredFace],
    masks: Sequence[NDArray[np.float32]],
    *,
    scale: float | tuple[float, float],
    strength: float = 1.0,
    texturing: Texturing | None = None,
    in_place: bool = False,
    interpolated: bool = False,
) -> NDArray[Any]:
    """Blend restored faces into the enlarged photograph.

    Args:
        canvas: H×W×3 RGB, uint8 or uint16: the photograph enlarged by ``scale``.
        restored: The faces, with their transforms from photograph to crop.
        masks: One size×size float32 mask in 0..1 per face, in its crop's pixels.
        scale: Canvas side divided by photograph side; (x, y) where rounding made them differ.
        strength: 1 puts the restored faces in, 0 leaves the canvas as it is; between, the result lies that far on the
            way from the canvas to the full result.
        texturing: Measures what is laid over each face; None: nothing is.
        in_place: Use the canvas up for the result, rather than copy it.
        interpolated: Whether the canvas shows the photograph's own pixels, interpolated, and nothing a network added.

    Returns:
        An array of the canvas' dtype, new unless ``in_place``. Pixels where no mask reaches are the canvas' to the bit.

    Raises:
        RestorerError: A restored face holds numbers that are not finite.
    """
    result: NDArray[Any] = canvas if in_place else canvas.copy()
    if strength == 0 or len(restored) == 0:
        return result
    scale_x, scale_y = scale if isinstance(scale, tuple) else (scale, scale)
    to_photo = invert(scaling(scale_x, scale_y))
    with ThreadPoolExecutor(thread_limit() or os.cpu_count()) as pool:  # OpenCV and NumPy let go of Python's lock
        pairs = list(zip(restored, masks, strict=True))
        found = pool.map(lambda pair: _place(pair[0], pair[1], to_photo, canvas, interpolated), pairs)
        # One order, whichever the caller's, so that even the last bit of the sums is the same.
        placed = sorted((face for face in found if face is not None), key=lambda face: (face.box, face.pixels.sum()))
        if texturing is not None:
            placed = list(pool.map(lambda face: _textured(face, canvas, texturing), placed))
        parts = [
            (group, top, min(top + _BAND, canvas.shape[0]))
            for top in range(0, canvas.shape[0], _BAND)
            for group in _side_by_side([face for face in placed if face.box[1] < top + _BAND and face.box[3] > top])
        ]
        # No two parts share a pixel; and the canvas has been read by now, so that it may be the result.
        list(pool.map(lambda part: _blend(result, part[0], part[1], part[2], strength), parts))
    return result


def _place(
    face: RestoredFace, mask: NDArray[np.float32], to_photo: Matrix, canvas: NDArray[Any], interpolated: bool
) -> _Placed | None:
    """Find a face's box in the canvas and its mask there; None where the mask is 0 everywhere in the canvas."""
    if not np.isfinite(face.pixels).all():
        raise RestorerError("a restored face holds numbers that are not finite; try --precision fp32")
    canvas_to_crop = compose(face.aligned.photo_to_crop, to_photo)
    crop_to_canvas = invert(canvas_to_crop)
    # Interpolated, a mask reaches half a crop pixel beyond its square; the zeros past that keep even a mask of ones
    # from ending in a step.
    margin = 2 + magnification(crop_to_canvas)
    x0, y0, x1, y1 = square_bounds(crop_to_canvas, face.pixels.shape[0], margin)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, canvas.shape[1]), min(y1, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return None
    small, to_small = shrink_for_warp(np.asarray(mask, np.float32), canvas_to_crop, positive=True)
    in_canvas = warp_mask(small, _from(to_small, x0, y0), x1 - x0, y1 - y0)
    limited = _limit_steps(np.clip(in_canvas, 0, 1))
    rows, columns = limited.any(axis=1).nonzero()[0], limited.any(axis=0).nonzero()[0]
    if len(rows) == 0:
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    pixels, canvas_to_pixels = shrink_for_warp(face.pixels, canvas_to_crop)
    box = (x0 + left, y0 + top, x0 + right, y0 + bottom)
    # what a crop can hold of a canvas finer than itself; warps are linear, so that one takes both there
    held = None
    if magnification(crop_to_canvas) > 1:
        # of a canvas that is the photograph over again, the very crop that was cut out of the photograph
        held = face.aligned.crop if interpolated else cut_square(canvas, crop_to_canvas, face.pixels.shape[0])
    if held is not None:
        pixels = pixels - held
    return _Placed(pixels, canvas_to_pixels, held is not None, limited[top:bottom, left:right].copy(), box)


def _textured(face: _Placed, canvas: NDArray[Any], texturing: Texturing) -> _Placed:
    """Return a face with the texture it lacks."""
    x0, y0, x1, y1 = window = texturing.sample(face.box)

    def colours() -> Floats:
        return face.colours(to_float(canvas[y0:y1, x0:x1]), window)

    return replace(face, texture=texturing(canvas, face.box, face.mask, colours))


def _from(matrix: Matrix, x: int, y: int) -> Matrix:
    """Return the transform for coordinates counted from (x, y)."""
    return compose(matrix, np.array([[1.0, 0.0, x], [0.0, 1.0, y]]))


def _limit_steps(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lower a mask just so far that no two neighbours in a row or column differ by more than ``MASK_STEP``.

    The greatest such mask below the given one is min over q of mask(q) + step·(|dx| + |dy|), which separates into a
    running minimum along each axis and direction.
    """
    if max(_steepest(mask, axis) for axis in (0, 1)) <= MASK_STEP:
        return mask  # as that of most faces of more than a few hundred pixels
    limited = mask
    for axis in (0, 1):
        length = mask.shape[axis]
        slope = (MASK_STEP * np.arange(length, dtype=np.float32)).reshape((-1, 1) if axis == 0 else (1, -1))
        forward = np.minimum.accumulate(limited - slope, axis=axis) + slope
        backward = np.flip(np.minimum.accumulate(np.flip(limited + slope, axis), axis=axis), axis) - slope
        limited = np.minimum(np.minimum(forward, backward), limited)
    # Adding and taking off the slope leaves rounding errors where the mask was 0.
    return np.where(mask > 0, np.maximum(limited, 0), 0).astype(np.float32)


def _steepest(mask: NDArray[np.float32], axis: int) -> float:
    """Return the greatest difference of neighbours along an axis."""
    return float(np.abs(np.diff(mask, axis=axis)).max(initial=0))


def _side_by_side(faces: list[_Placed]) -> list[list[_Placed]]:
    """Group the faces of one band, sorted by their boxes, whose columns overlap directly or through others."""
    groups: list[list[_Placed]] = []
    end = 0
    for face in faces:
        if groups and face.box[0] < end:
            groups[-1].append(face)
            end = max(end, face.box[2])
        else:
            groups.append([face])
            end = face.box[2]
    return groups


def _blend(result: NDArray[Any], faces: list[_Placed], top: int, bottom: int, strength: float) -> None:
    """Blend a group of faces into the rows top..bottom of the result, in place."""
    left, right = min(face.box[0] for face in faces), max(face.box[2] for face in faces)
    top, bottom = max(top, min(face.box[1] for face in faces)), min(bottom, max(face.box[3] for face in faces))
    area = result[top:bottom, left:right]
    before = to_float(area)
    if len(faces) == 1:
        colours, cover = _colours(faces[0], before, (left, top, right, bottom), strength)
    else:
        colours, cover = _shared(faces, before, (left, top, right, bottom), strength)
    add_product(before, np.asarray(cv2.subtract(colours, before), np.float32), np.float32(strength) * cover)
    if result.dtype == np.uint16:
        before *= np.float32(257)
    # Where no mask reaches, this writes back the very number that was read.
    area[...] = to_dtype(before, result.dtype)


def _colours(face: _Placed, before: Floats, window: Box, strength: float) -> tuple[Floats, Floats]:
    """Return a face's colours, texture and all, and its mask in a window within its box."""
    x0, y0, x1, y1 = window
    mask = face.mask[y0 - face.box[1] : y1 - face.box[1], x0 - face.box[0] : x1 - face.box[0]]
    colours = face.colours(before, window)
    if face.texture is not None:
        colours = face.texture.lay_over(colours, window, np.float32(strength) * mask)
    return colours, mask


def _shared(faces: list[_Placed], before: Floats, window: Box, strength: float) -> tuple[Floats, Floats]:
    """Return the mean colours of faces by their squared masks, and the greatest mask."""
    left, top, _, bottom = window
    colours = np.zeros(before.shape, np.float32)
    shares = np.zeros(before.shape[:2], np.float32)
    cover = np.zeros(before.shape[:2], np.float32)
    for face in faces:
        x0, y0, x1, y1 = face.box
        y0, y1 = max(y0, top), min(y1, bottom)
        if y0 >= y1:
            continue
        place = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        colour, mask = _colours(face, np.ascontiguousarray(before[place]), (x0, y0, x1, y1), strength)
        share = mask * mask
        colours[place] += share[..., None] * colour
        shares[place] += share
        np.maximum(cover[place], mask, out=cover[place])
    colours /= np.maximum(shares, np.float32(1e-30))[..., None]
    return colours, cover
