"""Tell an engraved or drawn face, which a face network must not turn into a photograph of somebody.

The rule, for faces of black-and-white and toned pictures that were hardly enlarged for their crop: edges as steep as a
sharp photograph's (see `sharpness`), under texture stronger than a photograph's skin has, which swings from dark to
light within a few pixels all over the face, and runs in lines: film grain of any strength runs nowhere. It does not
repeat as a printing screen does; lines in one direction may repeat some more, for an engraver's do, too.

The thresholds were set on 320 pictures made of 16 faces as `benchmarks/drawn_faces.py` makes them; it counts the false
decisions on other faces, two of which (sharpened, under fine grain) raised the threshold for swings from 0.45. Dots set
by hand are not told.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.fft import fft2, fftfreq
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_STEEP = 1.38
"""Least ratio of fine to coarse gradient."""
_TEXTURE = 4.0
"""Least standard deviation, in levels of 255, of what is finer than a pixel, in the calmer part of the face: where a
face under texture ceases to count as sharp."""
_SWING = (7, 60.0, 0.55)
"""Windows of this side swing by this many levels in at least this part of the face."""
_RUNNING = 0.3
"""Least coherence of the gradient's direction over some pixels, the median in the face. Lines: 0.47 and more, scans of
engravings 0.32 and more; grain that swings enough to be taken for lines, and printing screens of dots: at most 0.24."""
_REPEATING = 0.06
"""Greatest part of the fine detail's power in its spectrum's ``_PEAKS`` highest peaks; printing screens: 0.1 to 0.6."""
_LINES = (0.5, 0.6)
"""From this coherence on, lines cross in hardly any place, and this part may repeat; screens of ruled lines: 0.8."""
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
    running = _running(face)
    if running < _RUNNING or _swinging(face) < _SWING[2]:
        return False
    return _repeating(face) <= (_LINES[1] if running >= _LINES[0] else _REPEATING)


def _swinging(face: Floats) -> float:
    """Return the part of the face where dark and light lie within one window."""
    window = np.ones((_SWING[0], _SWING[0]), np.uint8)
    return float((cv2.dilate(face, window) - cv2.erode(face, window) > _SWING[1]).mean())


def _running(face: Floats) -> float:
    """Return how much the gradient keeps to one direction over some pixels: 0 in none, 1 in a single one."""
    smooth = cv2.GaussianBlur(face, (0, 0), 0.8)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0))
    xx, xy, yy = (cv2.GaussianBlur(part, (0, 0), 5.0) for part in (across**2, across * down, down**2))
    return float(np.median(np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-3)))


def _repeating(face: Floats) -> float:
    """Return the part of the fine detail's power that lies in a few peaks of its spectrum."""
    rows, columns = face.shape
    fine = (face - cv2.GaussianBlur(face, (0, 0), 2.0)) * np.outer(np.hanning(rows), np.hanning(columns))
    frequency = np.hypot(fftfreq(rows)[:, None], fftfreq(columns)[None])
    power = np.sort((np.abs(fft2(fine)) ** 2)[frequency > 0.1])
    return float(power[-_PEAKS:].sum() / max(float(power.sum()), 1e-6))
