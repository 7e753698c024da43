"""Sample sheets: what a network makes of a few fixed faces, beside what it got and what it should give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restorer.errors import OutputError

Pixels = NDArray[np.uint8]
HEADING = 28
"""Height of the line of headings in pixels."""
GAP = 4
"""White pixels between pictures."""


def to_pixels(images: Tensor) -> Pixels:
    """Turn N×3×H×W in [−1, 1] (clipped) into N×H×W×3 bytes, rounded to nearest."""
    levels = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return np.asarray(levels.permute(0, 2, 3, 1).cpu().numpy(), np.uint8)


def draw_sheet(columns: dict[str, Pixels]) -> Pixels:
    """Set pictures into a table, a face each row.

    Args:
        columns: Heading to pictures N×H×W×3 RGB, all of one shape.

    Returns:
        The table, RGB, on white.
    """
    count, height, width = next(iter(columns.values())).shape[:3]
    table = np.full((HEADING + count * (height + GAP), len(columns) * (width + GAP) - GAP, 3), 255, np.uint8)
    for place, pictures in enumerate(columns.values()):
        for row, picture in enumerate(pictures):
            top, left = HEADING + row * (height + GAP), place * (width + GAP)
            table[top : top + height, left : left + width] = picture
    image = Image.fromarray(table)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    for place, heading in enumerate(columns):
        pen.text((place * (width + GAP) + width / 2, HEADING / 2), heading, "black", font, anchor="mm")
    return np.asarray(image)


def draw_faces(pixels: Pixels, rows: NDArray[np.float32]) -> Pixels:
    """Return a copy of an H×W×3 RGB image with the frames and points of faces.

    Args:
        pixels: RGB.
        rows: (N, 15) score, box, five points in pixels measured from the image's edge.
    """
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for row in rows - 0.5:
        pen.rectangle(row[1:5].tolist(), outline="lime", width=2)
        for x, y in row[5:].reshape(5, 2).tolist():
            pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill="red")
    return np.asarray(image)


def write_picture(path: Path, pixels: Pixels) -> None:
    """Write RGB pixels as PNG, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not done:
        raise ValueError(f"a picture of shape {pixels.shape} cannot be coded as PNG")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data.tobytes())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def evenly(count: int, wanted: int) -> Sequence[int]:
    """Return up to ``wanted`` places of ``count``, spread evenly from the first on."""
    wanted = min(count, wanted)
    return [place * count // wanted for place in range(wanted)]
