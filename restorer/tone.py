"""Keep the tone of black-and-white, sepia and otherwise toned photographs.

Face networks were trained on colour and tint what they paint. In a toned photograph the colour of a pixel follows from
its brightness alone, by one curve a channel; that curve, read off the photograph itself, gives restored faces its tone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LUMA: NDArray[np.float32] = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""

_SIDE = 512
"""The photograph is judged at this longest side: noise in the chroma is averaged out, patches of colour are not."""
_RMS = 7.0
"""Greatest root mean square distance of colours from the curve, in levels of 255. Measured: stained and unevenly faded
scans of sepia prints reach 5, the least colourful of 60 colour portraits has 10."""
_OUTLIERS = 22.0
"""Greatest distance that all but one in a hundred pixels keep: a small patch of real colour makes a colour photograph.
Measured: at most 19 against at least 30."""
_SMOOTHING = 6.0
"""Standard deviation in levels of the average that smooths the curve."""


@dataclass(frozen=True)
class Tone:
    """The colour of every brightness."""

    curve: NDArray[np.float32]
    """Shape (256, 3): red, green and blue at brightness 0..255."""

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give a picture this tone: H×W×3 RGB float32 in 0..255, its brightness kept."""
        brightness = np.clip(pixels @ LUMA, 0, 255)
        levels = np.arange(256, dtype=np.float32)
        channels = [np.interp(brightness, levels, self.curve[:, c]) for c in range(3)]
        return np.stack(channels, axis=-1).astype(np.float32)


GREY = Tone(np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1))
"""The tone of a photograph without colour."""


def tone_of(pixels: NDArray[Any]) -> Tone | None:
    """Return the tone of a black-and-white or toned photograph, or None for one in colour.

    Args:
        pixels: H×W×3 RGB, uint8 or uint16.
    """
    if np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2]):
        return GREY
    small = _reduced(pixels)
    brightness = small @ LUMA
    curve = _fit(small, brightness)
    # from the colour on the curve at the nearest level, which its tint hardly differs from
    tint = (curve - np.arange(256, dtype=np.float32)[:, None])[_levels(brightness)]
    distance = np.linalg.norm(small - brightness[..., None] - tint, axis=-1)
    if float(np.sqrt(np.mean(distance**2))) > _RMS or float(np.quantile(distance, 0.99)) > _OUTLIERS:
        return None
    return Tone(curve)


def _reduced(pixels: NDArray[Any]) -> NDArray[np.float32]:
    height, width = pixels.shape[:2]
    shrink = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = pixels if shrink == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    values: NDArray[np.float32] = small.astype(np.float32)
    return values / np.float32(257) if pixels.dtype == np.uint16 else values


def _levels(brightness: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.rint(brightness).astype(np.intp).clip(0, 255)


def _fit(small: NDArray[np.float32], brightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean colour at every brightness, smoothed; where no pixel is, as between its neighbours."""
    levels = _levels(brightness).ravel()
    counts = np.bincount(levels, minlength=256).astype(np.float64)
    # The colour's difference from its brightness is averaged, not the colour: its slope is small, so that smoothing
    # does not bend the curve's ends.
    tint = small.reshape(-1, 3) - brightness.reshape(-1, 1)
    sums = np.stack([np.bincount(levels, tint[:, c], minlength=256) for c in range(3)], axis=1)
    axis = np.arange(256)
    kernel = np.exp(-0.5 * ((axis[:, None] - axis[None, :]) / _SMOOTHING) ** 2)
    weights = kernel @ counts
    # Far from any pixel the kernel's weights vanish: there the nearest known tint is carried on.
    known = weights > 1e-6 * weights.max()
    means = (kernel @ sums)[known] / weights[known, None]
    filled = np.stack([np.interp(axis, axis[known], means[:, c]) for c in range(3)], axis=1)
    curve: NDArray[np.float32] = (axis[:, None] + filled).astype(np.float32)
    return curve
