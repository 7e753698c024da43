"""Files and streams to photographs: the only place that knows of broken inputs."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile

from restorer.errors import PhotoError
from restorer.photo import codecs, colour, containers, decode, exif
from restorer.photo import metadata as meta
from restorer.photo.metadata import Metadata
from restorer.photo.source import load
from restorer.photo.values import MAX_MEGAPIXELS, Header, Photo, Pixels

Source = str | Path | bytes | BinaryIO
"""A file's name, a file's bytes, or a binary stream."""

_ICC_SPACES = {b"RGB ": False, b"GRAY": True}


def peek(source: Source, *, name: str | None = None) -> Header:
    """Read a photograph's header, without decoding a pixel.

    Args:
        source: Name or bytes of a file, or binary stream (read to its end).
        name: What messages call the photograph; None: the path.

    Raises:
        PhotoError: Not a readable photograph, or one of too many pixels.
    """
    with _opened(source, name, whole=False) as opened:
        return opened.header


def read_photo(source: Source, *, name: str | None = None) -> Photo:
    """Read a photograph: pixels upright, metadata kept.

    Args:
        source: Name or bytes of a file, or binary stream (read to its end). The format is found by content.
        name: What messages call the photograph; None: the path.

    Raises:
        PhotoError: Missing, not permitted, a folder, empty, no picture, truncated or damaged, of too many pixels, or
            of a kind that cannot be restored.
    """
    with _opened(source, name, whole=True) as opened:
        header, image, data = opened.header, opened.image, bytes(opened.data)
        found, orientation, warnings = _read_metadata(image, data)
        decoded = decode.decode(image, data)
    if decoded.profile_used:
        found = replace(found, icc=None)
    return Photo(
        pixels=_upright(decoded.pixels, orientation),
        alpha=None if decoded.alpha is None else _upright(decoded.alpha, orientation),
        grey=decoded.grey,
        format=header.format,
        metadata=found,
        quality=decode.jpeg_quality(image),
        subsampling=decode.subsampling(image, data),
        indexed=header.indexed,
        lossless=header.format == "WEBP" and decode.webp_lossless(data),
        warnings=(*_frames_warning(header, image), *warnings, *decoded.warnings),
    )


# Opening


@dataclass(frozen=True)
class _Opened:
    """A file on its way to a photograph: header known, pixels not yet decoded."""

    header: Header
    image: ImageFile.ImageFile
    data: exif.Data
    shown: str
    """What messages call it."""


@contextmanager
def _opened(source: Source, name: str | None, *, whole: bool) -> Iterator[_Opened]:
    """Open a photograph and keep both libraries quiet; anything they raise inside becomes one sentence.

    Where the ``whole`` file is not wanted, a path is mapped, and only those parts are read that are looked at.
    """
    source = Path(source) if isinstance(source, str) else source
    shown = name or (str(source) if isinstance(source, Path) else "the photograph")
    data, kind = load(source, shown, whole=whole)
    try:
        with codecs.quiet():
            if kind == "TIFF":
                decode.check_tiff(data)
            image = codecs.open_image(_stream(data, kind), kind)
            header = _header(image, data, kind)
            _check(header, shown)
            yield _Opened(header, image, data, shown)
    except PhotoError:
        raise
    except (codecs.HeifMissingError, decode.DecodeError) as error:
        raise PhotoError(f"Cannot read {shown}: {error}.") from error
    except Image.DecompressionBombError as error:
        raise PhotoError(f"Cannot read {shown}: it has more than {MAX_MEGAPIXELS} megapixels.") from error
    except MemoryError as error:
        raise PhotoError(f"Cannot read {shown}: there is not enough memory for it.") from error
    except Exception as error:  # decoders raise nearly anything on a damaged file
        trouble = "damaged, cut off or of a rare kind" if kind == "TIFF" else "damaged or cut off"
        raise PhotoError(f"Cannot read {shown}: the {kind} file is {trouble}.") from error
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


def _stream(data: exif.Data, kind: str) -> io.BytesIO | mmap.mmap:
    if isinstance(data, mmap.mmap):
        return data
    # Pillow turns TIFFs by their orientation, and only TIFFs: here all formats are turned in one place.
    return io.BytesIO(exif.unturned(data) if kind == "TIFF" else data)


def _header(image: ImageFile.ImageFile, data: exif.Data, kind: str) -> Header:
    width, height = _stored_size(image, data)
    turned = meta.orientation(_exif(image, data))[0] >= 5
    return Header(
        format=kind,
        size=(height, width) if turned else (width, height),
        depth=decode.depth_of(image, data),
        alpha=bool(image.has_transparency_data),
        grey=decode.is_grey(image),
        indexed=decode.is_indexed(image),
        frames=int(getattr(image, "n_frames", 1)),
    )


def _stored_size(image: ImageFile.ImageFile, data: exif.Data) -> tuple[int, int]:
    if image.format != "TIFF":
        return image.size
    first = exif.read_directory(data)
    return first.integer(exif.WIDTH), first.integer(exif.HEIGHT)


def _check(header: Header, shown: str) -> None:
    width, height = header.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        size = f"{width}×{height} is more than {MAX_MEGAPIXELS} megapixels"
        raise PhotoError(f"Cannot read {shown}: {size}, the most that is restored at once.")
    if width < 1 or height < 1:
        raise PhotoError(f"Cannot read {shown}: it has no pixels.")


# Metadata


def _exif(image: Image.Image, data: exif.Data) -> exif.Data | None:
    """Return the EXIF block, without JPEG's prefix; of a TIFF the file itself."""
    if image.format == "TIFF":
        return data
    if image.format == "JPEG2000":
        return containers.jp2_metadata(data).exif
    raw = image.info.get("Raw profile type exif") or image.info.get("Raw profile type APP1")
    if "exif" not in image.info and isinstance(raw, str):
        return (containers.raw_profile(raw) or b"").removeprefix(b"Exif\0\0") or None
    block = image.info.get("exif")
    return block.removeprefix(b"Exif\0\0") or None if isinstance(block, bytes) else None


def _read_metadata(image: Image.Image, data: bytes) -> tuple[Metadata, int, tuple[str, ...]]:
    """Return metadata made to agree with upright pixels, the orientation to apply, and warnings."""
    block = cast("bytes | None", _exif(image, data))
    orientation, odd = meta.orientation(block)
    damaged: tuple[str, ...] = ()
    iptc: bytes | None = None
    if image.format == "TIFF":
        first = exif.read_directory(data)
        iptc = _unpadded(first.value(exif.IPTC))
        try:
            block = exif.from_tiff(data)
        except exif.ExifError as error:
            block, damaged = None, (f"The EXIF data are damaged ({error}) and are left out.",)
    elif image.format in ("JPEG", "MPO"):
        iptc = containers.jpeg_iptc(data)
    elif image.format == "PNG" and isinstance(raw := image.info.get("Raw profile type iptc"), str):
        resources = containers.raw_profile(raw)
        iptc = containers.photoshop_iptc(resources) if resources else None
    icc, profile_warnings = _icc(image, data)
    found = Metadata(
        icc=icc,
        exif=block,
        xmp=_xmp(image, data),
        iptc=iptc,
        dpi=_dpi(image) if image.format != "TIFF" or exif.X_RESOLUTION in exif.read_directory(data).entries else None,
        text=_text(image),
        png_colour=_png_colour(data) if image.format == "PNG" else b"",
    )
    found, left_out = meta.cleaned(found)
    return found, orientation, (*odd, *damaged, *left_out, *profile_warnings, *_extended_xmp(image, data))


def _icc(image: Image.Image, data: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    icc = containers.jp2_metadata(data).icc if image.format == "JPEG2000" else image.info.get("icc_profile")
    if not isinstance(icc, bytes) or not icc or image.mode in ("CMYK", "LAB"):
        return None, ()
    grey = _ICC_SPACES.get(icc[16:20])
    # A grey picture with an RGB profile is common and harmless; a colour picture cannot use a grey profile.
    if len(icc) < 132 or icc[36:40] != b"acsp" or grey is None or (grey and not decode.is_grey(image)):
        return None, ("The colour profile does not fit the picture and is left out: sRGB is assumed.",)
    problem = colour.problem(icc)
    return icc, (problem,) if problem else ()


def _xmp(image: Image.Image, data: bytes) -> bytes | None:
    if image.format == "JPEG2000":
        return containers.jp2_metadata(data).xmp
    packet = image.info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode()
    if isinstance(packet, tuple):  # a TIFF tag written as numbers
        packet = bytes(packet)
    return packet.rstrip(b"\0") or None if isinstance(packet, bytes) else None


def _extended_xmp(image: Image.Image, data: bytes) -> tuple[str, ...]:
    if image.format not in ("JPEG", "MPO"):
        return ()
    extended = any(body.startswith(containers.JPEG_EXTENDED_XMP) for _, body in containers.jpeg_segments(data))
    return ("The XMP data's extension, usually a depth map or a second picture, is left out.",) if extended else ()


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    try:
        across, down = (float(value) for value in cast("tuple[float, float]", dpi))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None  # also refuses NaN


def _text(image: Image.Image) -> tuple[tuple[str, str], ...]:
    if image.format == "PNG":
        texts = cast("dict[str, str]", getattr(image, "text", {}))
        skipped = (containers.XMP_KEYWORD, "Raw profile type")
        return tuple((key, str(text)) for key, text in texts.items() if not key.startswith(skipped))
    comment = image.info.get("comment")
    if isinstance(comment, bytes) and comment and image.format in ("JPEG", "MPO", "GIF"):
        return (("Comment", comment.decode("utf-8", "replace")),)
    return ()


def _png_colour(data: bytes) -> bytes:
    found = b""
    try:
        for kind, body in containers.png_chunks(data):
            if kind in (b"gAMA", b"cHRM", b"sRGB", b"cICP"):
                found += containers.png_chunk(kind, body)
            elif kind == b"IDAT":
                break
    except containers.ContainerError:
        return b""  # decoding tells
    return found


def _unpadded(records: bytes | None) -> bytes | None:
    """Remove the up to three zero bytes that fill a TIFF tag up to whole numbers."""
    if not records:
        return None
    return records[:-3] + records[-3:].rstrip(b"\0")


def _frames_warning(header: Header, image: Image.Image) -> tuple[str, ...]:
    if header.frames < 2:
        return ()
    if image.format == "MPO":
        return (f"The file holds {header.frames} pictures (a second view or a gain map): only the first is restored.",)
    word = "pages" if header.format == "TIFF" else "pictures"
    return (f"The file holds {header.frames} {word}: only the first is restored.",)


# Orientation


def _upright(values: Pixels, orientation: int) -> Pixels:
    """Turn height×width(×3) values by an EXIF orientation 1 to 8 so that row 0 is the top and column 0 the left."""
    turned = np.swapaxes(values, 0, 1) if orientation >= 5 else values  # rows of the file are columns of the scene
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return cast("Pixels", np.ascontiguousarray(turned))
