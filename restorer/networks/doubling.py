"""A 3×3 convolution of a feature map doubled bilinearly, for a quarter of the multiplications.

Doubling bilinearly is putting zeros between the pixels and smoothing with 1/4, 3/4, 3/4, 1/4 along both axes. Smoothing
treats every channel alike, so that it may as well come after the convolution, which then meets three zeros in four
pixels: a transposed convolution with stride 2 leaves them out. (StyleGAN2's own networks double in this order.)
Doubling takes the pixels at the edge as going on beyond it and the convolution takes zeros there: the outermost pixels
of the result are worked out the plain way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

LEAST_SIDE = 32
"""Smaller maps are doubled the plain way: the edges would cost more than is saved."""


def resize(features: Tensor, factor: float) -> Tensor:
    """Scale bilinearly with half-pixel centres."""
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)


def doubled_convolution(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``conv2d(resize(features, 2), weight, bias, padding=1)``.

    The quick way is taken on the processor, where multiplications are what costs, and not for training.

    Args:
        features: N×in×H×W.
        weight: out×in×3×3.
        bias: (out,).
    """
    if features.device.type != "cpu" or torch.is_grad_enabled() or min(features.shape[2:]) < LEAST_SIDE:
        return F.conv2d(resize(features, 2), weight, bias, padding=1)
    top, bottom = torch.split(_edges(features, weight, axis=2), 1, dim=2)
    left, right = torch.split(_edges(features, weight, axis=3), 1, dim=3)
    middle = torch.cat([left, _inside(features, weight), right], dim=3)
    doubled = torch.cat([top, middle, bottom], dim=2)
    return doubled if bias is None else doubled + bias[:, None, None]


def _inside(features: Tensor, weight: Tensor) -> Tensor:
    """Return the result without its outermost pixels."""
    # cropped by 2: what remains are the pixels that smoothing needs for all but the outermost
    sparse = F.conv_transpose2d(
        F.pad(features, (1, 1, 1, 1), mode="replicate"), weight.flip(2, 3).transpose(0, 1), stride=2, padding=2
    )
    smoothing = torch.tensor([0.25, 0.75, 0.75, 0.25], dtype=features.dtype)
    kernel = torch.outer(smoothing, smoothing).expand(len(weight), 1, 4, 4)
    return F.conv2d(sparse, kernel.contiguous(), groups=len(weight))


def _edges(features: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Return the result's first and last row (axis 2), or its first and last column without their ends (axis 3)."""
    if axis == 2:
        ends, padding, stride = (features[:, :, :2], features[:, :, -2:]), (1, 1), (3, 1)
    else:
        ends, padding, stride = (features[..., :2], features[..., -2:]), (0, 1), (1, 3)
    first, _, last = torch.split(resize(torch.cat(ends, dim=axis), 2), [2, 4, 2], dim=axis)
    # the two outermost of either end, as the doubled map has them: in steps of three the kernel meets a zero and the
    # first two, then the last two and a zero
    return F.conv2d(torch.cat([first, last], dim=axis), weight, padding=padding, stride=stride)
