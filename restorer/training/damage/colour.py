"""Colour jitter, and black-and-white.

Source: the released options: a shift of each channel by up to 20 levels, and jitter of brightness, contrast, saturation
and hue, each with probability 0.3; both change the input only, so that the network learns to put the colours right.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from restorer.training.damage.draws import Draws
from restorer.training.damage.filters import each
from restorer.training.degradations import Range

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class ColourSettings:
    """How the input's colours are changed; the defaults change nothing."""

    shift: float = 0.0
    """Probability of a shift of each channel."""
    shift_levels: float = 20.0
    """Greatest shift in levels of 0..255."""
    jitter: float = 0.0
    """Probability of jitter of brightness, contrast, saturation and hue."""
    brightness: Range = (0.5, 1.5)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.0, 1.5)
    hue: Range = (-0.1, 0.1)
    """In turns of the colour wheel."""

    @property
    def active(self) -> bool:
        """Whether anything can change."""
        return self.shift > 0 or self.jitter > 0


RELEASED_COLOUR = ColourSettings(shift=0.3, jitter=0.3)
"""The options released with the 2021 code."""


def jitter(images: Tensor, settings: ColourSettings, draws: Draws) -> Tensor:
    """Change the colours of some images by chance; N×3×H×W in 0..255, clipped."""
    for probability, change in ((settings.shift, _shift), (settings.jitter, _jitter)):
        rows = draws.chosen(probability)
        if len(rows):
            images = images.clone()
            images[rows] = change(images[rows], settings, draws.subset(rows))
    return images


def _shift(images: Tensor, settings: ColourSettings, draws: Draws) -> Tensor:
    levels = settings.shift_levels
    shifts = torch.cat([each(draws.uniform(-levels, levels), images) for _ in range(3)], dim=1)
    return (images + shifts).clamp(0, 255)


def _jitter(images: Tensor, settings: ColourSettings, draws: Draws) -> Tensor:
    images = brightness(images, draws.uniform(*settings.brightness))
    images = contrast(images, draws.uniform(*settings.contrast))
    images = saturation(images, draws.uniform(*settings.saturation))
    return hue(images, draws.uniform(*settings.hue))


def luma(images: Tensor) -> Tensor:
    """Return the brightness, N×1×H×W."""
    weights = torch.tensor(LUMA, device=images.device)[:, None, None]
    return (images * weights).sum(dim=1, keepdim=True)


def brightness(images: Tensor, factor: ArrayLike) -> Tensor:
    """Multiply all levels."""
    return (images * each(factor, images)).clamp(0, 255)


def contrast(images: Tensor, factor: ArrayLike) -> Tensor:
    """Move all levels away from the image's mean brightness, or towards it."""
    mean = luma(images).mean(dim=(-2, -1), keepdim=True)
    return (mean + (images - mean) * each(factor, images)).clamp(0, 255)


def saturation(images: Tensor, factor: ArrayLike) -> Tensor:
    """Move the channels away from the pixel's brightness, or towards it; 0 is black-and-white."""
    grey = luma(images)
    return (grey + (images - grey) * each(factor, images)).clamp(0, 255)


def hue(images: Tensor, turn: ArrayLike) -> Tensor:
    """Turn the hue, in turns of the colour wheel; greatest and least channel (value and chroma of HSV) are kept."""
    high, low = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    chroma = high - low
    red, green, blue = (images[:, c : c + 1] for c in range(3))
    span = chroma.clamp(min=1e-6)
    other = torch.where(high == green, 2 + (blue - red) / span, 4 + (red - green) / span)
    place = torch.where(high == red, (green - blue) / span, other) + 6 * each(turn, images)
    # Each channel is a trapezium over the wheel: at the top around its own hue, at the bottom around its complement.
    offsets = torch.tensor([0.0, 4.0, 2.0], device=images.device)[:, None, None]
    wave = ((place + offsets) % 6 - 3).abs() - 1
    return low + chroma * wave.clamp(0, 1)
