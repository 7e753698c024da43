"""Pictures, profiles and metadata made by hand, byte by byte where it matters."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' tiff:Orientation="6" tiff:ImageWidth="9999" xmp:CreatorTool="Scanner 3">'
    "<dc:creator><rdf:Seq><rdf:li>Aunt Märy</rdf:li></rdf:Seq></dc:creator>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
).encode()

# IIM: envelope/application records with the by-line "Mary" (2:80) and the city "Graz" (2:90).
IPTC = b"\x1c\x02\x50\x00\x04Mary" + b"\x1c\x02\x5a\x00\x04Graz"


def gradient(height: int = 24, width: int = 32, dtype: type = np.uint8) -> np.ndarray:
    """A picture that is different at every corner and in every channel."""
    y, x = np.mgrid[0:height, 0:width]
    full = np.iinfo(dtype).max
    planes = [x / (width - 1 or 1), y / (height - 1 or 1), (x + y) / (height + width)]
    return np.rint(np.stack(planes, -1) * full).astype(dtype)


def noise(height: int, width: int, channels: int | None, dtype: type, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def saved(image: Image.Image, name: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **settings)
    return stream.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(values: np.ndarray, *chunks: bytes) -> bytes:
    """A 16-bit PNG written without any imaging library."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + body


def tiff16(values: np.ndarray, order: str = "<", **tags: tuple[int, ...]) -> bytes:
    """An uncompressed 16-bit TIFF written without any imaging library; ``t<number>`` sets a SHORT tag."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    data = values.astype(order + "u2").tobytes()
    shorts = {256: (width,), 257: (height,), 258: (16,) * channels, 259: (1,), 262: (1 if channels == 1 else 2,)}
    shorts |= {277: (channels,), 278: (height,)} | {int(key[1:]): value for key, value in tags.items()}
    entries = {**{tag: (3, v) for tag, v in shorts.items()}, 273: (4, (8,)), 279: (4, (len(data),))}
    place = 8 + len(data)
    table, extra = b"", b""
    after = place + 2 + 12 * len(entries) + 4
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        field = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(order + "I", after + len(extra))
        extra += packed if len(packed) > 4 else b""
        table += struct.pack(order + "HHI", tag, kind, len(numbers)) + field
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "I", place) + data
    return head + struct.pack(order + "H", len(entries)) + table + bytes(4) + extra


def exif(orientation: int = 1, order: str = "<", *, thumbnail: bytes = b"", note: bytes = b"maker's note") -> bytes:
    """An EXIF block by hand: camera, orientation, date, maker's note, pixel size, GPS latitude, thumbnail."""

    def ifd(offset: int, entries: list[tuple[int, int, int, bytes]], following: int = 0) -> bytes:
        table, values = struct.pack(order + "H", len(entries)), b""
        at = offset + 2 + 12 * len(entries) + 4
        for tag, kind, count, value in entries:
            table += struct.pack(order + "HHI", tag, kind, count)
            if len(value) <= 4:
                table += value.ljust(4, b"\0")
            else:
                table += struct.pack(order + "I", at + len(values))
                values += value + bytes(len(value) % 2)
        return table + struct.pack(order + "I", following) + values

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def long(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}I", *values)

    def first(exif_at: int, gps_at: int, next_at: int) -> bytes:
        return ifd(
            8,
            [
                (0x010F, 2, 6, b"Kodak\0"),
                (0x0112, 3, 1, short(orientation)),
                (0x8769, 4, 1, long(exif_at)),
                (0x8825, 4, 1, long(gps_at)),
            ],
            next_at,
        )

    exif_at = 8 + len(first(0, 0, 0))
    date = b"1964:05:17 12:00:00\0"
    inner = [(0x9003, 2, 20, date), (0x927C, 7, len(note), note), (0xA002, 3, 1, short(32)), (0xA003, 3, 1, short(24))]
    exif_ifd = ifd(exif_at, inner)
    gps_at = exif_at + len(exif_ifd)
    latitude = long(47, 1, 4, 1, 1234, 100)
    gps_ifd = ifd(gps_at, [(1, 2, 2, b"N\0"), (2, 5, 3, latitude)])
    next_at = gps_at + len(gps_ifd)
    thumb_ifd = ifd(next_at, [(0x0201, 4, 1, long(next_at + 30)), (0x0202, 4, 1, long(len(thumbnail)))])
    magic = b"II*\0" if order == "<" else b"MM\0*"
    block = magic + long(8) + first(exif_at, gps_at, next_at if thumbnail else 0) + exif_ifd + gps_ifd
    return block + (thumb_ifd + thumbnail if thumbnail else b"")


# Red, green and blue as D50 XYZ columns, and curve, from the published profiles.
DISPLAY_P3 = (
    ((0.515121, 0.241196, -0.001053), (0.291977, 0.692245, 0.041885), (0.157104, 0.066574, 0.784073)),
    (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
)
ADOBE_RGB = (
    ((0.609741, 0.311111, 0.019470), (0.205276, 0.625671, 0.060867), (0.149185, 0.063217, 0.744568)),
    (0, (563 / 256,)),
)
SRGB = (
    ((0.436066, 0.222488, 0.013916), (0.385147, 0.716873, 0.097076), (0.143066, 0.060608, 0.714096)),
    (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def parametric(kind: int, parameters: tuple[float, ...]) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(*parameters)


def sampled(values: np.ndarray) -> bytes:
    numbers = np.rint(np.asarray(values) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", numbers.size) + numbers.tobytes()


def profile(colours: tuple[tuple[float, ...], ...] | None, curve: bytes) -> bytes:
    """An ICC profile (version 4) from three colours and one curve; grey where there are no colours."""
    tags = {}
    if colours is None:
        tags[b"kTRC"] = curve
    else:
        for letter, xyz in zip("rgb", colours, strict=True):
            tags[f"{letter}XYZ".encode()] = b"XYZ " + bytes(4) + _fixed(*xyz)
            tags[f"{letter}TRC".encode()] = curve
    return _assembled(tags, b"GRAY" if colours is None else b"RGB ", b"XYZ ")


def _assembled(tags: dict[bytes, bytes], space: bytes, connection: bytes) -> bytes:
    text = "test".encode("utf-16-be")
    name = b"mluc" + bytes(4) + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", len(text), 28) + text
    tags = {b"desc": name, b"cprt": name, b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642, 1.0, 0.8249), **tags}
    at = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for signature, value in tags.items():
        table += signature + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"test", 0x04300000, b"mntr", space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return head + table + body


def lightness_profile() -> bytes:
    """A profile of tables: all three channels' mean is L*, there is no colour; and the way back."""

    def table(clut: list[float]) -> bytes:
        ends = struct.pack(">6H", *(0, 65535) * 3)
        head = b"mft2" + bytes(4) + bytes([3, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack(">2H", 2, 2)
        return head + ends + struct.pack(f">{len(clut)}H", *(round(value) for value in clut)) + ends

    corners = [(i >> 2, i >> 1 & 1, i & 1) for i in range(8)]
    # L* = 100 is 0xFF00 and a* = b* = 0 is 0x8000 in this type of table
    there = table([value for corner in corners for value in (0xFF00 * sum(corner) / 3, 0x8000, 0x8000)])
    back = table([65535 * corner[0] for corner in corners for _ in range(3)])
    return _assembled({b"A2B0": there, b"B2A0": back}, b"RGB ", b"Lab ")


def p3() -> bytes:
    return profile(DISPLAY_P3[0], parametric(*DISPLAY_P3[1]))


def adobe() -> bytes:
    return profile(ADOBE_RGB[0], parametric(*ADOBE_RGB[1]))
