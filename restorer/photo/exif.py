"""EXIF blocks and TIFF directories: read, changed in place, carried from one file to another.

An EXIF block is a small TIFF file. Changing single values where they stand, rather than writing the block anew, keeps
every other byte: makers' notes hold offsets that only their maker understands. Structures and tags are those of TIFF
6.0 and EXIF 2.32.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

WIDTH, HEIGHT, ORIENTATION = 0x0100, 0x0101, 0x0112
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
XMP, IPTC, ICC = 0x02BC, 0x83BB, 0x8773
BITS_PER_SAMPLE, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT = 0x0102, 0x0106, 0x0152, 0x0153
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 0x00FE, 0x014A, 0xC612
PLANAR_CONFIGURATION = 0x011C
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 0x0111, 0x0117, 0x0144, 0x0145

# Tags of a TIFF file's first directory that speak of the photograph and not of how its pixels are stored.
DESCRIPTIVE = frozenset(
    {
        *(0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C),  # names, camera, software, author
        *(0x4746, 0x4749, 0x8298, 0x9003, 0x9004),  # ratings, copyright, dates
        *(0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # Windows' title, comment, author, keywords, subject
        *(EXIF_IFD, GPS_IFD),
    }
)
# Tags that say how one channel's pixels are stored: size, compression, rows a strip, tile size, predictor, fill order.
CODING = frozenset({WIDTH, HEIGHT, 0x0103, 0x0116, 0x0142, 0x0143, 0x013D, 0x010A})
_WIDTH_TAGS, _HEIGHT_TAGS = (WIDTH, 0xA002), (HEIGHT, 0xA003)
_THUMBNAIL_OFFSET, _THUMBNAIL_BYTES = 0x0201, 0x0202
_POINTERS = (EXIF_IFD, GPS_IFD, INTEROP_IFD)

# Bytes of one value, and of the unit that has a byte order, by TIFF type.
_TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4)}
_TYPES |= {10: (8, 4), 11: (4, 4), 12: (8, 8), 13: (4, 4), 16: (8, 8), 17: (8, 8), 18: (8, 8)}
_BYTE, SHORT, LONG, RATIONAL, UNDEFINED = 1, 3, 4, 5, 7
_LAST_CLASSIC_TYPE = 13  # those above are BigTIFF's
_INTEGERS = {_BYTE: "B", SHORT: "H", LONG: "I", 13: "I", 16: "Q"}

ByteOrder = Literal["<", ">"]

Data = bytes | mmap.mmap
"""A file in memory, or mapped where only its header is wanted."""


class ExifError(ValueError):
    """Thrown where a block's structure cannot be followed."""


@dataclass(frozen=True)
class Entry:
    """One tag of a directory."""

    tag: int
    type: int
    count: int
    value: bytes
    """The value's bytes in the order of its file; empty where they lie outside of it."""
    order: ByteOrder
    entry_at: int = -1
    """Offset of the 12-byte entry."""
    value_at: int = -1
    """Offset of the value."""

    def integers(self) -> tuple[int, ...]:
        """Return the value as integers; empty where it holds none."""
        code = _INTEGERS.get(self.type)
        size = _TYPES.get(self.type, (1, 1))[0]
        return struct.unpack(f"{self.order}{len(self.value) // size}{code}", self.value) if code else ()


@dataclass(frozen=True)
class Directory:
    """A directory (IFD): its entries by tag, and where the next one begins (0: nowhere)."""

    entries: dict[int, Entry]
    next: int
    next_at: int
    """Offset of the field that holds ``next``."""

    def integer(self, tag: int, default: int = 0) -> int:
        """Return a tag's first integer."""
        return next(iter(self.integers(tag)), default)

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return a tag's integers; empty where it is absent."""
        return self.entries[tag].integers() if tag in self.entries else ()

    def value(self, tag: int) -> bytes | None:
        """Return a tag's raw bytes, or None."""
        return (self.entries[tag].value or None) if tag in self.entries else None


def byte_order(block: Data) -> tuple[ByteOrder, bool]:
    """Return a block's byte order and whether it is a BigTIFF.

    Raises:
        ExifError: The block does not begin like a TIFF file.
    """
    orders: dict[bytes, tuple[ByteOrder, bool]] = {
        b"II*\0": ("<", False),
        b"MM\0*": (">", False),
        b"II+\0": ("<", True),
        b"MM\0+": (">", True),
    }
    try:
        return orders[bytes(block[:4])]
    except KeyError:
        raise ExifError("no TIFF header") from None


def read_directory(block: Data, offset: int | None = None) -> Directory:
    """Read the directory at ``offset`` of a TIFF file or EXIF block (None: the first).

    Raises:
        ExifError: The directory lies outside of the block.
    """
    order, big = byte_order(block)
    entry_size, inline, count_code, offset_code = (20, 8, "Q", "Q") if big else (12, 4, "H", "I")
    try:
        if offset is None:
            (offset,) = struct.unpack_from(order + offset_code, block, 8 if big else 4)
        (count,) = struct.unpack_from(order + count_code, block, offset)
        first = offset + struct.calcsize(order + count_code)
        if first + count * entry_size > len(block):
            raise ExifError("a directory is cut off")
        entries = [_read_entry(block, first + i * entry_size, order, inline, offset_code) for i in range(count)]
    except struct.error as error:
        raise ExifError("a directory lies outside of the block") from error
    next_at = first + count * entry_size
    # Many writers leave the last directory's "next" field away.
    known = next_at + inline <= len(block)
    (following,) = struct.unpack_from(order + offset_code, block, next_at) if known else (0,)
    return Directory({entry.tag: entry for entry in entries}, following, next_at if known else -1)


def _read_entry(block: Data, at: int, order: ByteOrder, inline: int, offset_code: str) -> Entry:
    tag, kind, count = struct.unpack_from(order + "HH" + offset_code, block, at)
    size = _TYPES.get(kind, (0, 1))[0] * count
    value_at = at + 4 + inline
    if size > inline:
        (value_at,) = struct.unpack_from(order + offset_code, block, value_at)
    inside = value_at + size <= len(block)
    return Entry(tag, kind, count, bytes(block[value_at : value_at + size]) if inside else b"", order, at, value_at)


def orientation(block: Data) -> int:
    """Return the EXIF orientation as it stands (1 where there is none; it may be out of 1 to 8).

    Raises:
        ExifError: The block is damaged.
    """
    return read_directory(block).integer(ORIENTATION, 1)


def unturned(data: bytes) -> bytes:
    """Return a TIFF file whose orientation says 1, for readers that would turn the pixels on their own.

    Raises:
        ExifError: The first directory is damaged.
    """
    found = read_directory(data).entries.get(ORIENTATION)
    if found is None or found.integers() == (1,):
        return data
    changed = bytearray(data)
    _set_integer(changed, found, 1)
    return bytes(changed)


def upright(block: bytes) -> bytes:
    """Return a block that says orientation 1 and holds no thumbnail, every other byte as it was.

    Raises:
        ExifError: One of the directories is damaged.
    """
    changed = bytearray(block)
    first = read_directory(block)
    for directory in _walk(block, first):
        if entry := directory.entries.get(ORIENTATION):
            _set_integer(changed, entry, 1)
    if first.next and first.next_at >= 0:
        changed[first.next_at : first.next_at + 4] = bytes(4)
        _blank_thumbnail(changed, block, first.next)
    return bytes(changed)


def resized(block: bytes, size: tuple[int, int]) -> bytes:
    """Return a block whose image width and height tags, where it has them, say ``size`` (width, height).

    Raises:
        ExifError: One of the directories is damaged.
    """
    changed = bytearray(block)
    for directory in _walk(block, read_directory(block)):
        for tags, value in ((_WIDTH_TAGS, size[0]), (_HEIGHT_TAGS, size[1])):
            for tag in tags:
                if entry := directory.entries.get(tag):
                    _set_integer(changed, entry, value)
    return bytes(changed)


def _walk(block: bytes, first: Directory) -> Iterator[Directory]:
    yield first
    for tag in (EXIF_IFD, GPS_IFD):
        if offset := first.integer(tag):
            directory = read_directory(block, offset)
            yield directory
            if tag == EXIF_IFD and (interop := directory.integer(INTEROP_IFD)):
                yield read_directory(block, interop)


def _set_integer(block: bytearray, entry: Entry, value: int) -> None:
    # The orientation is SHORT, every other tag set here may be LONG; one value always fits inside its entry.
    kind, code = (SHORT, "Hxx") if entry.tag == ORIENTATION else (LONG, "I")
    count = "Q" if byte_order(bytes(block[:4]))[1] else "I"
    struct.pack_into(f"{entry.order}H{count}{code}", block, entry.entry_at + 2, kind, 1, value)


def _blank_thumbnail(changed: bytearray, block: bytes, offset: int) -> None:
    try:
        thumbnail = read_directory(block, offset)
    except ExifError:
        return  # nothing points to it any more
    at, size = thumbnail.integer(_THUMBNAIL_OFFSET), thumbnail.integer(_THUMBNAIL_BYTES)
    # Only what is a JPEG for certain: an absurd offset must not wipe out other tags.
    if not size or at + size > len(block) or block[at : at + 2] != b"\xff\xd8":
        return
    if at + size >= len(block) - 1:
        del changed[at:]
    else:
        changed[at : at + size] = bytes(size)


def descriptive(block: bytes) -> list[Entry | tuple[int, list[Entry]]]:
    """Return what the first directory says of the photograph: entries, and (pointer tag, entries) for EXIF and GPS.

    Raises:
        ExifError: One of the directories is damaged.
    """
    return list(_collect(block, read_directory(block), DESCRIPTIVE))


Tree = Iterable["Entry | tuple[int, list[Entry]]"]


def _collect(block: bytes, directory: Directory, wanted: frozenset[int]) -> Iterator[Entry | tuple[int, list[Entry]]]:
    for tag in sorted(wanted & directory.entries.keys()):
        entry = directory.entries[tag]
        if tag in _POINTERS:
            if offset := directory.integer(tag):
                inner = read_directory(block, offset).entries.values()
                yield tag, [item for item in inner if _movable(item) and item.tag != INTEROP_IFD]
        elif _movable(entry):
            yield entry


def _movable(entry: Entry) -> bool:
    return bool(entry.value) and entry.type <= _LAST_CLASSIC_TYPE


def from_tiff(data: bytes) -> bytes | None:
    """Return an EXIF block with what a TIFF file's first directory says of the photograph; None if nothing.

    Raises:
        ExifError: One of the directories is damaged.
    """
    tree = descriptive(data)
    order, _ = byte_order(data)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return header + pack_directory(tree, 8, order) if tree else None


def entry(tag: int, kind: int, values: bytes | tuple[int, ...], order: ByteOrder = "<") -> Entry:
    """Make an entry from raw bytes (types BYTE and UNDEFINED) or from integers (SHORT, LONG, RATIONAL as pairs)."""
    if isinstance(values, tuple):
        values = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
    return Entry(tag, kind, len(values) // _TYPES[kind][0], values, order)


def pack_directory(tree: Tree, offset: int, order: ByteOrder) -> bytes:
    """Return the bytes of a directory, and of all it points to, that is to stand at ``offset`` (even) of a file."""
    items = sorted(tree, key=lambda item: item.tag if isinstance(item, Entry) else item[0])
    values_at = offset + 2 + 12 * len(items) + 4
    table, values = [struct.pack(order + "H", len(items))], bytearray()
    for item in items:
        place = values_at + len(values)
        if isinstance(item, Entry):
            value = _ordered(item, order)
            head = struct.pack(order + "HHI", item.tag, item.type, item.count)
        else:
            value = pack_directory(item[1], place, order)
            head = struct.pack(order + "HHI", item[0], LONG, 1)
        if isinstance(item, Entry) and len(value) <= 4:
            table.append(head + value.ljust(4, b"\0"))
        else:
            table.append(head + struct.pack(order + "I", place))
            values += value + bytes(len(value) % 2)
    return b"".join(table) + bytes(4) + bytes(values)


def with_directory(data: bytes, tree: Tree) -> bytes:
    """Return a classic TIFF file whose only directory is ``tree``, appended at its end; pixels stay where they are.

    Raises:
        ExifError: The file is a BigTIFF, whose offsets do not fit.
    """
    order, big = byte_order(data)
    if big:
        raise ExifError("a BigTIFF cannot be changed")
    place = len(data) + len(data) % 2
    directory = pack_directory(tree, place, order)
    return data[:4] + struct.pack(order + "I", place) + data[8:] + bytes(len(data) % 2) + directory


def _ordered(item: Entry, order: ByteOrder) -> bytes:
    unit = _TYPES[item.type][1]
    if item.order == order or unit == 1:
        return item.value
    # Reversing all bytes and then the order of the units swaps each unit's bytes.
    units = [item.value[i : i + unit][::-1] for i in range(0, len(item.value), unit)]
    return b"".join(units)
