"""Tell an engraved or drawn face, which a face network must not turn into a photograph of somebody.

The rule, for faces of black-and-white and toned pictures that were hardly enlarged for their crop: edges as steep as a
sharp photograph's (see `sharpness`) under texture stronger than a photograph's skin has, which swings from dark to
light within a few pixels all over the face, and does not repeat as a printing screen does. Measured on 24 scans: 4 of 6
engravings are told (of the other two one counts as sharp, one is too small), none of 18 photographs and halftones; the
thresholds were set on the same scans, and strong film grain on a sharp scan was not measured.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_STEEP = 1.38
"""Least ratio of fine to coarse gradient."""
_TEXTURE = 5.0
"""Least standard deviation, in levels of 255, of what is finer than a pixel, in the calmer part of the face."""
_SWING = (7, 60.0, 0.45)
"""Windows of this side swing by this many levels in at least this part of the face."""
_REPEATING = 0.06
"""Greatest part of the fine detail's power in its spectrum's ``_PEAKS`` highest peaks; printing screens: 0.1 to 0.5."""
_PEAKS = 12
_FACE = np.s_[120:460, 100:412]


def is_drawn(brightness: Floats, steepness: float, texture: float) -> bool:
    """Return whether a face of a black-and-white or toned picture is engraved or drawn.

    Args:
        brightness: 512×512 float32 in 0..255, of a crop that was hardly enlarged.
        steepness: Ratio of fine to coarse gradient on the strongest edges.
        texture: Standard deviation of what is finer than a pixel, in the calmer part of the face.
    """
    if steepness < _STEEP or texture < _TEXTURE:
        return False
    face = brightness[_FACE]
    return _swinging(face) >= _SWING[2] and _repeating(face) <= _REPEATING


def _swinging(face: Floats) -> float:
    """Return the part of the face where dark and light lie within one window."""
    window = np.ones((_SWING[0], _SWING[0]), np.uint8)
    return float((cv2.dilate(face, window) - cv2.erode(face, window) > _SWING[1]).mean())


def _repeating(face: Floats) -> float:
    """Return the part of the fine detail's power that lies in a few peaks of its spectrum."""
    rows, columns = face.shape
    fine = (face - cv2.GaussianBlur(face, (0, 0), 2.0)) * np.outer(np.hanning(rows), np.hanning(columns))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None])
    power = np.sort((np.abs(np.fft.fft2(fine)) ** 2)[frequency > 0.1])
    return float(power[-_PEAKS:].sum() / max(float(power.sum()), 1e-6))
