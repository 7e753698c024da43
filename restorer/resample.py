"""Pixel-centre exact resampling: the one place that knows how pictures are shrunk, enlarged and warped.

Pixel centres lie at integers, so a picture scaled by s maps x to s·(x + 0.5) − 0.5. All transforms are 2×3 float64
matrices that act on column vectors (x, y, 1). Everything runs on the CPU and gives the same bits for every number of
threads.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Matrix = NDArray[np.float64]
"""2×3 affine transform."""
Pixels = NDArray[Any]
"""H×W or H×W×C, uint8, uint16 or float32."""

_POINT = np.array([0, 0, 1, 0, 0], np.float32)
_SLOPE = np.array([1, -8, 0, 8, -1], np.float32) / 12
"""Fourth-order central difference."""
_KERNEL_MARGIN = 4.0
"""Pixels that interpolation needs beyond an outline (half of Lanczos' 8), at scale 1."""
_SHRINK_BELOW = 0.9
"""Warps that reduce less than this alias only in the last tenth of the band, less than a second filter would blur."""


def scaling(scale_x: float, scale_y: float) -> Matrix:
    """Return the transform of a picture enlarged by the two factors, about the picture's corner."""
    return np.array([[scale_x, 0.0, (scale_x - 1) / 2], [0.0, scale_y, (scale_y - 1) / 2]])


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """Return the transform that applies ``inner`` first, then ``outer``."""
    linear = outer[:, :2] @ inner[:, :2]
    offset = outer[:, :2] @ inner[:, 2] + outer[:, 2]
    return np.column_stack([linear, offset])


def invert(matrix: Matrix) -> Matrix:
    """Return the inverse transform; raises :class:`numpy.linalg.LinAlgError` for a singular one."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def transform(matrix: Matrix, points: NDArray[Any]) -> NDArray[np.float64]:
    """Map points of shape (N, 2)."""
    mapped: NDArray[np.float64] = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def magnification(matrix: Matrix) -> float:
    """Return how many target pixels one source pixel becomes, per side."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))


def square_bounds(square_to_target: Matrix, size: int, margin: float = 0.0) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 (ends exclusive) of the target pixels whose centres a size×size square may cover.

    Args:
        square_to_target: Maps the square's pixel centres to the target's.
        size: Side of the square in its own pixels.
        margin: Target pixels added on every side.
    """
    low, high = -0.5, size - 0.5
    corners = transform(square_to_target, np.array([[low, low], [high, low], [low, high], [high, high]]))
    x0, y0 = np.floor(corners.min(axis=0) - margin)
    x1, y1 = np.ceil(corners.max(axis=0) + margin)
    return int(x0), int(y0), int(x1) + 1, int(y1) + 1


def enlarged_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Return width and height after scaling, rounded to nearest, at least 1."""
    return max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5))


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Enlarge or reduce a picture to exactly width×height with Lanczos filters; overshoot is clipped.

    Enlarging interpolates over 8×8 pixels; reducing widens the kernel, so that nothing aliases.

    Args:
        pixels: H×W or H×W×C, uint8, uint16 or float32.
        width: Columns of the result.
        height: Rows of the result.

    Returns:
        A picture of the same dtype; the very same array where the size does not change.
    """
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    if width >= columns and height >= rows:
        enlarged: Pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LANCZOS4)
        # OpenCV drops a last axis of length 1.
        return enlarged.reshape(height, width, *pixels.shape[2:])
    if pixels.ndim == 2:
        return _resize_plane(pixels, width, height, Image.Resampling.LANCZOS)
    planes = [_resize_plane(pixels[..., c], width, height, Image.Resampling.LANCZOS) for c in range(pixels.shape[2])]
    return np.stack(planes, axis=-1)


def _resize_plane(plane: Pixels, width: int, height: int, kernel: Image.Resampling) -> Pixels:
    # Pillow computes in float only for mode F; its 8-bit path rounds between the two passes.
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    result = np.asarray(image.resize((width, height), kernel))
    return result if plane.dtype == np.float32 else to_dtype(result, plane.dtype)


def to_dtype(values: NDArray[np.floating[Any]], dtype: np.dtype[Any]) -> Pixels:
    """Round to nearest and clip into an integer dtype's range."""
    rounded: Pixels
    if values.ndim == 3 and values.dtype == np.float32 and values.size:
        # the same rounding and clipping, to nearest even, in one pass
        depth = {1: cv2.CV_8U, 2: cv2.CV_16U}[dtype.itemsize]
        rounded = np.asarray(cv2.addWeighted(values.astype(np.float32, copy=False), 1, values, 0, 0, dtype=depth))
        return rounded.reshape(values.shape)
    rounded = np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
    return rounded


def shrink_for_warp(
    source: NDArray[np.float32], target_to_source: Matrix, *, positive: bool = False
) -> tuple[NDArray[np.float32], Matrix]:
    """Reduce a picture to about the resolution it will be sampled at, so that the warp after it does not alias.

    Args:
        source: H×W or H×W×C float32.
        target_to_source: The warp that will follow.
        positive: Use a kernel without negative lobes (for masks: the result stays in the source's range).

    Returns:
        The reduced picture (the source itself where the warp hardly reduces) and the warp's transform for it.
    """
    ratio = 1 / magnification(target_to_source)
    if ratio >= _SHRINK_BELOW:
        return source, target_to_source
    rows, columns = source.shape[:2]
    width, height = max(1, math.ceil(columns * ratio)), max(1, math.ceil(rows * ratio))
    if positive:
        shrunk = _resize_plane(source, width, height, Image.Resampling.BILINEAR)
    else:
        shrunk = resize(source, width, height)
    return shrunk, compose(scaling(width / columns, height / rows), target_to_source)


def warp(source: NDArray[np.float32], target_to_source: Matrix, width: int, height: int) -> NDArray[np.float32]:
    """Sample a picture at the transformed centres of a width×height target with Lanczos over 8×8 pixels.

    OpenCV tabulates the kernel in steps of 1/32 pixel. What its positions lack is made up to first order from the
    result's own gradient, so that a warp shifts nothing. A picture that is to be reduced must have gone through
    :func:`shrink_for_warp`.

    Args:
        source: H×W×C float32, sides below 32768; mirrored beyond its edges.
        target_to_source: Maps target pixel centres to source pixel centres.
        width: Columns of the target.
        height: Rows of the target.
    """
    # The gradient reaches two pixels beyond each target pixel.
    padded = compose(target_to_source, np.array([[1.0, 0.0, -2.0], [0.0, 1.0, -2.0]]))
    x, y = np.arange(width + 4), np.arange(height + 4)[:, None]
    positions = [
        (padded[axis, 0] * x + padded[axis, 2]).astype(np.float32) + (padded[axis, 1] * y).astype(np.float32)
        for axis in (0, 1)
    ]
    whole, fraction = cv2.convertMaps(positions[0], positions[1], cv2.CV_16SC2)
    warped: NDArray[Any] = np.asarray(
        cv2.remap(source, whole, fraction, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    )
    missing = [_beyond_steps(position) for position in positions]
    to_target = np.linalg.inv(padded[:, :2]).astype(np.float32)
    gradients = (cv2.sepFilter2D(warped, -1, _SLOPE, _POINT), cv2.sepFilter2D(warped, -1, _POINT, _SLOPE))
    for row, gradient in zip(to_target, gradients, strict=True):
        add_product(warped, np.asarray(gradient, np.float32), row[0] * missing[0] + row[1] * missing[1])
    return warped[2:-2, 2:-2]


def add_product(total: NDArray[np.float32], pixels: NDArray[np.float32], share: NDArray[np.float32]) -> None:
    """Add ``share[..., None] * pixels`` to ``total`` in place, several times as quickly; float32, H×W×3 and H×W."""
    cv2.accumulateProduct(pixels, cv2.merge([share] * 3), total)


def _beyond_steps(position: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what positions (H×W) lie beyond the nearest 1/32 pixel, in pixels; their array is used up."""
    position *= 32  # exact, as the table's own rounding
    position -= np.rint(position)
    position /= 32
    return position


def cut_square(pixels: Pixels, square_to_source: Matrix, size: int) -> NDArray[np.float32] | None:
    """Cut a turned and scaled square out of a picture.

    Only the square's own region is read. Where it reaches beyond the picture, the picture is mirrored; where it is
    smaller than its region, the region is reduced without aliasing.

    Args:
        pixels: H×W×3, uint8, uint16 or float32 (0..255).
        square_to_source: Maps the square's pixel centres to the picture's.
        size: Side of the square.

    Returns:
        Size×size×3 float32 in 0..255; None where the square lies outside of the picture.
    """
    reach = max(1.0, magnification(square_to_source))
    x0, y0, x1, y1 = square_bounds(square_to_source, size, _KERNEL_MARGIN * reach)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, pixels.shape[1]), min(y1, pixels.shape[0])
    if x0 >= x1 or y0 >= y1:
        return None
    region = pixels[y0:y1, x0:x1]
    into_region = square_to_source - np.array([[0, 0, x0], [0, 0, y0]])
    # A region many times the square's size is first averaged in its own dtype: a float copy of it might not fit in
    # memory. Half the final reduction keeps the averaging's fall-off above the square's band.
    factor = int(reach / 2)
    if factor >= 2:
        width, height = max(1, round((x1 - x0) / factor)), max(1, round((y1 - y0) / factor))
        region = cv2.resize(region, (width, height), interpolation=cv2.INTER_AREA)
        into_region = compose(scaling(width / (x1 - x0), height / (y1 - y0)), into_region)
    shrunk, to_shrunk = shrink_for_warp(to_float(region), into_region)
    square: NDArray[np.float32] = np.clip(warp(shrunk, to_shrunk, size, size), 0, 255)
    return square


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """Return a float32 copy in 0..255 (65535 / 257 = 255)."""
    values = pixels.astype(np.float32)
    return values / np.float32(257) if pixels.dtype == np.uint16 else values


def warp_mask(mask: NDArray[np.float32], target_to_mask: Matrix, width: int, height: int) -> NDArray[np.float32]:
    """Sample a mask (H×W float32) with linear interpolation: the result stays in its range, zeros lie beyond its edges.

    Masks are smooth, so that OpenCV's steps of 1/32 pixel do no harm.
    """
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask, target_to_mask, (width, height), flags=flags), np.float32)
