"""Metadata agree with the pixels they come with, keep what others wrote, and refuse what is unsafe."""

import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from restorer.photo import DIGITAL_SOURCE, Metadata, read_photo, with_provenance, write_photo, xmp
from restorer.photo import exif as exif_block
from restorer.photo import metadata as meta
from tests.photo import samples

FACTS = {"tool": "restorer", "version": "1.2", "model": "GFPGAN 1.4", "strength": 1.0}


def _values(packet: bytes) -> dict[str, str]:
    """Every property by {namespace}name, as an independent reader of XML sees it."""
    found: dict[str, str] = {}
    for description in ElementTree.fromstring(packet.decode()).iter(f"{{{xmp.RDF}}}Description"):
        found.update(description.attrib)
        found.update({child.tag: "".join(child.itertext()).strip() for child in description})
    return found


def test_provenance_says_what_the_standard_asks_for() -> None:
    packet = with_provenance(Metadata(), **FACTS).xmp
    assert packet is not None
    values = _values(packet)
    key = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert values[key] == DIGITAL_SOURCE
    assert DIGITAL_SOURCE == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert b"Iptc4xmpExt:DigitalSourceType=" in packet  # the prefix readers look for
    own = {name: values[f"{{{xmp.RESTORER}}}{name}"] for name in ("Tool", "Version", "Model", "Strength")}
    assert own == {"Tool": "restorer", "Version": "1.2", "Model": "GFPGAN 1.4", "Strength": "1"}


def test_provenance_is_merged() -> None:
    packet = with_provenance(Metadata(xmp=samples.XMP), **FACTS).xmp
    assert packet is not None
    values = _values(packet)
    assert values["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == "Scanner 3"
    assert values["{http://purl.org/dc/elements/1.1/}creator"] == "Aunt Märy"


@pytest.mark.parametrize("form", ["attribute", "element"])
def test_an_older_statement_is_replaced(form: str) -> None:
    namespace = f'xmlns:Iptc4xmpExt="{xmp.IPTC_EXT}"'
    if form == "attribute":
        packet = samples.XMP.replace(
            b"<rdf:Description ", f'<rdf:Description {namespace} Iptc4xmpExt:DigitalSourceType="old" '.encode()
        )
    else:
        element = f"<Iptc4xmpExt:DigitalSourceType {namespace}>old</Iptc4xmpExt:DigitalSourceType>".encode()
        packet = samples.XMP.replace(b"<dc:creator>", element + b"<dc:creator>")
    first = with_provenance(Metadata(xmp=packet), **FACTS)
    second = with_provenance(first, **{**FACTS, "model": "lite"})
    assert second.xmp is not None
    text = second.xmp.decode()
    assert ">old<" not in text and '"old"' not in text
    assert len(re.findall(":DigitalSourceType", text)) == 1
    assert "GFPGAN" not in text and 'restorer:Model="lite"' in text


def test_odd_names_cannot_break_the_packet() -> None:
    packet = with_provenance(Metadata(), **{**FACTS, "model": 'my "<&>\x00\ud800 model'}).xmp
    assert packet is not None
    assert _values(packet)[f"{{{xmp.RESTORER}}}Model"] == 'my "<&>\ufffd\ufffd model'


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&b;</x:xmpmeta>'


@pytest.mark.parametrize("packet", [BOMB, BOMB.decode().encode("utf-16"), b"<not xmp", b"", b"<a/>", samples.XMP[:200]])
def test_unsafe_or_damaged_packets_are_refused_and_replaced(packet: bytes) -> None:
    with pytest.raises(xmp.XmpError):
        xmp.cleaned(packet)
    kept, warnings = meta.cleaned(Metadata(xmp=packet))
    assert kept.xmp is None and len(warnings) == 1
    assert b"DigitalSourceType" in (with_provenance(Metadata(xmp=packet), **FACTS).xmp or b"")


def test_orientation_in_xmp_does_not_contradict() -> None:
    packet = xmp.cleaned(samples.XMP)
    assert xmp.value(packet, xmp.TIFF, "Orientation") == "1"
    assert xmp.cleaned(packet) == packet
    assert xmp.value(xmp.resized(packet, (64, 48)), xmp.TIFF, "ImageWidth") == "64"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_packets_in_other_encodings(encoding: str) -> None:
    packet = '<?xml version="1.0" encoding="UTF-16"?>' + samples.XMP.decode().split("?>", 1)[1]
    assert xmp.value(packet.encode(encoding), xmp.XMP, "CreatorTool") == "Scanner 3"


def test_stale_companions_leave() -> None:
    extra = b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="0123"'
    gain = b' xmlns:g="http://ns.adobe.com/hdr-gain-map/1.0/" g:Version="1.0"'
    packet = xmp.cleaned(samples.XMP.replace(b' rdf:about=""', b' rdf:about=""' + extra + gain))
    assert b"0123" not in packet and b"g:Version" not in packet and b"Scanner 3" in packet


# EXIF


@pytest.mark.parametrize("order", ["<", ">"])
def test_thumbnail_is_dropped_and_orientation_reset(order: str) -> None:
    thumbnail = b"\xff\xd8" + b"the photograph before it was cropped" + b"\xff\xd9"
    block = exif_block.upright(samples.exif(6, order, thumbnail=thumbnail))
    assert b"before it was cropped" not in block
    assert exif_block.orientation(block) == 1
    tags = Image.Exif()
    tags.load(block)
    assert tags[0x010F] == "Kodak" and not tags.get_ifd(1)


def test_an_absurd_thumbnail_offset_wipes_nothing_else() -> None:
    block = bytearray(samples.exif(6, thumbnail=b"\xff\xd8xx\xff\xd9"))
    at = bytes(block).index(b"\x01\x02\x04\x00\x01\x00\x00\x00") + 8
    block[at : at + 4] = (20).to_bytes(4, "little")
    changed = exif_block.upright(bytes(block))
    assert b"Kodak" in changed and b"1964:05:17" in changed


def test_pixel_size_follows() -> None:
    block = exif_block.resized(samples.exif(1), (70000, 4321))
    tags = Image.Exif()
    tags.load(block)
    inner = tags.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (70000, 4321)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "TIFF", "PNG"])
def test_written_files_are_upright_for_every_reader(orientation: int, name: str) -> None:
    inside = PngInfo()
    inside.add_itxt("XML:com.adobe.xmp", samples.XMP.decode())
    settings = {
        "JPEG": {"exif": b"Exif\0\0" + samples.exif(orientation), "xmp": samples.XMP},
        "PNG": {"exif": samples.exif(orientation), "pnginfo": inside},
        "TIFF": {"tiffinfo": {0x0112: orientation, 0x010F: "Kodak", 700: samples.XMP}},
    }
    photo = read_photo(samples.saved(Image.fromarray(samples.gradient()), name, **settings[name]))
    assert photo.size == ((24, 32) if orientation >= 5 else (32, 24))
    stream = io.BytesIO()
    write_photo(photo, stream)
    with Image.open(stream) as image:
        assert image.size == photo.size
        assert image.getexif().get(0x0112, 1) == 1
        packet = image.info["xmp"]
    assert xmp.value(bytes(packet), xmp.TIFF, "Orientation") == "1"


def test_iptc_of_a_jpeg_is_found_among_other_resources() -> None:
    other = b"8BIM\x04\x0c\x03abc" + (5).to_bytes(4, "big") + b"thumb\0"
    iptc = b"8BIM\x04\x04\0\0" + len(samples.IPTC).to_bytes(4, "big") + samples.IPTC
    body = b"Photoshop 3.0\0" + other + iptc
    data = samples.saved(Image.fromarray(samples.gradient()), "JPEG")
    segment = b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body
    assert read_photo(data[:2] + segment + data[2:]).metadata.iptc == samples.IPTC


def test_iptc_that_tiff_stores_as_numbers() -> None:
    padded = samples.IPTC + bytes(-len(samples.IPTC) % 4)
    photo = replace(
        read_photo(samples.saved(Image.fromarray(samples.gradient()), "TIFF")), metadata=Metadata(iptc=padded)
    )
    stream = io.BytesIO()
    write_photo(photo, stream)
    assert read_photo(stream.getvalue()).metadata.iptc == samples.IPTC


def test_exif_in_a_png_text_as_imagemagick_writes_it() -> None:
    block = b"Exif\0\0" + samples.exif(6)
    text = f"\nexif\n{len(block):8}\n{block.hex()}\n"
    chunk = samples.png_chunk(b"tEXt", b"Raw profile type exif\0" + text.encode())
    photo = read_photo(samples.png16(samples.gradient(dtype=np.uint16), chunk))
    assert photo.size == (24, 32) and photo.metadata.exif is not None and photo.metadata.text == ()
