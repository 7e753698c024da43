"""A photograph in memory, and which file format holds what.

Everything a program must know before it decodes a picture stands here: the formats, their suffixes, and the format a
result is written in. Formats carry Pillow's names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restorer.errors import OutputError
from restorer.photo.metadata import Metadata

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

MAX_MEGAPIXELS = 300
"""Photographs of more pixels are refused before they are decoded: a file of a few bytes can claim any size."""


@dataclass(frozen=True)
class Format:
    """What a file format can hold, as this package writes it."""

    suffixes: tuple[str, ...]
    """File suffixes, the usual one first."""
    depths: tuple[int, ...]
    """Bits per channel; empty: only read, never written."""
    alpha: bool
    """Whether transparency is kept."""
    max_side: int
    """Longest side in pixels that the format or its encoder allows."""
    metadata: bool = True
    """Whether EXIF and XMP are kept."""


FORMATS: dict[str, Format] = {
    # libjpeg's JPEG_MAX_DIMENSION
    "JPEG": Format((".jpg", ".jpeg", ".jpe", ".jfif"), (8,), alpha=False, max_side=65500),
    "PNG": Format((".png", ".apng"), (8, 16), alpha=True, max_side=1_000_000),
    # 14 bits for each side in a VP8 frame's header
    "WEBP": Format((".webp",), (8,), alpha=True, max_side=16383),
    "TIFF": Format((".tif", ".tiff"), (8, 16), alpha=True, max_side=1_000_000),
    # readers disagree about a fourth channel in BMP
    "BMP": Format((".bmp", ".dib"), (8,), alpha=False, max_side=1_000_000, metadata=False),
    "GIF": Format((".gif",), (), alpha=True, max_side=65535, metadata=False),
    "AVIF": Format((".avif", ".avifs"), (8,), alpha=True, max_side=32768),
    "HEIF": Format((".heic", ".heif", ".hif"), (8,), alpha=True, max_side=16384),
    "JPEG2000": Format((".jp2", ".j2k", ".jpx"), (8,), alpha=True, max_side=1_000_000),
    "PPM": Format((".ppm", ".pgm", ".pbm", ".pnm"), (8, 16), alpha=False, max_side=1_000_000, metadata=False),
}

SUFFIXES: dict[str, str] = {suffix: name for name, kind in FORMATS.items() for suffix in kind.suffixes}
"""Lower-case suffix (with its dot) to format, for everything readable."""

FORMAT_CHOICES: dict[str, str] = {
    "jpeg": "JPEG",
    "jpg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "tiff": "TIFF",
    "tif": "TIFF",
    "avif": "AVIF",
    "heif": "HEIF",
    "heic": "HEIF",
    "jp2": "JPEG2000",
    "bmp": "BMP",
    "ppm": "PPM",
}
"""What a user may name to choose an output format."""


@dataclass(frozen=True)
class Header:
    """What a file says about its picture before any pixel is decoded."""

    format: str
    """Pillow's name of the format, found by content."""
    size: tuple[int, int]
    """Width and height in pixels, upright (EXIF orientation applied)."""
    depth: int
    """Bits per channel: 8 or 16."""
    alpha: bool
    """Whether the picture has transparency."""
    grey: bool
    """Whether the picture has one channel (besides alpha)."""
    indexed: bool
    """Whether the picture has a palette or one bit per pixel, and so cannot hold a restored one."""
    frames: int = 1
    """Number of pictures in the file: pages, frames of an animation, second views."""


@dataclass(frozen=True)
class Photo:
    """A photograph in memory, upright, with everything its file said besides the pixels.

    Arrays of another shape or type than said below raise :class:`ValueError`.
    """

    pixels: Pixels
    """Height×width×3 RGB, uint8 or uint16, EXIF orientation applied, in the photograph's own colour profile."""
    alpha: Pixels | None = None
    """Height×width transparency of the same dtype, or None."""
    grey: bool = False
    """The file had one channel (``pixels`` then are three equal ones); written as one channel if still equal."""
    format: str = "PNG"
    """Pillow's name of the format the photograph was read from."""
    metadata: Metadata = Metadata()
    """ICC profile, EXIF, XMP, IPTC, resolution."""
    quality: int | None = None
    """JPEG quality estimated from its quantisation tables, 1 to 100; None for other formats."""
    subsampling: str | None = None
    """Chroma subsampling of JPEG, HEIF and AVIF: 4:4:4, 4:2:2 or 4:2:0; None for other formats and other samplings."""
    indexed: bool = False
    """The file had a palette or one bit per pixel."""
    lossless: bool = False
    """The file was a lossless WebP."""
    warnings: tuple[str, ...] = ()
    """Sentences about what could not be read or kept as it was."""

    def __post_init__(self) -> None:
        """Check what every step relies on."""
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ValueError(f"A photograph's pixels are height×width×3, uint8 or uint16, not {shape} {dtype}.")
        if self.alpha is not None and (self.alpha.shape, self.alpha.dtype) != (shape[:2], dtype):
            found = f"{self.alpha.shape} {self.alpha.dtype}"
            raise ValueError(f"A photograph's transparency is height×width of the pixels' own type, not {found}.")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def with_warnings(self, *warnings: str) -> Photo:
        """Return the photograph with more warnings; those it has already are not repeated."""
        return replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *warnings))))


def to_8_bits(values: Pixels) -> NDArray[np.uint8]:
    """Return 16-bit values as 8-bit ones, divided by 257 to the nearest; 8-bit values unchanged."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    return np.rint(np.arange(65536, dtype=np.float32) / 257).astype(np.uint8)[values]


def result_format(source: Header | Photo | str, choice: str | None = None) -> tuple[str, str]:
    """Choose the format a result is written in.

    Args:
        source: Header or photograph of the input, or only its format's name.
        choice: A format asked for by name (``jpeg``, ``png`` ... or Pillow's name); None or ``auto``: the input's own,
            or PNG where that cannot hold the result.

    Returns:
        Pillow's name of the format and its usual suffix.

    Raises:
        OutputError: ``choice`` is unknown or cannot be written.
    """
    if choice is not None and choice.lower() != "auto":
        name = FORMAT_CHOICES.get(choice.lower(), choice.upper())
        if name not in FORMATS or not FORMATS[name].depths:
            raise OutputError(f"No picture can be written as {choice}: choose one of {', '.join(FORMAT_CHOICES)}.")
        return name, FORMATS[name].suffixes[0]
    name = source if isinstance(source, str) else source.format
    return ("PNG", ".png") if png_reason(source) else (name, FORMATS[name].suffixes[0])


def png_reason(source: Header | Photo | str) -> str | None:
    """Return a sentence why a result leaves its input's format for PNG, or None where it keeps the format."""
    name = source if isinstance(source, str) else source.format
    if not FORMATS[name].depths:
        return f"{name} cannot hold a restored photograph: it is written as PNG."
    if isinstance(source, str) or name == "PNG":
        return None
    if source.indexed:
        return f"A {name} file of few colours cannot hold a restored photograph: it is written as PNG."
    if source.alpha is not None and source.alpha is not False and not FORMATS[name].alpha:
        return f"{name} does not keep transparency: the restored photograph is written as PNG."
    return None


def result_name(name: Path, source: Header | Photo | str, choice: str | None = None) -> Path:
    """Return the file name a result gets: the input's own, its suffix changed only where it would name another format.

    Args:
        name: The input's name or relative path.
        source: Header or photograph of the input, or only its format's name.
        choice: See :func:`result_format`.

    Raises:
        OutputError: ``choice`` is unknown or cannot be written.
    """
    format_name, suffix = result_format(source, choice)
    if SUFFIXES.get(name.suffix.lower()) == format_name:
        return name
    # An unknown suffix may be part of the name ("aunt.mary"): it stays.
    return name.with_suffix(suffix) if name.suffix.lower() in SUFFIXES else name.with_name(name.name + suffix)


def format_of(path: Path) -> str:
    """Return the format that a file name's suffix asks for.

    Raises:
        OutputError: The suffix is unknown, or names a format that is only read.
    """
    name = SUFFIXES.get(path.suffix.lower())
    if name is None or not FORMATS[name].depths:
        known = ", ".join(kind.suffixes[0] for kind in FORMATS.values() if kind.depths)
        raise OutputError(f"Cannot tell how to write {path}: give it one of the suffixes {known}.")
    return name
