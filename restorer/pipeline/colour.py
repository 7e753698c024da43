"""Keep the colours of faces in colour photographs.

A face network paints skin as its training knew it: it warms pale faces, and lips may turn purple. Detail is the
network's to invent, colour is the photograph's: in every neighbourhood the restored face gets back the mean a* and b*
(CIELAB) that the photograph has there. What the network changes within a neighbourhood (the red of a lip's edge, an
iris) stays, and so does the brightness it painted.
"""

from __future__ import annotations

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

# sRGB (IEC 61966-2-1) and CIELAB about D65.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)
_WHITE = _TO_XYZ.sum(axis=1)
_KNEE = np.float32(6 / 29)
_BLACK = np.float32(4 / 29)


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
    difference = to_lab(crop)[..., 1:] - painted[..., 1:]
    painted[..., 1:] += cv2.GaussianBlur(difference, (0, 0), NEIGHBOURHOOD * len(crop), borderType=cv2.BORDER_REFLECT)
    return from_lab(painted)


def to_lab(pixels: Floats) -> Floats:
    """Return L* (0..100), a* and b* of sRGB values H×W×3 float32, 255 is white; nothing is clipped."""
    share = np.abs(pixels) / np.float32(255)
    light = np.where(share <= 0.04045, share / np.float32(12.92), ((share + 0.055) / 1.055) ** np.float32(2.4))
    xyz = cv2.transform(np.copysign(light, pixels), _TO_XYZ / _WHITE[:, None])
    root = np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz / (3 * _KNEE**2) + _BLACK)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def from_lab(lab: Floats) -> Floats:
    """Return sRGB values H×W×3 float32, 255 is white; the reverse of :func:`to_lab`."""
    y = (lab[..., 0] + 16) / 116
    root = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - _BLACK)).astype(np.float32)
    from_xyz = np.linalg.inv(_TO_XYZ / _WHITE[:, None]).astype(np.float32)
    light = cv2.transform(xyz, from_xyz)
    size = np.abs(light)
    share = np.where(size <= 0.0031308, size * np.float32(12.92), 1.055 * size ** np.float32(1 / 2.4) - 0.055)
    values: Floats = (np.copysign(share, light) * 255).astype(np.float32)
    return values
