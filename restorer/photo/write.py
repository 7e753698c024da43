"""Photographs to files and streams: whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import cv2
import numpy as np
from PIL import Image

from restorer.errors import OutputError
from restorer.photo import codecs, containers, xmp
from restorer.photo import metadata as meta
from restorer.photo.decode import channels_equal
from restorer.photo.metadata import Metadata
from restorer.photo.values import FORMATS, Photo, Pixels, png_reason, result_format, to_8_bits

MIN_QUALITY = 92
"""Least quality of a result, on each lossy format's own scale, unless one is asked for."""

_TIFF_LZW, _TIFF_HORIZONTAL = 5, 2
# Effort of the encoders. A PNG costs most where the best of five filters is chosen for each row (zlib's level 4, say,
# with 4 % more bytes than level 6 in half of its time). Where neighbouring pixels are all that is alike, as in most
# photographs in colour, one filter and runs alone need a third of that, and where there are repetitions, another filter
# and level 3 half: whichever a sample shows to suffice. At 16 bits, where the low byte is noise, levels above 1 win
# nothing. AVIF: 9 of 10 needs a seventh of the default's time for 10 % more bytes; HEIF: a quarter for 17 %.
_PNG_RUNS = [
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
]
_PNG_REPETITIONS = [
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
    *(cv2.IMWRITE_PNG_COMPRESSION, 3),
]
_PNG_DEEP = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_TIFF_DEEP = [cv2.IMWRITE_TIFF_COMPRESSION, _TIFF_LZW, cv2.IMWRITE_TIFF_PREDICTOR, _TIFF_HORIZONTAL]
_PNG_CAREFUL: dict[str, Any] = {"compress_level": 4}
_PNG_LONGER = 1.15
"""The quicker ways are taken where they make the sample at most so many times longer."""
_AVIF_SPEED, _HEIF_PRESET = 9, "ultrafast"
_PNG_SAMPLE = (512, 128)
"""Width and height of the part, from the middle, by which the effort for a PNG is chosen."""
_GREY_PROFILE = b"GRAY"
_STEM_BYTES = 200
"""What a temporary name takes of the real one: with its additions it then fits the usual limit of 255 bytes."""


def write_photo(
    photo: Photo, target: str | Path | BinaryIO, *, format: str | None = None, quality: int | None = None
) -> str:
    """Write a photograph with its metadata; a file appears whole or not at all, replacing an older one.

    Args:
        photo: The photograph; what its format cannot hold is fitted as by :func:`fit_format`.
        target: Name of a file in an existing folder, or binary stream.
        format: Pillow's name of the format; None: the photograph's own, or PNG where that cannot hold it.
        quality: Quality of lossy formats, 1 to 100; None: at least 92, or the input's estimate if higher.

    Returns:
        Pillow's name of the format written.

    Raises:
        OutputError: Not permitted, disk full, folder missing, not an ordinary file, or the format cannot hold the
            photograph.
    """
    target = Path(target) if isinstance(target, str) else target
    shown = str(target) if isinstance(target, Path) else "standard output"
    name, _ = result_format(photo, format)
    photo = fit_format(photo, name)
    check_size(photo.size, name, shown)
    try:
        with codecs.quiet():
            data = _encode(photo, name, quality)
    except codecs.HeifMissingError as error:
        raise OutputError(f"Cannot write {shown}: {error}.") from error
    except MemoryError as error:
        raise OutputError(f"Cannot write {shown}: there is not enough memory to encode it.") from error
    except Exception as error:  # encoders raise nearly anything
        raise OutputError(f"Cannot write {shown}: {name} could not hold it ({error}).") from error
    write_bytes(data, target)
    return name


def check_size(size: tuple[int, int], format: str, shown: str) -> None:
    """Refuse a photograph with longer sides than its format allows.

    Args:
        size: Width and height in pixels.
        format: Pillow's name of the format.
        shown: What messages call the file.

    Raises:
        OutputError: It is too long or too wide.
    """
    most = FORMATS[format].max_side
    if max(size) > most:
        limit = f"{format} allows {most} pixels a side, not {size[0]}×{size[1]}"
        raise OutputError(f"Cannot write {shown}: {limit}; choose PNG or TIFF, or a smaller --upscale.")


def fit_format(photo: Photo, format: str) -> Photo:
    """Return the photograph as a format can hold it, with a warning for everything lost on the way.

    Args:
        photo: Any photograph.
        format: Pillow's name of the format it is to be written in.
    """
    kind = FORMATS[format]
    if format == "PNG" and (reason := png_reason(photo)):
        photo = photo.with_warnings(reason)
    if photo.alpha is not None and not kind.alpha:
        flat = _flattened(photo.pixels, photo.alpha)
        photo = replace(photo, pixels=flat, alpha=None)
        photo = photo.with_warnings(f"{format} holds no transparency: the photograph is put on white.")
    if photo.depth not in kind.depths:
        alpha = None if photo.alpha is None else to_8_bits(photo.alpha)
        photo = replace(photo, pixels=to_8_bits(photo.pixels), alpha=alpha)
        photo = photo.with_warnings(f"{format} holds 8 bits per channel: the photograph's 16 are reduced.")
    metadata, warnings = _fit_metadata(photo, format)
    return replace(photo, metadata=metadata).with_warnings(*warnings)


def _fit_metadata(photo: Photo, format: str) -> tuple[Metadata, tuple[str, ...]]:
    metadata, warnings = photo.metadata, []
    if not FORMATS[format].metadata:
        if metadata.exif or metadata.xmp or metadata.iptc or metadata.icc:
            warnings.append(f"{format} holds no EXIF, XMP, IPTC or colour profile: they are left out.")
        return Metadata(dpi=metadata.dpi), tuple(warnings)
    metadata = meta.with_size(metadata, photo.size)
    if metadata.icc and metadata.icc[16:20] == _GREY_PROFILE and not _is_grey(photo):
        metadata = replace(metadata, icc=None)
        warnings.append("The grey profile does not fit a photograph in colour and is left out.")
    if metadata.iptc and format not in ("JPEG", "TIFF", "PNG"):
        metadata = replace(metadata, iptc=None)
        warnings.append(f"{format} holds no IPTC records: they are left out.")
    if format == "JPEG":
        if metadata.exif and len(metadata.exif) > containers.JPEG_SEGMENT - 6:
            metadata = replace(metadata, exif=None)
            warnings.append("The EXIF data are too long for JPEG and are left out.")
        room = containers.JPEG_SEGMENT - len(containers.JPEG_XMP)
        if metadata.xmp and len(metadata.xmp) > room:
            warnings.append("The XMP data are too long for JPEG: the longest properties are left out.")
            try:
                metadata = replace(metadata, xmp=xmp.shortened(metadata.xmp, room))
            except xmp.XmpError:  # its frame alone is too long
                metadata = replace(metadata, xmp=None)
    return metadata, tuple(warnings)


def _flattened(pixels: Pixels, alpha: Pixels) -> Pixels:
    full = np.iinfo(pixels.dtype).max
    share = alpha.astype(np.float32)[..., None] / full
    return cast("Pixels", np.rint(pixels * share + full * (1 - share)).astype(pixels.dtype))


def _is_grey(photo: Photo) -> bool:
    return photo.grey and channels_equal(photo.pixels)


# Encoding


def _encode(photo: Photo, name: str, quality: int | None) -> bytes:
    if name == "PPM" and photo.depth == 16:
        return _encode_deep_pnm(photo)
    if photo.depth == 16 and name != "PNG":
        data = _encoded(_values(photo), ".tiff", _TIFF_DEEP)
    else:
        data = _encode_png(photo) if name == "PNG" else _encode_pillow(photo, name, quality)
    if name == "PNG":
        return containers.png_with_metadata(data, photo.metadata)
    if name == "JPEG":
        return containers.jpeg_with_metadata(data, photo.metadata)
    if name == "TIFF":
        return containers.tiff_with_metadata(data, photo.metadata, alpha=photo.alpha is not None)
    return containers.jp2_with_metadata(data, photo.metadata) if name == "JPEG2000" else data


def _encode_pillow(photo: Photo, name: str, quality: int | None) -> bytes:
    if name == "HEIF":
        codecs.register_heif()
    return _saved(_image(photo), name, _settings(photo, name, quality))


def _saved(image: Image.Image, name: str, settings: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **settings)
    return stream.getvalue()


def _encode_png(photo: Photo) -> bytes:
    if photo.depth == 16:
        return _encoded(_values(photo), ".png", _PNG_DEEP)
    effort = None if photo.alpha is not None and _is_grey(photo) else _png_effort(photo)  # OpenCV has no grey and alpha
    return _saved(_image(photo), "PNG", _PNG_CAREFUL) if effort is None else _encoded(_values(photo), ".png", effort)


def _png_effort(photo: Photo) -> list[int] | None:
    """Return the quickest of the quick ways that cost next to nothing in a sample; None: none of them."""
    (width, height), (most_wide, most_high) = photo.size, _PNG_SAMPLE
    x0, y0 = max(0, width - most_wide) // 2, max(0, height - most_high) // 2
    part = np.s_[y0 : y0 + most_high, x0 : x0 + most_wide]
    sample = replace(photo, pixels=photo.pixels[part], alpha=None if photo.alpha is None else photo.alpha[part])
    values = _values(sample)
    most = _PNG_LONGER * len(_saved(_image(sample), "PNG", _PNG_CAREFUL))
    return next((way for way in (_PNG_RUNS, _PNG_REPETITIONS) if len(_encoded(values, ".png", way)) <= most), None)


def _values(photo: Photo) -> Pixels:
    """Return a photograph's pixels as OpenCV writes them."""
    if photo.alpha is not None:
        return cast("Pixels", cv2.cvtColor(np.dstack([photo.pixels, photo.alpha]), cv2.COLOR_RGBA2BGRA))
    if _is_grey(photo):
        return cast("Pixels", np.ascontiguousarray(photo.pixels[..., 0]))
    return cast("Pixels", cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2BGR))


def _encoded(values: Pixels, suffix: str, settings: list[int]) -> bytes:
    ok, data = cv2.imencode(suffix, values, settings)
    if not ok:
        raise ValueError("the encoder refused it")
    return data.tobytes()


def _image(photo: Photo) -> Image.Image:
    values = [photo.pixels[..., 0] if _is_grey(photo) else photo.pixels]
    if photo.alpha is not None:
        values.append(photo.alpha)
    if len(values) == 1:
        return Image.fromarray(values[0])
    return Image.fromarray(np.dstack(values))


def _settings(photo: Photo, name: str, quality: int | None) -> dict[str, Any]:
    """Return the encoder's settings; metadata only for the containers that Pillow alone can fill."""
    metadata = photo.metadata
    chosen = quality or max(MIN_QUALITY, photo.quality or 0)
    dpi = {"dpi": metadata.dpi} if metadata.dpi else {}
    inside = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp}
    chroma = photo.subsampling or "4:4:4"  # no coarser than it came
    settings: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": chosen, "subsampling": chroma, **dpi},
        "TIFF": {"compression": "tiff_lzw", "tiffinfo": {317: _TIFF_HORIZONTAL}},
        "WEBP": {"quality": chosen, "lossless": photo.lossless and quality is None, **_given(inside)},
        "AVIF": {"quality": chosen, "subsampling": chroma, "speed": _AVIF_SPEED, **_given(inside)},
        "HEIF": {
            "quality": chosen,
            "chroma": int(chroma.replace(":", "")),
            "enc_params": {"preset": _HEIF_PRESET},
            **_given(inside),
        },
        "BMP": dpi,
        "JPEG2000": {"irreversible": False},
    }
    return settings.get(name, {})


def _given(values: dict[str, bytes | None]) -> dict[str, bytes]:
    return {key: value for key, value in values.items() if value}


def _encode_deep_pnm(photo: Photo) -> bytes:
    grey = _is_grey(photo)
    width, height = photo.size
    values = photo.pixels[..., 0] if grey else photo.pixels
    return f"P{5 if grey else 6}\n{width} {height}\n65535\n".encode() + values.astype(">u2").tobytes()


# Files


def write_bytes(data: bytes, target: Path | BinaryIO) -> None:
    """Write a file whole or not at all: a temporary name in the same folder, then a rename. Streams are written to.

    Raises:
        OutputError: Not permitted, disk full, folder missing, or ``target`` is not an ordinary file.
    """
    if not isinstance(target, Path):
        try:
            target.write(data)
            target.flush()
        except OSError as error:
            raise OutputError(f"Cannot write to standard output: {_reason(error)}.") from error
        return
    try:
        # Renaming onto a device or a pipe would put a file in its place.
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "not an ordinary file"
            raise OutputError(f"Cannot write {target}: it is {what}.")
        _replace(data, target)
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot write {target}: {_reason(error)}.") from error


def _replace(data: bytes, target: Path) -> None:
    stem = target.name
    while len(os.fsencode(stem)) > _STEM_BYTES:  # by characters, none of which may be cut in two
        stem = stem[:-1]
    temporary = target.with_name(f".{stem}.{secrets.token_hex(4)}.part")
    # Mode 0666 less the umask, as for any new file (tempfile's are private).
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)  # noqa: PTH105 - the name tests replace
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _reason(error: Exception) -> str:
    reasons = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.EROFS: "the file system is read-only",
        errno.ENOENT: "its folder does not exist",
        errno.ENOTDIR: "part of its path is not a folder",
        errno.ENAMETOOLONG: "the name is too long",
        errno.EPIPE: "the reader has gone away",
    }
    code = getattr(error, "errno", None)
    return reasons.get(code or 0) or getattr(error, "strerror", None) or str(error)
