"""Blurring and resizing batches whose images each have their own kernel or size."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

Kernel = Literal["linear", "cubic"]
Sizes = NDArray[np.intp]
"""Rows and columns of each image within a batch of a common size, (N, 2): beyond them its edge is repeated."""

_REACH: dict[Kernel, float] = {"linear": 1.0, "cubic": 2.0}


def each(values: ArrayLike, images: Tensor) -> Tensor:
    """Return one number, or one for each image, as N×1×1×1 beside the images."""
    numbers = np.broadcast_to(np.asarray(values, np.float32), (len(images),))
    return torch.from_numpy(numbers.copy()).to(images.device)[:, None, None, None]


# Blurring


def gaussian_blur(images: Tensor, sigma: ArrayLike, *, widest: float | None = None) -> Tensor:
    """Blur each image by its own Gaussian, mirrored at the edges (the edge pixel itself is not repeated).

    Args:
        images: N×C×H×W.
        sigma: Standard deviation in pixels, 0 or more; 0 leaves an image as it is.
        widest: Greatest standard deviation that can occur, which decides where kernels are cut off; None: the batch's.
    """
    sigmas = np.broadcast_to(np.asarray(sigma, np.float64), (len(images),))
    radius = max(1, math.ceil(3.5 * (float(sigmas.max()) if widest is None else widest)))
    steps = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (steps / np.maximum(sigmas, 1e-3)[:, None]) ** 2)
    taps = torch.from_numpy((kernels / kernels.sum(axis=1, keepdims=True)).astype(np.float32)).to(images.device)
    count, channels, height, width = images.shape
    taps = taps.repeat_interleave(channels, 0)
    wide = mirrored(images, radius, 0).reshape(1, count * channels, height, width + 2 * radius)
    blurred = functional.conv2d(wide, taps[:, None, None, :], groups=count * channels)
    tall = mirrored(blurred, 0, radius)
    return functional.conv2d(tall, taps[:, None, :, None], groups=count * channels).reshape(images.shape)


def convolve(images: Tensor, kernels: NDArray[np.float32]) -> Tensor:
    """Filter each image by its own kernel (N, K, K), K odd, in the frequency domain; mirrored at the edges."""
    size = kernels.shape[-1]
    reach = size // 2
    padded = mirrored(images, reach, reach)
    shape = tuple(padded.shape[-2:])
    # Correlation, as filters are usually written: the kernel is turned round for the convolution theorem.
    turned = torch.from_numpy(np.ascontiguousarray(kernels[:, None, ::-1, ::-1])).to(images.device)
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(turned, s=shape)
    filtered: Tensor = torch.fft.irfft2(product, s=shape)[..., 2 * reach :, 2 * reach :]
    return filtered


def mirrored(images: Tensor, across: int, down: int) -> Tensor:
    """Add so many mirrored columns on both sides, and rows above and below; the edge itself is not repeated."""
    height, width = images.shape[-2:]
    for axis, length, margin in ((-1, width, across), (-2, height, down)):
        if margin:
            # A triangle wave, so that a picture smaller than the margin is mirrored again and again.
            places = np.abs(np.arange(-margin, length + margin))
            period = max(1, 2 * (length - 1))
            places = places % period
            places = np.minimum(places, period - places)
            images = images.index_select(axis, torch.from_numpy(places).to(images.device))
    return images


# Resizing


def reduce(images: Tensor, sizes: Sizes, *, antialias: bool) -> Tensor:
    """Reduce (or enlarge) each image to its own size, pixel-centre exact, with a linear kernel.

    Args:
        images: N×C×H×W.
        sizes: Rows and columns of each result.
        antialias: Widen the kernel where an image gets smaller. Without it, reducing samples single pixels.

    Returns:
        A batch as large as the largest size; beyond an image's own size its last row and column are repeated.
    """
    full = np.broadcast_to(np.array(images.shape[-2:], np.intp), sizes.shape)
    rows, columns = (int(side) for side in sizes.max(axis=0))
    return _resample(images, full, sizes, (rows, columns), "linear", antialias)


def enlarge(images: Tensor, sizes: Sizes, height: int, width: int, *, kernel: Kernel = "linear") -> Tensor:
    """Bring images of their own sizes within a batch back to one size: the inverse of :func:`reduce`."""
    target = np.broadcast_to(np.array([height, width], np.intp), sizes.shape)
    return _resample(images, sizes, target, (height, width), kernel, antialias=True)


def repeat_edges(images: Tensor, sizes: Sizes, height: int, width: int, shift: NDArray[np.intp] | int = 0) -> Tensor:
    """Lay each image into a larger canvas, its edge pixels repeated beyond its own size.

    Args:
        images: N×C×H×W.
        sizes: Rows and columns of each image.
        height: Rows of the canvas.
        width: Columns of the canvas.
        shift: Rows and columns (N, 2) by which each image is moved down and right.
    """
    shifts = np.broadcast_to(np.asarray(shift, np.intp), sizes.shape)
    for axis, number, length in ((-1, 1, width), (-2, 0, height)):
        places = np.clip(np.arange(length) - shifts[:, number, None], 0, sizes[:, number, None] - 1)
        images = _gather(images, places, axis)
    return images


def _resample(
    images: Tensor, sizes: Sizes, targets: Sizes, canvas: tuple[int, int], kernel: Kernel, antialias: bool
) -> Tensor:
    for axis, number in ((-1, 1), (-2, 0)):
        places, weights = _taps(sizes[:, number], targets[:, number], canvas[number], kernel, antialias)
        spread = torch.from_numpy(weights).to(images.device)
        shape = (len(images), 1, 1, -1) if axis == -1 else (len(images), 1, -1, 1)
        total: Tensor | None = None
        for tap in range(places.shape[2]):
            part = _gather(images, places[:, :, tap], axis) * spread[:, :, tap].reshape(shape)
            total = part if total is None else total + part
        assert total is not None
        images = total
    return images


def _taps(
    sizes: NDArray[np.intp], targets: NDArray[np.intp], length: int, kernel: Kernel, antialias: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return which source pixels (N, length, K) make each target pixel, and their weights."""
    scale = (sizes / targets)[:, None, None]
    wide = np.maximum(scale, 1.0) if antialias else np.ones_like(scale)
    target = np.minimum(np.arange(length)[None, :, None], targets[:, None, None] - 1)
    centre = (target + 0.5) * scale - 0.5
    reach = math.ceil(_REACH[kernel] * float(wide.max()))
    places = np.floor(centre).astype(np.intp) + np.arange(1 - reach, reach + 1)
    weights = _kernel((places - centre) / wide, kernel)
    last = sizes[:, None, None] - 1
    if antialias:  # as Pillow: beyond the edge there is nothing; else, as OpenCV, the edge is repeated
        weights = np.where((places >= 0) & (places <= last), weights, 0)
    weights = weights / weights.sum(axis=2, keepdims=True)
    return np.clip(places, 0, last), weights.astype(np.float32)


def _kernel(distance: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    x = np.abs(distance)
    if kernel == "linear":
        return np.asarray(np.maximum(1 - x, 0), np.float64)
    # Keys' cubic with a = -0.5
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.asarray(np.where(x <= 1, inner, np.where(x < 2, outer, 0.0)), np.float64)


def _gather(images: Tensor, places: NDArray[np.intp], axis: int) -> Tensor:
    """Take each image's own columns (axis -1) or rows (-2): places (N, L)."""
    count, channels, height, width = images.shape
    index = torch.from_numpy(places.astype(np.int64)).to(images.device)
    if axis == -1:
        return images.gather(-1, index[:, None, None, :].expand(count, channels, height, -1))
    return images.gather(-2, index[:, None, :, None].expand(count, channels, -1, width))
