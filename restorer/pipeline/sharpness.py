"""Tell a face that is sharp already from one that wants restoring.

The rule: in the crop's 512 pixels, take the 1.5% of the face's pixels where the coarse gradient (Gaussian of 2 pixels)
is strongest. There, the fine gradient (0.8 pixels), projected on the coarse one's direction, adds up to at least
``SHARP`` times the coarse: the edges are as steep as 512 pixels can show. Projected, grain and noise cancel out. A face
that was enlarged for its crop is never called sharp, nor one under strong grain or a printing screen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIZE = 512
"""Side of the crops the rule is made for."""
SHARP = 1.35
"""Least ratio of fine to coarse gradient. `benchmarks/sharp_faces.py` counts its false decisions."""
MOST_ENLARGED = 1.25
"""Crop pixels for one pixel of the photograph, above which nothing there can be as sharp as the crop: not measured."""
_FINE, _COARSE = 0.8, 2.0
_STRONGEST = 0.985
_FACE = np.s_[160:432, 128:384]
"""Brows to chin."""
_MOST_NOISE = 4.0
"""Greatest standard deviation, in levels of 255, of what is finer than a pixel, in the calmer part of the face."""
_LUMA: Floats = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Sharpness:
    """How sharp a face is, and how rough."""

    brightness: Floats
    """The crop's, 512×512 in 0..255."""
    steepness: float
    """How much steeper the strongest edges are at fine than at coarse scale."""
    texture: float
    """Standard deviation of what is finer than a pixel, in the calmest fifth of the face, in levels."""

    @property
    def sharp(self) -> bool:
        """Whether the face is sharp already."""
        return self.texture <= _MOST_NOISE and self.steepness >= SHARP


def measure(crop: Floats) -> Sharpness:
    """Measure a face's crop, 512×512×3 RGB float32 in 0..255."""
    brightness: Floats = crop @ _LUMA
    return Sharpness(brightness, steepness(brightness), _noise(brightness))


def steepness(brightness: Floats) -> float:
    """Return how much steeper a face's strongest edges are at fine than at coarse scale: about 1 where it is blurred.

    Args:
        brightness: 512×512 float32.
    """
    fine_x, fine_y = _gradient(brightness, _FINE)
    coarse_x, coarse_y = _gradient(brightness, _COARSE)
    coarse = np.hypot(coarse_x, coarse_y)
    strongest = coarse >= np.quantile(coarse, _STRONGEST)
    along = (fine_x * coarse_x + fine_y * coarse_y)[strongest] / np.maximum(coarse[strongest], 1e-6)
    return float(along.sum() / max(float(coarse[strongest].sum()), 1e-6))


def _gradient(brightness: Floats, sigma: float) -> tuple[Floats, Floats]:
    smooth = cv2.GaussianBlur(brightness, (0, 0), sigma)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, x, 1 - x, scale=1 / 8)[_FACE] for x in (1, 0))
    return np.asarray(across), np.asarray(down)


def _noise(brightness: Floats) -> float:
    """Return the standard deviation of what is finer than a pixel, in the calmest fifth of the face."""
    fine = brightness - cv2.GaussianBlur(brightness, (0, 0), 1.0)
    return float(np.sqrt(np.quantile(cv2.blur(fine * fine, (9, 9))[_FACE], 0.2)))
