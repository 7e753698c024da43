"""From a file, its bytes or a stream to bytes that are a picture by their beginning."""

from __future__ import annotations

import mmap
import stat
from pathlib import Path
from typing import BinaryIO

from restorer.errors import PhotoError
from restorer.photo import codecs, exif

MAX_BYTES = 4 << 30
"""Larger files are refused: no photograph of allowed size needs more, and files are read into memory whole."""

_PREFIX = 32
_PART = 1 << 20


def load(source: Path | bytes | BinaryIO, shown: str, *, whole: bool) -> tuple[exif.Data, str]:
    """Return a file's bytes and its format; nothing but a picture is read beyond its first bytes.

    Args:
        source: The file, its bytes, or a binary stream (read to its end).
        shown: What messages call it.
        whole: Read a file into memory; false: map it, so that only those parts are read that are looked at.

    Raises:
        PhotoError: Missing, not permitted, no file, empty, too large, or no picture.
    """
    try:
        if isinstance(source, bytes):
            data: exif.Data = source
            kind = codecs.sniff(source[:_PREFIX])
        elif isinstance(source, Path):
            mode = source.stat().st_mode
            if source.stat().st_size > MAX_BYTES:
                raise PhotoError(_too_large(shown))
            if stat.S_ISDIR(mode):
                raise PhotoError(f"Cannot read {shown}: it is a folder, not a photograph.")
            if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
                raise PhotoError(f"Cannot read {shown}: it is a device, not a photograph.")
            with source.open("rb") as stream:
                if whole or not stat.S_ISREG(mode) or not source.stat().st_size:
                    data, kind = _read_stream(stream)
                else:
                    data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                    kind = codecs.sniff(data[:_PREFIX])
        else:
            data, kind = _read_stream(source)
    except FileNotFoundError as error:
        raise PhotoError(f"Cannot read {shown}: there is no such file.") from error
    except PermissionError as error:
        raise PhotoError(f"Cannot read {shown}: permission denied.") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL, a closed stream
        raise PhotoError(f"Cannot read {shown}: {getattr(error, 'strerror', None) or error}.") from error
    if not data:
        raise PhotoError(f"Cannot read {shown}: it is empty.")
    if len(data) > MAX_BYTES:
        raise PhotoError(_too_large(shown))
    if kind is None:
        raise PhotoError(f"Cannot read {shown}: it is not a photograph in a format known here.")
    return data, kind


def _too_large(shown: str) -> str:
    return f"Cannot read {shown}: it is larger than {MAX_BYTES >> 30} GiB."


def read_stream(stream: BinaryIO) -> bytes:
    """Read a stream to its end, or only its first bytes where they begin no picture in a format known here.

    No more is read than :func:`read_photo` takes, and a little, so that it can tell.
    """
    return _read_stream(stream)[0]


def _read_stream(stream: BinaryIO) -> tuple[bytes, str | None]:
    prefix = b""
    while len(prefix) < _PREFIX and (part := stream.read(_PREFIX - len(prefix))):
        prefix += part
    kind = codecs.sniff(prefix)
    parts, size = [prefix], len(prefix)
    while kind and size <= MAX_BYTES and (part := stream.read(_PART)):
        parts.append(part)
        size += len(part)
    return b"".join(parts), kind
