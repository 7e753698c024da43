"""Turn a face that looks at the viewer aside, about its upright axis, as if it had been photographed from the side.

The picture is laid over a rough head, an ellipsoid with a nose, placed by the five points, which is turned and looked
at again: what lies nearer hides what lies behind it, and of what was hidden before, a thin margin is filled in. Ears,
necks and the backs of heads come out wrong; what makes a face from the side, one eye before the edge and a nose across
the cheek, does not.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_FINE = 2
"""Samples of the picture a pixel, each way, so that the turned surface has no holes where it faces the viewer."""
_HEAD = (1.25, 1.9, 1.3)
"""Half axes of the head across, down and towards the viewer, in eye distances."""
_NOSE = (0.15, 0.38)
"""Spread across (a standard deviation) and height of the nose, in eye distances."""


def head_of(points: Floats, size: tuple[int, int]) -> Floats:
    """Return the squared elliptic radius about a head: below 1 inside.

    Args:
        points: (5, 2) x, y, eyes first, mouth last.
        size: Width and height of the picture in pixels.

    Returns:
        Height×width.
    """
    unit = float(np.linalg.norm(points[1] - points[0]))
    middle = points[:2].mean(axis=0) + 0.3 * (points[3:].mean(axis=0) - points[:2].mean(axis=0))
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    across, down = (x - middle[0]) / (_HEAD[0] * unit), (y - middle[1]) / (_HEAD[1] * unit)
    return np.asarray(across**2 + down**2, np.float32)


def depths(points: Floats, size: tuple[int, int]) -> Floats:
    """Return how far towards the viewer each pixel lies, in pixels: half an ellipsoid with a nose; see ``head_of``."""
    unit = float(np.linalg.norm(points[1] - points[0]))
    eyes = points[:2].mean(axis=0)
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    head = _HEAD[2] * unit * np.sqrt(np.clip(1 - head_of(points, size), 0, 1))
    along = np.clip((y - eyes[1]) / max(1.0, float(points[2, 1] - eyes[1])), 0, 1.25)
    ridge = np.where(along <= 1, along, np.clip(1 - (along - 1) / 0.25, 0, 1))
    nose = _NOSE[1] * unit * ridge * np.exp(-0.5 * ((x - points[2, 0]) / (_NOSE[0] * unit)) ** 2)
    return np.asarray(head + nose, np.float32)


def turned(
    pixels: Pixels, points: Floats, degrees: float, behind: Pixels | None = None
) -> tuple[Pixels, Floats, NDArray[np.bool_]]:
    """Turn a face aside.

    Args:
        pixels: RGB uint8 H×W×3, an upright face that looks at the viewer.
        points: Its five points, (5, 2) x, y in pixels.
        degrees: How far; the nose of a positive turn moves right in the picture.
        behind: RGB uint8 H×W×3, what is seen around the head; None: the picture itself, blurred.

    Returns:
        The picture, the five points where they lie on the turned head, and where the head is (H×W).
    """
    height, width = pixels.shape[:2]
    unit = float(np.linalg.norm(points[1] - points[0]))
    depth = np.asarray(cv2.GaussianBlur(depths(points, (width, height)), (0, 0), max(0.5, 0.03 * unit)), np.float32)
    size = (width * _FINE, height * _FINE)
    colours, far = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), cv2.resize(depth, size)
    on_head = (head_of(points, (width, height)) < 1).astype(np.uint8)
    inside = cv2.resize(on_head, size, interpolation=cv2.INTER_NEAREST) > 0
    axis, angle = float(points[:, 0].mean()), np.radians(degrees)
    y, x = np.mgrid[: size[1], : size[0]]
    across = (x + 0.5) / _FINE - 0.5 - axis
    sideways = across * np.cos(angle) + far * np.sin(angle) + axis
    towards = far * np.cos(angle) - across * np.sin(angle)
    order = np.argsort(towards[inside], kind="stable")  # what lies nearest is painted last
    rows, columns = (y[inside] // _FINE)[order], np.rint(sideways[inside]).astype(int)[order]
    kept = (columns >= 0) & (columns < width)
    picture, known = np.zeros_like(pixels), np.zeros((height, width), np.uint8)
    picture[rows[kept], columns[kept]] = colours[inside][order][kept]
    known[rows[kept], columns[kept]] = 1
    around = max(3, round(0.06 * unit)) | 1
    whole = cv2.morphologyEx(known, cv2.MORPH_CLOSE, np.ones((around, around), np.uint8))
    holes = ((known == 0) & (whole == 1)).astype(np.uint8)
    picture = np.asarray(cv2.inpaint(picture, holes, 3, cv2.INPAINT_TELEA), np.uint8)
    if behind is None:
        behind = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.17 * unit), np.uint8)
    soft = cv2.GaussianBlur(whole.astype(np.float32), (0, 0), max(0.5, 0.007 * unit))[..., None]
    mixed = np.rint(picture * soft + behind * (1 - soft)).astype(np.uint8)
    rounded = np.clip(points.astype(int), 0, (width - 1, height - 1))
    near = depth[rounded[:, 1], rounded[:, 0]]
    moved = points.astype(np.float32).copy()
    moved[:, 0] = (points[:, 0] - axis) * np.cos(angle) + near * np.sin(angle) + axis
    return mixed, moved, whole > 0
