"""Metadata inside the file formats' own containers: PNG chunks, JPEG segments, JPEG 2000 boxes, TIFF tags.

Pictures are encoded without metadata, by whichever library holds their depth, and get their metadata here, in one way
for 8 and 16 bits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

from restorer.photo import exif
from restorer.photo.metadata import Metadata

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
XMP_KEYWORD = "XML:com.adobe.xmp"
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
JPEG_SEGMENT = 65533
"""Bytes a JPEG segment holds besides its marker and length."""
_PHOTOSHOP, _ICC = b"Photoshop 3.0\0", b"ICC_PROFILE\0"
_IPTC_RESOURCE = 0x0404
_METRE = 0.0254  # metres in an inch
# UUIDs of the XMP specification part 3 and of ExifTool's "JpgTiffExif->JP2".
_JP2_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_JP2_EXIF = b"JpgTiffExif->JP2"


class ContainerError(ValueError):
    """Thrown where a file's own structure is damaged."""


# PNG


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of every chunk of a PNG file.

    Raises:
        ContainerError: A chunk is cut off or its check sum is wrong, or the end chunk is missing.
    """
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        end = at + 12 + size
        if end > len(data):
            raise ContainerError("it is cut off")
        if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ContainerError("a check sum is wrong")
        yield kind, body
        if kind == b"IEND":
            return
        at = end
    raise ContainerError("it is cut off")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk's bytes."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Insert metadata into an encoded PNG, right after its header where every chunk of metadata may stand."""
    chunks = [metadata.png_colour]
    if metadata.icc:
        chunks = [png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))]
    if metadata.dpi:
        chunks.append(png_chunk(b"pHYs", struct.pack(">IIB", *(round(dots / _METRE) for dots in metadata.dpi), 1)))
    if metadata.exif:
        chunks.append(png_chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append(png_chunk(b"iTXt", XMP_KEYWORD.encode() + bytes(5) + metadata.xmp))
    if metadata.iptc:
        chunks.append(_png_iptc(metadata.iptc))
    chunks += [_png_text(keyword, text) for keyword, text in metadata.text]
    start = len(PNG_SIGNATURE) + 25  # length, type, 13 bytes and check sum of IHDR
    return data[:start] + b"".join(chunks) + data[start:]


def _png_text(keyword: str, text: str) -> bytes:
    name = keyword.encode("latin-1", "replace")[:79]
    return png_chunk(b"iTXt", name + bytes(5) + text.replace("\0", "").encode())


def _png_iptc(records: bytes) -> bytes:
    """Return IPTC as ImageMagick and ExifTool write it: hexadecimal text in a compressed chunk."""
    raw = _photoshop_resource(records)
    digits = raw.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    text = f"\niptc\n{len(raw):8}\n{lines}\n"
    return png_chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text.encode()))


def raw_profile(text: str) -> bytes | None:
    """Decode a PNG's "Raw profile type" text (name, length, hexadecimal digits); None if it is not one."""
    parts = text.strip().split(None, 2)
    try:
        return bytes.fromhex("".join(parts[2].split()))[: int(parts[1])]
    except (IndexError, ValueError):
        return None


# JPEG


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of a JPEG's segments before its picture data; stops where they make no sense."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (size,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xDA or size < 2:
            return
        yield marker, data[at + 4 : at + 2 + size]
        at += 2 + size


def jpeg_with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Insert metadata into an encoded JPEG after its start or its JFIF segment; what is too long is left out."""
    segments = [
        _segment(0xE1, b"Exif\0\0", metadata.exif),
        _segment(0xE1, JPEG_XMP, metadata.xmp),
        *_icc_segments(metadata.icc),
        *_iptc_segments(metadata.iptc),
        *(_segment(0xFE, b"", text.encode()) for keyword, text in metadata.text if keyword == "Comment"),
    ]
    start = 2
    if data[2:4] == b"\xff\xe0":
        start = 4 + struct.unpack_from(">H", data, 4)[0]
    return data[:start] + b"".join(segments) + data[start:]


def _segment(marker: int, prefix: bytes, body: bytes | None) -> bytes:
    if not body or len(prefix) + len(body) > JPEG_SEGMENT:
        return b""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(prefix) + len(body)) + prefix + body


def _icc_segments(icc: bytes | None) -> Iterator[bytes]:
    room = JPEG_SEGMENT - len(_ICC) - 2
    parts = [icc[i : i + room] for i in range(0, len(icc), room)] if icc else []
    for number, part in enumerate(parts, 1):
        yield _segment(0xE2, _ICC + bytes([number, len(parts)]), part)


def _iptc_segments(records: bytes | None) -> Iterator[bytes]:
    # Photoshop data that are too long go on in the next segment (as Adobe's readers join them).
    resource = _photoshop_resource(records) if records else b""
    room = JPEG_SEGMENT - len(_PHOTOSHOP)
    for start in range(0, len(resource), room):
        yield _segment(0xED, _PHOTOSHOP, resource[start : start + room])


def jpeg_iptc(data: bytes) -> bytes | None:
    """Return the IPTC records in a JPEG's APP13 segments, or None."""
    prefix = len(_PHOTOSHOP)
    parts = [body[prefix:] for marker, body in jpeg_segments(data) if marker == 0xED and body.startswith(_PHOTOSHOP)]
    return photoshop_iptc(b"".join(parts))


def photoshop_iptc(resources: bytes) -> bytes | None:
    """Return the IPTC records among Photoshop image resources, or None."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        (code,) = struct.unpack_from(">H", resources, at + 4)
        name = resources[at + 6] + 1
        at += 6 + name + name % 2
        if at + 4 > len(resources):
            return None
        (size,) = struct.unpack_from(">I", resources, at)
        if code == _IPTC_RESOURCE:
            return resources[at + 4 : at + 4 + size] or None
        at += 4 + size + size % 2
    return None


def _photoshop_resource(records: bytes) -> bytes:
    head = b"8BIM" + struct.pack(">H", _IPTC_RESOURCE) + b"\0\0" + struct.pack(">I", len(records))
    return head + records + bytes(len(records) % 2)


# TIFF


def tiff_with_metadata(data: bytes, metadata: Metadata, *, alpha: bool) -> bytes:
    """Return an encoded one-page TIFF whose directory, written anew at the end, also holds the metadata.

    Args:
        data: A classic TIFF.
        metadata: What to add. EXIF that cannot be followed is left out.
        alpha: Whether the last channel is transparency (not premultiplied).
    """
    order, _ = exif.byte_order(data)
    tags: dict[int, exif.Entry | tuple[int, list[exif.Entry]]] = dict(exif.read_directory(data).entries)
    for item in _tiff_items(metadata, order):
        tags[item.tag if isinstance(item, exif.Entry) else item[0]] = item
    tags[exif.ORIENTATION] = exif.entry(exif.ORIENTATION, exif.SHORT, (1,), order)
    if alpha:
        tags[exif.EXTRA_SAMPLES] = exif.entry(exif.EXTRA_SAMPLES, exif.SHORT, (2,), order)
    return exif.with_directory(data, tags.values())


def _tiff_items(metadata: Metadata, order: exif.ByteOrder) -> Iterator[exif.Entry | tuple[int, list[exif.Entry]]]:
    if metadata.exif:
        with suppress(exif.ExifError):
            yield from exif.descriptive(metadata.exif)
    for tag, kind, value in (
        (exif.ICC, exif.UNDEFINED, metadata.icc),
        (exif.XMP, 1, metadata.xmp),
        (exif.IPTC, exif.UNDEFINED, metadata.iptc),
    ):
        if value:
            yield exif.entry(tag, kind, value, order)
    if metadata.dpi:
        for tag, dots in zip((exif.X_RESOLUTION, exif.Y_RESOLUTION), metadata.dpi, strict=True):
            ratio = Fraction(dots).limit_denominator(10000)
            yield exif.entry(tag, exif.RATIONAL, (ratio.numerator, ratio.denominator), order)
        yield exif.entry(exif.RESOLUTION_UNIT, exif.SHORT, (2,), order)


# JPEG 2000, HEIF, AVIF: files made of boxes


def _boxes(data: exif.Data, at: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield type, start, start of content and end of every box in a stretch of a file (ISO 15444-1, I.4)."""
    while at + 8 <= end:
        size, body = struct.unpack_from(">I", data, at)[0], at + 8
        if size == 1 and at + 16 <= end:
            size, body = struct.unpack_from(">Q", data, at + 8)[0], at + 16
        after = end if size == 0 else min(at + size, end)
        if after < body:
            return
        yield data[at + 4 : at + 8], at, body, after
        at = after


def jp2_with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Put a profile in the place of an encoded JP2 file's colour box, and append EXIF and XMP as boxes of their own."""
    if metadata.icc:
        data = _jp2_with_profile(data, metadata.icc)
    for uuid, body in ((_JP2_EXIF, metadata.exif), (_JP2_XMP, metadata.xmp)):
        if body:
            data += _box(b"uuid", uuid + body)
    return data


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _jp2_with_profile(data: bytes, icc: bytes) -> bytes:
    for kind, start, body, end in _boxes(data, 0, len(data)):
        if kind == b"jp2h":
            inner = [data[at:after] for name, at, _, after in _boxes(data, body, end) if name != b"colr"]
            # method 2: an ICC profile; precedence and approximation are not used
            inner.insert(1, _box(b"colr", b"\2\0\0" + icc))
            return data[:start] + _box(b"jp2h", b"".join(inner)) + data[end:]
    return data


def jp2_metadata(data: exif.Data) -> Metadata:
    """Return profile, EXIF and XMP of a JP2 file."""
    found: dict[bytes, bytes] = {}
    icc = None
    boxes = _boxes(data, 0, len(data)) if data[: len(JP2_SIGNATURE)] == JP2_SIGNATURE else ()
    for kind, _, body, end in boxes:
        if kind == b"uuid":
            found[data[body : body + 16]] = data[body + 16 : end]
        elif kind == b"jp2h":
            for name, _, inner, after in _boxes(data, body, end):
                if name == b"colr" and data[inner : inner + 1] == b"\2":
                    icc = data[inner + 3 : after]
    return Metadata(icc=icc, exif=found.get(_JP2_EXIF), xmp=found.get(_JP2_XMP))


def coded_sampling(data: bytes) -> tuple[str | None, int]:
    """Return chroma subsampling (None for grey or unknown) and bits per channel of a HEIF or AVIF file.

    They stand in the decoder's configuration: of HEVC (ISO 14496-15, 8.3.3.1) or of AV1 (its ISOBMFF binding, 2.3.3).
    """
    at = data.find(b"hvcC") + 4
    if at >= 4 and at + 18 <= len(data):
        return {1: "4:2:0", 2: "4:2:2", 3: "4:4:4"}.get(data[at + 16] & 3), 8 + (data[at + 17] & 7)
    at = data.find(b"av1C") + 4
    while at >= 4 and at + 3 <= len(data):
        flags = data[at + 2]
        if not flags & 0x10:  # one channel: transparency
            sampling = {0: "4:4:4", 8: "4:2:2", 12: "4:2:0"}.get(flags & 12)
            return sampling, 12 if flags & 0x20 else 10 if flags & 0x40 else 8
        at = data.find(b"av1C", at) + 4
    return None, 8
