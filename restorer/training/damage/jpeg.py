"""JPEG and back, for batches on any device: what libjpeg loses at a quality, without its coding.

Source: ITU-T T.81 (tables K.1 and K.2, the transform), JFIF 1.02 (colours), and libjpeg's choices: its scale of
quality, chroma averaged over 2×2 pixels and enlarged again by a triangle ("fancy upsampling"), whole numbers between
the steps.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from restorer.training.damage.filters import Sizes, repeat_edges

LUMINANCE: NDArray[np.int64] = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""Steps of quantisation at quality 50 (T.81, table K.1)."""
CHROMINANCE: NDArray[np.int64] = np.full((8, 8), 99)
"""The same for chroma (table K.2)."""
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


def quantisation_tables(quality: ArrayLike) -> NDArray[np.int64]:
    """Return libjpeg's tables for qualities (N,) of 1 to 100: N×2×8×8, luma and chroma."""
    wanted = np.clip(np.rint(np.asarray(quality)), 1, 100).astype(np.int64).reshape(-1)
    scale = np.where(wanted < 50, 5000 // wanted, 200 - 2 * wanted)
    base = np.stack([LUMINANCE, CHROMINANCE])
    return np.asarray(np.clip((base * scale[:, None, None, None] + 50) // 100, 1, 255), np.int64)


def jpeg(images: Tensor, quality: ArrayLike, sizes: Sizes | None = None) -> Tensor:
    """Return images as they come back from JPEG with 4:2:0 chroma, in whole numbers.

    Args:
        images: RGB N×3×H×W in 0..255; clipped and rounded first.
        quality: 1 to 100 on libjpeg's scale.
        sizes: Rows and columns of each image where they differ; the rest is filled up with its edge, as libjpeg does.
    """
    count, _, height, width = images.shape
    if sizes is None:
        sizes = np.tile(np.array([[height, width]], np.intp), (count, 1))
    # Whole units of 16×16 pixels, the edge repeated.
    tall, wide = 16 * math.ceil(height / 16), 16 * math.ceil(width / 16)
    pixels = repeat_edges(images.clamp(0, 255).round(), sizes, tall, wide)
    matrix = torch.tensor(_TO_YCC, device=images.device)
    ycc = (matrix @ pixels.flatten(2)).view_as(pixels)
    # libjpeg rounds a half of chroma down; where red equals green it is one half of the time.
    luma, chroma = torch.floor(ycc[:, :1] + 0.5), torch.ceil(ycc[:, 1:] + (127.5 - 1e-4))
    steps = np.broadcast_to(quantisation_tables(quality), (count, 2, 8, 8)).astype(np.float32)
    tables = torch.from_numpy(steps).to(images.device)
    luma = _coded(luma, tables[:, :1])
    own = (sizes + 1) // 2
    # libjpeg fills up with the last column of pixels, but with the last row of halved chroma.
    chroma = repeat_edges(_halved(chroma), np.stack([own[:, 0], np.full(count, wide // 2)], 1), tall // 2, wide // 2)
    chroma = _coded(chroma, tables[:, 1:].expand(-1, 2, -1, -1))
    # Enlarging looks past the edge, where libjpeg repeats the last sample that belongs to the image.
    chroma = _enlarged(repeat_edges(chroma, own, tall // 2, wide // 2)) - 128
    blue, red = chroma[:, :1], chroma[:, 1:]
    parts = (1.402 * red, -0.344136286 * blue - 0.714136286 * red, 1.772 * blue)
    decoded = luma + torch.cat([part.round() for part in parts], dim=1)
    return decoded.clamp(0, 255)[..., :height, :width]


def _halved(chroma: Tensor) -> Tensor:
    """Average over 2×2 pixels; libjpeg rounds a half down and up in turn from column to column."""
    total = 4 * functional.avg_pool2d(chroma, 2)
    bias = torch.tensor([1.0, 2.0], device=chroma.device).repeat(total.shape[-1] // 2)
    return torch.floor((total.round() + bias) / 4)


def _enlarged(chroma: Tensor) -> Tensor:
    """Double both sides: a new sample is three parts of the nearest and one of the next, libjpeg's rounding."""
    padded = functional.pad(chroma, (0, 0, 1, 1), mode="replicate")
    middle = 3 * chroma
    rows = torch.stack([middle + padded[..., :-2, :], middle + padded[..., 2:, :]], dim=-2)
    tall = rows.flatten(-3, -2)
    padded = functional.pad(tall, (1, 1, 0, 0), mode="replicate")
    even = torch.floor((3 * tall + padded[..., :-2] + 8) / 16)
    odd = torch.floor((3 * tall + padded[..., 2:] + 7) / 16)
    return torch.stack([even, odd], dim=-1).flatten(-2)


def _coded(planes: Tensor, tables: Tensor) -> Tensor:
    """Transform blocks of 8×8, round to the tables' steps (N×C×8×8), and transform back into whole numbers."""
    count, channels, height, width = planes.shape
    basis = _dct_basis().to(planes.device)
    blocks = (planes - 128).view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = tables[:, :, None, None]
    # libjpeg's transform gives whole eighths, and quantising rounds halves away from zero.
    eighths = (8 * (basis @ blocks @ basis.T)).round()
    rounded = torch.sign(eighths) * torch.floor((eighths.abs() + 4 * steps) / (8 * steps))
    back = basis.T @ (rounded * steps) @ basis
    return (back.transpose(3, 4).reshape(planes.shape) + 128).round().clamp(0, 255)


def _dct_basis() -> Tensor:
    """Return the orthonormal 8×8 matrix whose rows are the cosines."""
    places = np.arange(8)
    basis = np.cos((2 * places + 1) * places[:, None] * np.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return torch.from_numpy(basis.astype(np.float32))
