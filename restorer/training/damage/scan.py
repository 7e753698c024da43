"""What a scanner and those who passed the file on do: few pixels, noise, streaks, sharpening, JPEG twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from restorer.training.damage.draws import Draws
from restorer.training.damage.filters import Sizes, each, gaussian_blur, repeat_edges
from restorer.training.damage.jpeg import jpeg


def sharpen(images: Tensor, sigma: ArrayLike, amount: ArrayLike, *, widest: float) -> Tensor:
    """Sharpen with halos (unsharp mask), clipped.

    Args:
        images: N×C×H×W in 0..255.
        sigma: Standard deviation of the mask in pixels: how wide the halos are.
        amount: How much of the difference from the mask is added.
        widest: Greatest standard deviation that can occur.
    """
    soft = gaussian_blur(images, sigma, widest=widest)
    return (images + (images - soft) * each(amount, images)).clamp(0, 255)


def scanner_noise(images: Tensor, draws: Draws, sizes: Sizes, grey: ArrayLike, colour: ArrayLike) -> Tensor:
    """Add a sensor's noise: so many levels of brightness, and so many in each channel by itself."""
    height, width = images.shape[-2:]
    shared = draws.normal_within(sizes, 1, height, width) * each(grey, images)
    return images + shared + draws.normal_within(sizes, 3, height, width) * each(colour, images)


def streaks(images: Tensor, draws: Draws, sizes: Sizes, amount: ArrayLike) -> Tensor:
    """Let single places of the sensor see too little or too much, in a colour of their own, all down the picture."""
    columns = np.stack([np.ones(len(sizes), np.intp), sizes[:, 1]], axis=1)
    lines = draws.normal_within(columns, 3, 1, images.shape[-1])
    # Few are bad: what lies within two deviations is none.
    return images + each(amount, images) * lines.sign() * (lines.abs() - 2).clamp(min=0)


def jpeg_again(images: Tensor, quality: ArrayLike, sizes: Sizes, shift: NDArray[np.intp]) -> Tensor:
    """Code as JPEG once more after a crop, so that the blocks lie elsewhere.

    Args:
        images: N×3×H×W in 0..255.
        quality: 1 to 100.
        sizes: Rows and columns of each image.
        shift: Rows and columns (N, 2), 0 to 15, by which the blocks are moved.
    """
    height, width = images.shape[-2:]
    moved = repeat_edges(images, sizes, height + 16, width + 16, shift)
    coded = jpeg(moved, quality, sizes + shift)
    back = np.full_like(sizes, 0) - shift
    return repeat_edges(coded, sizes + shift, height, width, back)
