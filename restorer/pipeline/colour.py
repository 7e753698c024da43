"""Keep the colours of faces in colour photographs.

A face network paints skin as its training knew it: it warms pale faces, and lips may turn purple. Detail is the
network's to invent, colour is the photograph's: in every neighbourhood the restored face gets back the mean a* and b*
(CIELAB) that the photograph has there. What the network changes within a neighbourhood (the red of a lip's edge, an
iris) stays, and so does the brightness it painted.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.photo.colour import from_srgb, to_srgb
from restorer.tone import Tone

Floats = NDArray[np.float32]

NEIGHBOURHOOD = 16 / 512
"""Standard deviation of a neighbourhood, in sides of the crop. Measured on 40 degraded faces, where the photograph's
own colours are blurred and noisy: from here on the restored colours are as near to the truth as without this step (5.3
in a*, b*), smaller neighbourhoods bring the damage back (4/512: 5.6)."""

_BAND = 32
"""Rows converted at a time."""

# sRGB (IEC 61966-2-1) and CIELAB about D65.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)
_WHITE = _TO_XYZ.sum(axis=1)
_KNEE = np.float32(6 / 29)
_BLACK = np.float32(4 / 29)
_ROOT_TO_LAB = np.array([[0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]], np.float32)
"""From the roots of X, Y and Z; the last column is added."""
_LAB_TO_ROOT = np.array([[1 / 116, 1 / 500, 0, 16 / 116], [1 / 116, 0, 0, 16 / 116], [1 / 116, 0, -1 / 200, 16 / 116]])


def own_colours(restored: Floats, crop: Floats, icc: bytes | None, tone: Tone | None, *, keep: bool) -> Floats:
    """Bring a restored face back into the photograph's profile, and into its tone or colours.

    Args:
        restored: Size×size×3 sRGB float32 in 0..255, as the network gave it.
        crop: The same face as the photograph has it, in its own profile, 0..255.
        icc: The photograph's profile; None: sRGB.
        tone: The photograph's tone; None: it is in colour, or the model's colours are wanted.
        keep: Whether a photograph in colour keeps its colours.

    Returns:
        Size×size×3 float32 in 0..255, in the photograph's profile.
    """
    if tone is None and keep:
        seen = to_srgb(crop, icc)
        # The network saw the crop clipped to sRGB; what it left alone comes back as it was.
        restored = keep_colour(restored + (seen - np.clip(seen, 0, 255)), seen)
    pixels = np.clip(from_srgb(restored, icc, np.float32), 0, 255)
    return tone.apply(pixels) if tone else pixels


def keep_colour(restored: Floats, crop: Floats) -> Floats:
    """Give a restored face the local mean colours of the crop it was made of.

    Args:
        restored: Size×size×3 sRGB float32, 255 is white.
        crop: The same face as the photograph has it, not clipped: colours outside of sRGB are kept.

    Returns:
        Size×size×3 sRGB float32, not clipped.
    """
    painted = to_lab(restored)
    difference = _local_mean(to_lab(crop) - painted, NEIGHBOURHOOD * len(crop))
    difference[..., 0] = 0  # brightness is the network's
    painted += difference
    return from_lab(painted)


def _local_mean(values: Floats, deviation: float) -> Floats:
    """Return means of H×W×3 weighted by a Gaussian; a wide one is taken of a smaller picture, where it is quicker."""
    factor = max(1, int(deviation / 4))
    height, width = values.shape[:2]
    small = cv2.resize(values, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    # averaging factor pixels (variance factor² / 12) and interpolating between them (factor² / 6) blur, too
    left = (deviation**2 - (factor**2 / 4 if factor > 1 else 0)) ** 0.5 / factor
    blurred = cv2.GaussianBlur(small, (0, 0), left, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _in_bands(convert: Callable[[Floats], Floats], values: Floats) -> Floats:
    """Convert a picture a few rows at a time: what lies between the steps then stays in the processor's cache."""
    result = np.empty_like(values)
    for top in range(0, len(values), _BAND):
        result[top : top + _BAND] = convert(values[top : top + _BAND])
    return result


def to_lab(pixels: Floats) -> Floats:
    """Return L* (0..100), a* and b* of sRGB values H×W×3 float32, 255 is white; nothing is clipped."""
    return _in_bands(_to_lab, pixels)


def from_lab(lab: Floats) -> Floats:
    """Return sRGB values H×W×3 float32, 255 is white; the reverse of :func:`to_lab`."""
    return _in_bands(_from_lab, lab)


def _to_lab(pixels: Floats) -> Floats:
    share = np.abs(pixels) * np.float32(1 / 255)
    light = np.where(share <= 0.04045, share / np.float32(12.92), ((share + 0.055) / 1.055) ** np.float32(2.4))
    xyz = cv2.transform(np.copysign(light, pixels), _TO_XYZ / _WHITE[:, None])
    root = np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz / (3 * _KNEE**2) + _BLACK)
    return np.asarray(cv2.transform(root, _ROOT_TO_LAB), np.float32)


def _from_lab(lab: Floats) -> Floats:
    root = cv2.transform(lab, _LAB_TO_ROOT)
    xyz = np.where(root > _KNEE, root * root * root, 3 * _KNEE**2 * (root - _BLACK))
    light = cv2.transform(xyz, np.linalg.inv(_TO_XYZ / _WHITE[:, None]).astype(np.float32))
    size = np.abs(light)
    share = np.where(size <= 0.0031308, size * np.float32(12.92), 1.055 * size ** np.float32(1 / 2.4) - 0.055)
    return np.asarray(np.copysign(share, light) * np.float32(255), np.float32)
