"""What the camera, the film and the printing press do: soft lenses, grain, dot screens."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from restorer.training.damage.draws import Draws
from restorer.training.damage.filters import each, gaussian_blur

_SCREEN_LEVELS = 1024
_ANGLES = (0.0, math.radians(30), math.radians(-30))
"""Turn of red's, green's and blue's screens in a print in colour, against moiré."""


def soft_lens(images: Tensor, centre: ArrayLike, edge: ArrayLike, *, widest: float) -> Tensor:
    """Blur as an old lens does, more towards the edges.

    Args:
        images: N×C×H×W.
        centre: Standard deviation in pixels in the middle.
        edge: The same halfway along each side's edge.
        widest: Greatest standard deviation that can occur.
    """
    middle, outer = (gaussian_blur(images, sigma, widest=widest) for sigma in (centre, edge))
    share = from_middle(images).clamp(max=1) ** 2
    return middle + (outer - middle) * share


def from_middle(images: Tensor) -> Tensor:
    """Return each pixel's distance from the middle, H×W; 1 halfway along the edges."""
    height, width = images.shape[-2:]
    y, x = grid(images)
    return torch.hypot((2 * x - width + 1) / width, (2 * y - height + 1) / height)


def grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels' rows (H×1) and columns (1×W)."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device, dtype=torch.float32)[:, None]
    return rows, torch.arange(width, device=images.device, dtype=torch.float32)[None]


def grain(images: Tensor, draws: Draws, size: ArrayLike, amount: ArrayLike, *, largest: float) -> Tensor:
    """Add film grain: noise as coarse as the grains, strongest in the middle tones, the same in all channels.

    Args:
        images: N×C×H×W in 0..255.
        draws: Source of the grain.
        size: Standard deviation in pixels of the Gaussian that makes a grain.
        amount: Standard deviation in levels of 255 at middle grey.
        largest: Greatest size that can occur.
    """
    height, width = images.shape[-2:]
    sizes = np.broadcast_to(np.asarray(size, np.float64), (len(images),))
    noise = gaussian_blur(draws.normal(1, height, width), sizes, widest=largest)
    level = images.mean(dim=1, keepdim=True).clamp(0, 255) / 255
    # The deviation of a film's density; from deep shadow to white it falls to a third.
    response = (1 / 9 + 8 / 9 * 4 * level * (1 - level)).sqrt()
    return images + noise * response * each(np.asarray(amount) / _blurred_deviation(sizes), images)


def _blurred_deviation(sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of blurred unit noise, by the sampled kernel."""
    steps = np.arange(-64, 65)
    kernels = np.exp(-0.5 * (steps / np.maximum(sigmas, 1e-3)[:, None]) ** 2)
    kernels /= kernels.sum(axis=1, keepdims=True)
    return np.asarray((kernels**2).sum(axis=1), np.float64)  # of one axis squared: the product over both, unsquared


def halftone(
    images: Tensor,
    period: ArrayLike,
    angle: ArrayLike,
    hardness: ArrayLike,
    *,
    colour: NDArray[np.bool_] | bool = False,
) -> Tensor:
    """Print through a screen of round dots, whose mean keeps the tone.

    Args:
        images: N×3×H×W in 0..255.
        period: Distance of neighbouring dots in pixels.
        angle: Direction of the dots' rows in radians.
        hardness: Steepness of a dot's edge; at 4 a grey pattern, at 30 pure ink and paper.
        colour: Whether red, green and blue have screens at angles of their own.
    """
    turned = each(np.asarray(colour, np.float32), images) * torch.tensor(_ANGLES, device=images.device)[:, None, None]
    direction = each(angle, images) + turned
    y, x = grid(images)
    frequency = 2 * math.pi / each(period, images)
    u = frequency * (x * direction.cos() + y * direction.sin())
    v = frequency * (y * direction.cos() - x * direction.sin())
    screen = (u.cos() + v.cos()) / 4 + 0.5
    edges = np.broadcast_to(np.asarray(hardness, np.float64), (len(images),))
    tables = torch.from_numpy(np.stack([_thresholds(edge) for edge in edges])).to(images.device)
    place = (images.clamp(0, 255) * ((_SCREEN_LEVELS - 1) / 255)).round().long()
    thresholds = tables.gather(1, place.flatten(1)).view(images.shape)
    return 255 * torch.sigmoid(each(hardness, images) * (thresholds - screen))


def _thresholds(hardness: float) -> NDArray[np.float32]:
    """Return for every level 0..1 the threshold at which the screen's mean is that level."""
    phase = (np.arange(24) + 0.5) * (2 * np.pi / 24)
    screen = ((np.cos(phase)[:, None] + np.cos(phase)) / 4 + 0.5).ravel()
    tried = np.linspace(-1.0, 2.0, 385)
    means = (1 / (1 + np.exp(-hardness * (tried[:, None] - screen)))).mean(axis=1)
    return np.interp(np.linspace(0, 1, _SCREEN_LEVELS), means, tried).astype(np.float32)
