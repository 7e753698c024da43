"""Draw the faces that were found into a photograph, numbered from 0 as reports list and ``--select`` names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from restorer.photo import Photo, fit_format
from restorer.report import FaceReport

_KEPT, _LEFT_ALONE, _INK = (20, 160, 60), (200, 60, 40), (255, 255, 255)
_TEXT = (12, 64)
"""Smallest and largest text in pixels."""


def overview(photo: Photo, faces: Sequence[FaceReport]) -> Photo:
    """Return the photograph as 8-bit RGB with boxes, points and numbers: green, or red for faces left alone."""
    flat = fit_format(photo, "JPEG")
    picture = Image.fromarray(flat.pixels)
    draw = ImageDraw.Draw(picture)
    text = int(np.clip(min(flat.size) / 40, *_TEXT))
    line = max(1, text // 8)
    font = ImageFont.load_default(text)
    for number, face in enumerate(faces):
        colour = _LEFT_ALONE if face.reason else _KEPT
        x0, y0, x1, y1 = face.box
        draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=line)
        for x, y in face.landmarks:
            draw.ellipse((x - line, y - line, x + line, y + line), fill=colour)
        label = str(number)
        width = draw.textlength(label, font=font)
        corner = x0, max(y0 - 1.25 * text, 0)
        draw.rectangle((*corner, corner[0] + width + text / 2, corner[1] + 1.25 * text), fill=colour)
        draw.text((corner[0] + text / 4, corner[1]), label, fill=_INK, font=font)
    return replace(flat, pixels=np.asarray(picture), grey=False)
