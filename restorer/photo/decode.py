"""Pixels of an opened picture, whatever its mode and depth, as RGB of 8 or 16 bits."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from restorer.photo import containers, exif
from restorer.photo.values import Pixels

_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_INDEXED = ("1", "P", "PA")
_GREY = ("1", "L", "LA", "La", "I", "F")
_PNM = re.compile(rb"P([56])(?:\s+(?:#[^\n]*\n)?)+(\d+)(?:\s+(?:#[^\n]*\n)?)+(\d+)(?:\s+(?:#[^\n]*\n)?)+(\d+)\s")
# TIFF photometric interpretations
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2

_CANON_RAW = b"\x10\0\0\0CR\2\0"
_NO_WHITE = "its values are signed, 32-bit or floating-point, which have no fixed white: save it as 16-bit"

# The IJG's luminance table for quality 50 (ITU-T T.81, table K.1), row by row.
_LUMINANCE = np.array(
    [
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ],
    dtype=np.int64,
).ravel()


class DecodeError(ValueError):
    """Thrown where a picture cannot be turned into RGB; the message completes "cannot be read: ..."."""


@dataclass(frozen=True)
class Decoded:
    """A picture's pixels as they lie in the file, before the EXIF orientation."""

    pixels: Pixels
    alpha: Pixels | None
    grey: bool
    profile_used: bool = False
    """The colour profile has been applied to the pixels and no longer belongs to them."""
    warnings: tuple[str, ...] = ()


def depth_of(image: ImageFile.ImageFile, data: exif.Data) -> int:
    """Return 8 or 16, the bits per channel that the file's header states (more than 8 count as 16)."""
    if image.format == "PNG":
        return 16 if data[24] == 16 else 8
    if image.format == "TIFF":
        return 16 if max(exif.read_directory(data).integers(exif.BITS_PER_SAMPLE), default=1) > 8 else 8
    if image.format == "PPM":
        match = _PNM.match(data)
        return 16 if match and int(match[4]) > 255 else 8
    return 16 if image.mode.startswith("I;16") else 8


def decode(image: ImageFile.ImageFile, data: bytes) -> Decoded:
    """Decode an opened picture's pixels.

    Raises:
        DecodeError: The kind of picture cannot be restored, or the file is damaged.
        Exception: Whatever Pillow or OpenCV raises on a damaged file.
    """
    if depth_of(image, data) == 16:
        deep = _decode_deep(image, data)
        if deep is not None:
            return deep
        decoded = _decode_pillow(image)
        lost = "Its 16 bits per channel are read as 8, for this kind of file is not known in full depth."
        return replace(decoded, warnings=(*decoded.warnings, lost))
    bits = containers.coded_sampling(data)[1] if image.format in ("HEIF", "AVIF") else 8
    decoded = _decode_pillow(image)
    return decoded if bits == 8 else replace(decoded, warnings=(f"Its {bits} bits per channel are read as 8.",))


def _decode_deep(image: ImageFile.ImageFile, data: bytes) -> Decoded | None:
    """Decode 16 bits per channel; None where only Pillow knows the file, at 8 bits."""
    if image.format == "PNG":
        for _ in containers.png_chunks(data):  # OpenCV gives what it finds of a damaged file
            pass
        return _split(_opencv(data), grey=image.mode in _GREY or data[25] in (0, 4))
    if image.format == "TIFF":
        return _decode_deep_tiff(image, data)
    if image.format == "PPM":
        return _decode_deep_pnm(data)
    image.load()
    return _split(np.asarray(image).astype(np.uint16), grey=True)


def _opencv(data: bytes) -> NDArray[np.uint16]:
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise DecodeError("it is damaged or cut off")
    if values.ndim == 3:
        values = cv2.cvtColor(values, cv2.COLOR_BGRA2RGBA if values.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return cast("NDArray[np.uint16]", values)


def _decode_deep_tiff(image: ImageFile.ImageFile, data: bytes) -> Decoded | None:
    directory = exif.read_directory(data)
    bits = directory.integers(exif.BITS_PER_SAMPLE)
    _check_strips(directory, len(data))
    photometric = directory.integer(exif.PHOTOMETRIC)
    if set(bits) != {16} or photometric > _RGB or len(bits) not in (1, 3, 4):
        return _decode_odd_depth(image, (1 << bits[0]) - 1) if image.mode == "I;16" else None
    planar = directory.integer(exif.PLANAR_CONFIGURATION, 1) == 2 and len(bits) > 1
    values = _opencv_planes(data, directory, len(bits)) if planar else _opencv(exif.unturned(data))
    if photometric == _WHITE_IS_ZERO:
        values = np.invert(values)
    extra = directory.integers(exif.EXTRA_SAMPLES)
    decoded = _split(values[..., :3] if extra[:1] == (0,) and values.ndim == 3 else values, grey=photometric != _RGB)
    if extra[:1] == (1,) and decoded.alpha is not None:  # colours are stored multiplied by transparency
        return replace(decoded, pixels=_unmultiplied(decoded.pixels, decoded.alpha))
    return decoded


def _decode_odd_depth(image: ImageFile.ImageFile, full: int) -> Decoded:
    """Decode grey of 10, 12 or 14 bits, whose white is ``full``."""
    image.load()
    return _split((np.asarray(image).astype(np.uint32) * 65535 // full).astype(np.uint16), grey=True)


def _opencv_planes(data: bytes, directory: exif.Directory, count: int) -> NDArray[np.uint16]:
    """Decode a TIFF whose channels lie one after the other, which OpenCV would mix up, as so many grey TIFFs."""
    order, _ = exif.byte_order(data)
    tags = {tag: item for tag, item in directory.entries.items() if tag in exif.CODING}
    tags[exif.PHOTOMETRIC] = exif.entry(exif.PHOTOMETRIC, exif.SHORT, (_BLACK_IS_ZERO,), order)
    tags[exif.BITS_PER_SAMPLE] = exif.entry(exif.BITS_PER_SAMPLE, exif.SHORT, (16,), order)
    planes = []
    for number in range(count):
        for tag in (exif.STRIP_OFFSETS, exif.STRIP_BYTES, exif.TILE_OFFSETS, exif.TILE_BYTES):
            if values := directory.integers(tag):
                share = len(values) // count
                tags[tag] = exif.entry(tag, exif.LONG, values[number * share : (number + 1) * share], order)
        planes.append(_opencv(exif.with_directory(data, tags.values())))
    return np.dstack(planes)


def _unmultiplied(pixels: Pixels, alpha: Pixels) -> Pixels:
    full = float(np.iinfo(pixels.dtype).max)
    scale = full / np.maximum(alpha, 1).astype(np.float32)
    return cast("Pixels", np.rint(np.minimum(pixels * scale[..., None], full)).astype(pixels.dtype))


def check_tiff(data: exif.Data) -> None:
    """Refuse TIFF files that hold no photograph, or one whose values mean nothing without more knowledge.

    Raises:
        DecodeError: A camera's raw file, or values that are signed, floating-point or of more than 16 bits.
        ExifError: The first directory is damaged.
    """
    first = exif.read_directory(data)
    # Raw files are TIFFs that show a small preview first; restoring that would lose the photograph.
    preview = first.integer(exif.SUBFILE_TYPE) & 1 and exif.SUB_IFDS in first.entries
    if preview or exif.DNG_VERSION in first.entries or data[4:12] == _CANON_RAW:
        raise DecodeError("it is a camera's raw file; export it as TIFF or JPEG first")
    signed = set(first.integers(exif.SAMPLE_FORMAT)) & {2, 3, 5, 6}
    if signed or max(first.integers(exif.BITS_PER_SAMPLE), default=1) > 16:
        raise DecodeError(_NO_WHITE)


def _check_strips(directory: exif.Directory, size: int) -> None:
    for offsets, counts in ((exif.STRIP_OFFSETS, exif.STRIP_BYTES), (exif.TILE_OFFSETS, exif.TILE_BYTES)):
        for at, count in zip(directory.integers(offsets), directory.integers(counts), strict=False):
            if at + count > size:
                raise DecodeError("it is cut off")


def _decode_deep_pnm(data: bytes) -> Decoded:
    match = _PNM.match(data)
    if match is None:
        raise DecodeError("its header is damaged")
    kind, width, height, full = (int(group) for group in match.groups())
    shape = (height, width, 3) if kind == 6 else (height, width)
    count = int(np.prod(shape))
    if len(data) < match.end() + 2 * count:
        raise DecodeError("it is cut off")
    values = np.frombuffer(data, ">u2", count, match.end()).astype(np.uint16).reshape(shape)
    if full != 65535:
        values = np.minimum(values.astype(np.uint32) * 65535 // full, 65535).astype(np.uint16)
    return _split(values, grey=kind == 5)


def _split(values: Pixels, *, grey: bool) -> Decoded:
    """Split an array of 1 to 4 channels (grey, grey+alpha, RGB, RGB+alpha) into RGB and transparency."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    alpha = cast("Pixels", np.ascontiguousarray(values[..., -1])) if channels in (2, 4) else None
    if channels <= 2:
        single = values if values.ndim == 2 else values[..., 0]
        return Decoded(cast("Pixels", np.repeat(single[..., None], 3, axis=2)), alpha, True)
    return Decoded(cast("Pixels", np.ascontiguousarray(values[..., :3])), alpha, grey)


def _decode_pillow(image: ImageFile.ImageFile) -> Decoded:
    image.load()
    mode = image.mode
    if mode in ("I", "F"):
        raise DecodeError(_NO_WHITE)
    if mode.startswith("I;16"):
        return _split(np.asarray(image).astype(np.uint16), grey=True)
    if mode == "CMYK":
        return _decode_cmyk(image)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        rgb = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        return replace(_split(np.asarray(rgb), grey=False), profile_used=True)
    target = ("L" if mode in ("1", "L", "LA", "La") else "RGB") + ("A" if image.has_transparency_data else "")
    decoded = _split(np.asarray(image.convert(target) if mode != target else image), grey=False)
    if mode in ("P", "PA"):  # a palette of greys is a grey picture
        decoded = replace(decoded, grey=channels_equal(decoded.pixels))
    return decoded


def _decode_cmyk(image: Image.Image) -> Decoded:
    """Convert printing colours to sRGB, by the file's own profile where it has one."""
    icc = image.info.get("icc_profile")
    word = "The photograph was in printing colours (CMYK) and is now in sRGB"
    if icc:
        try:
            rgb = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                # as Photoshop does by default
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return replace(_split(np.asarray(rgb), grey=False), profile_used=True, warnings=(f"{word}.",))
        except (ImageCms.PyCMSError, OSError, ValueError):
            word += ", roughly, for its profile is damaged"
    else:
        word += ", roughly, for it had no profile"
    return replace(_split(np.asarray(image.convert("RGB")), grey=False), profile_used=True, warnings=(f"{word}.",))


def channels_equal(pixels: Pixels) -> bool:
    """Return whether the three channels of height×width×3 pixels are the same."""
    red = pixels[..., 0]
    return bool(np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2]))


def is_indexed(image: Image.Image) -> bool:
    """Return whether an opened picture has a palette or one bit per pixel."""
    return image.mode in _INDEXED


def is_grey(image: Image.Image) -> bool:
    """Return whether an opened picture has one channel besides transparency."""
    return image.mode in _GREY or image.mode.startswith("I;16")


def jpeg_quality(image: Image.Image) -> int | None:
    """Estimate a JPEG's quality, 1 to 100: the IJG scale whose luminance table is nearest to the file's."""
    if not isinstance(image, JpegImageFile) or not image.quantization:
        return None
    table = np.asarray(next(iter(image.quantization.values())), dtype=np.int64)
    qualities = np.arange(1, 101)
    scales = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    tables = np.clip((_LUMINANCE * scales[:, None] + 50) // 100, 1, 255)
    # The best of equally near ones: the highest quality.
    distance = np.abs(tables - table).sum(axis=1)[::-1]
    return 100 - int(np.argmin(distance))


def subsampling(image: Image.Image, data: bytes) -> str | None:
    """Return the chroma subsampling of a JPEG, HEIF or AVIF; None for others and where it is not a usual one."""
    if image.format in ("HEIF", "AVIF"):
        return containers.coded_sampling(data)[0]
    return _SUBSAMPLING.get(get_sampling(image)) if isinstance(image, JpegImageFile) else None


def webp_lossless(data: bytes) -> bool:
    """Return whether a WebP file's (first) picture is stored without loss."""
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        # A frame of an animation holds its picture's chunk after 16 bytes of its own.
        at += 8 + (16 if kind == b"ANMF" else size + size % 2)
    return False
