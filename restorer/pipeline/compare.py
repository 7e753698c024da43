"""Pictures for the eye: a photograph before and after side by side, a face and its restoration."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from restorer.photo.values import to_8_bits

MAX_SIDE = 4096
"""Longest side in pixels of each of the two pictures: enough to judge, and small enough to open anywhere."""

_PAPER, _INK, _FAINT = (255, 255, 255), (32, 32, 32), (96, 96, 96)
_SMALLEST_TEXT, _LARGEST_TEXT = 13, 72  # pixels
_TEXT_SHARE = 0.026  # of the mean of a picture's two sides
_CAPTION_SHARE = 0.72  # of the labels' size

Bytes = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def compare(
    before: NDArray[Any],
    after: NDArray[Any],
    *,
    labels: tuple[str, str] = ("before", "after"),
    caption: str | None = None,
    max_side: int = MAX_SIDE,
) -> Bytes:
    """Draw the whole photograph before and after side by side, labelled above, at one size.

    Args:
        before: Height×width×3 RGB, uint8 or uint16; brought to the size of ``after``.
        after: Height×width×3 RGB, uint8 or uint16.
        labels: Text above each picture.
        caption: Text below both, broken into lines; None: no text.
        max_side: Longest side of each picture in pixels; larger ones are made smaller.

    Returns:
        RGB uint8, on white; pixels keep the photograph's colour profile.
    """
    height, width = after.shape[:2]
    shrink = min(1.0, max_side / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    pictures = [_sized(picture, size) for picture in (before, after)]
    font = _font(_text_size(size))
    return _page(pictures, labels, caption, font)


def face_pair(crop: NDArray[Any], restored: NDArray[Any]) -> Bytes:
    """Return a face's crop and its restoration side by side.

    Args:
        crop: Height×width×3 RGB, uint8, uint16, or float32 in 0..255; brought to the size of ``restored``.
        restored: The same, restored.

    Returns:
        RGB uint8 of twice the width.
    """
    height, width = restored.shape[:2]
    return np.hstack([_sized(crop, (width, height)), _sized(restored, (width, height))])


def _sized(picture: NDArray[Any], size: tuple[int, int]) -> Bytes:
    """Bring a picture to (width, height) and 8 bits: cubic where it grows, means where it shrinks."""
    height, width = picture.shape[:2]
    if (width, height) != size:
        method = cv2.INTER_CUBIC if size[0] > width else cv2.INTER_AREA
        picture = cv2.resize(picture, size, interpolation=method)
    if picture.dtype in (np.uint8, np.uint16):
        return to_8_bits(picture)
    return cast("Bytes", np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def _text_size(size: tuple[int, int]) -> int:
    return int(min(max(_SMALLEST_TEXT, _TEXT_SHARE * sum(size) / 2), _LARGEST_TEXT))


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _page(pictures: list[Bytes], labels: tuple[str, str], caption: str | None, font: Font) -> Bytes:
    """Lay out labels, pictures and caption on paper with an even margin."""
    text_size = _height(font)
    margin = max(6, round(text_size * 0.6))
    height, width = pictures[0].shape[:2]
    # A picture narrower than its label stands in the middle of a wider column.
    column = max(width, *(_width(label, font) for label in labels))
    small = _font(max(_SMALLEST_TEXT - 2, round(text_size * _CAPTION_SHARE)))
    lines = _lines(caption, small, 2 * column + margin) if caption else []
    line_height = round(_height(small) * 1.25)
    top = margin + text_size + round(margin * 0.7)
    foot = margin + (len(lines) * line_height + margin if lines else 0)
    paper = Image.new("RGB", (2 * column + 3 * margin, top + height + foot), _PAPER)
    draw = ImageDraw.Draw(paper)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left = margin + index * (column + margin)
        draw.text((left + column / 2, margin + text_size / 2), label, fill=_INK, font=font, anchor="mm")
        paper.paste(Image.fromarray(picture), (left + (column - width) // 2, top))
    for index, line in enumerate(lines):
        middle = top + height + margin + (index + 0.5) * line_height
        draw.text((paper.width / 2, middle), line, fill=_FAINT, font=small, anchor="mm")
    return np.asarray(paper)


def _height(font: Font) -> int:
    _, top, _, bottom = font.getbbox("Ag")
    return int(np.ceil(bottom - top))


def _width(text: str, font: Font) -> int:
    return int(np.ceil(font.getlength(text)))


def _lines(text: str, font: Font, width: int) -> list[str]:
    """Break a text between words into lines no wider than ``width`` pixels (a longer word stands alone)."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
