"""The doors to Pillow and OpenCV: which format a file has, opening it, and keeping both libraries quiet."""

from __future__ import annotations

import mmap
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

import cv2
from PIL import Image, ImageFile, UnidentifiedImageError

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}


class HeifMissingError(Exception):
    """Thrown where a HEIF file meets an installation without the ``heif`` extra."""


def sniff(prefix: bytes) -> str | None:
    """Return Pillow's name of the format a file has, from its first bytes (32 suffice); None if unknown."""
    for magic, name in _MAGIC:
        if prefix.startswith(magic):
            return name
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP":
        return "WEBP"
    if prefix[4:8] == b"ftyp":
        # Brands: the major one, then (after a version) the compatible ones. "mif1" alone may be either.
        brands = {prefix[i : i + 4] for i in (8, 16, 20, 24, 28)}
        return "AVIF" if brands & _AVIF_BRANDS else "HEIF" if brands & _HEIF_BRANDS else None
    if prefix[:1] == b"P" and prefix[1:2] in b"123456" and prefix[2:3].isspace():
        return "PPM"
    return None


def open_image(stream: IO[bytes] | mmap.mmap, name: str) -> ImageFile.ImageFile:
    """Open a picture without decoding its pixels. To be called inside :func:`quiet`.

    ``Image.open`` is not used: its limit on pixels is a setting of the whole process, and warns.

    Args:
        stream: The file, or its mapping, which Pillow can read like one.
        name: Its format, from :func:`sniff`.

    Raises:
        HeifMissingError: The format needs the ``heif`` extra.
        Exception: Whatever Pillow raises on a damaged file.
    """
    if name == "HEIF":
        register_heif()
    Image.init()
    factory, accept = Image.OPEN[name]
    if accept is not None and isinstance(reason := accept(stream.read(32)), str):
        raise UnidentifiedImageError(reason)
    stream.seek(0)
    return factory(cast("IO[bytes]", stream), "")


def register_heif() -> None:
    """Teach Pillow to read and write HEIF; only when a HEIF file turns up, for it loads a large library.

    Raises:
        HeifMissingError: The ``heif`` extra is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise HeifMissingError('HEIC and HEIF files need an extra: pip install "restorer[heif]"') from error
    with _lock:
        if "HEIF" not in Image.OPEN:
            pillow_heif.register_heif_opener()


_SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""
# OpenCV 5 moved the function there; in OpenCV 4 it stands at the top.
_set_log_level: Callable[[int], int] = getattr(cv2.utils, "logging", cv2).setLogLevel

_lock = threading.Lock()
_inside = 0
_outer: warnings.catch_warnings[None] | None = None
_log_level = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow's warnings and OpenCV's log off the terminal, however many threads are inside.

    Python's warning filters belong to the process: the first thread to enter changes them, the last to leave puts
    them back.
    """
    if getattr(sys.flags, "context_aware_warnings", 0):  # Python 3.14: each thread has its own
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _outer, _log_level
    with _lock:
        _inside += 1
        if _inside == 1:
            _outer = warnings.catch_warnings()
            _outer.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _log_level = _set_log_level(_SILENT)


def _leave() -> None:
    global _inside, _outer
    with _lock:
        _inside -= 1
        if _inside == 0 and _outer is not None:
            _outer.__exit__(None, None, None)
            _outer = None
            _set_log_level(_log_level)
