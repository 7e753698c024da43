"""XMP packets: read safely, changed without losing what others wrote.

A packet is RDF in XML (ISO 16684-1). It comes from strangers: document types and entities are refused before parsing,
so nothing can expand or be fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.dom import minidom
from xml.parsers.expat import ExpatError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
NOTE = "http://ns.adobe.com/xmp/note/"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
RESTORER = "urn:restorer:provenance:1.0"
_XMLNS = "http://www.w3.org/2000/xmlns/"

# Properties that belong to pictures no longer in the file: thumbnails, gain maps, depth maps, video, split-off XMP.
_STALE = {(XMP, "Thumbnails"), (NOTE, "HasExtendedXMP")}
_STALE_NAMESPACES = {
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
}
_WIDTH = {(TIFF, "ImageWidth"), (EXIF, "PixelXDimension")}
_HEIGHT = {(TIFF, "ImageLength"), (EXIF, "PixelYDimension")}

_BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""A regular expression, compiled when it is needed: that takes longer than to load this module."""
_MAX_BYTES = 16 << 20

EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'.encode()


class XmpError(ValueError):
    """Thrown where a packet is not sound XMP."""


def cleaned(packet: bytes) -> bytes:
    """Return a packet that says orientation 1 and nothing of pictures that are gone.

    A packet that does so already is returned byte for byte.

    Raises:
        XmpError: The packet is damaged or unsafe.
    """
    document = _parse(packet)
    changed = False
    for node in list(_properties(document)):
        name = (node.namespaceURI, node.localName)
        if name in _STALE or node.namespaceURI in _STALE_NAMESPACES:
            _remove(node)
            changed = True
        elif name == (TIFF, "Orientation") and _text(node) != "1":
            _set_text(node, "1")
            changed = True
    return _serialise(document) if changed else packet


def resized(packet: bytes, size: tuple[int, int]) -> bytes:
    """Return a packet whose width and height properties, where it has them, say ``size``.

    Raises:
        XmpError: The packet is damaged or unsafe.
    """
    document = _parse(packet)
    changed = False
    for names, value in ((_WIDTH, str(size[0])), (_HEIGHT, str(size[1]))):
        for node in _properties(document):
            if (node.namespaceURI, node.localName) in names and _text(node) != value:
                _set_text(node, value)
                changed = True
    return _serialise(document) if changed else packet


def merged(packet: bytes | None, properties: dict[tuple[str, str, str], str]) -> bytes:
    """Return a packet with ``properties`` set and all others as they were.

    Args:
        packet: The packet to add to; None for a new one.
        properties: (namespace, preferred prefix, local name) to text.

    Raises:
        XmpError: The packet is damaged or unsafe.
    """
    document = _parse(packet if packet is not None else EMPTY)
    names = {(namespace, local) for namespace, _, local in properties}
    for node in list(_properties(document)):
        if (node.namespaceURI, node.localName) in names:
            _remove(node)
    first = _descriptions(document)
    rdf = _rdf(document)
    block = document.createElementNS(RDF, "rdf:Description")
    # Prefixes are declared here, for the packet may use them, or rdf's, otherwise.
    block.setAttributeNS(_XMLNS, "xmlns:rdf", RDF)
    block.setAttributeNS(RDF, "rdf:about", first[0].getAttributeNS(RDF, "about") if first else "")
    for (namespace, prefix, local), value in properties.items():
        block.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
        block.setAttributeNS(namespace, f"{prefix}:{local}", re.sub(_NOT_XML, "\N{REPLACEMENT CHARACTER}", value))
    rdf.appendChild(block)
    return _serialise(document)


def shortened(packet: bytes, limit: int) -> bytes:
    """Return a packet of at most ``limit`` bytes, its longest properties left out.

    Raises:
        XmpError: The packet is damaged or unsafe, or is too long even with no property left.
    """
    document = _parse(packet)
    result = _serialise(document)
    longest = sorted(_properties(document), key=lambda node: len(_markup(node)), reverse=True)
    for node in longest:
        if len(result) <= limit:
            break
        _remove(node)
        result = _serialise(document)
    if len(result) > limit:
        raise XmpError("the packet cannot be shortened")
    return result


def value(packet: bytes, namespace: str, local: str) -> str | None:
    """Return the text of a simple property, or None where the packet lacks it.

    Raises:
        XmpError: The packet is damaged or unsafe.
    """
    for node in _properties(_parse(packet)):
        if (node.namespaceURI, node.localName) == (namespace, local):
            return _text(node)
    return None


def _parse(packet: bytes) -> minidom.Document:
    if len(packet) > _MAX_BYTES:
        raise XmpError("the packet is too long")
    try:
        encoding = next((name for bom, name in _BOMS if packet.startswith(bom)), "utf-8-sig")
        text = packet.decode(encoding).strip("\0 \t\r\n\ufeff")
        text = re.sub(r"^<\?xml\s.*?\?>", "", text, flags=re.DOTALL)  # its encoding is no longer true
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise XmpError("the packet declares a document type")
        document = minidom.parseString(text.encode())
        _serialise(document)  # too deep a nesting shows here
        _rdf(document)
    except (ExpatError, UnicodeError, RecursionError, ValueError) as error:
        raise XmpError(f"the packet is no sound XML ({error})") from error
    return document


def _rdf(document: minidom.Document) -> minidom.Element:
    found = document.getElementsByTagNameNS(RDF, "RDF")
    if not found:
        raise XmpError("the packet holds no RDF")
    return found[0]


def _descriptions(document: minidom.Document) -> list[minidom.Element]:
    return [
        node
        for node in _rdf(document).childNodes
        if isinstance(node, minidom.Element) and (node.namespaceURI, node.localName) == (RDF, "Description")
    ]


def _properties(document: minidom.Document) -> Iterator[minidom.Attr | minidom.Element]:
    """Yield top-level properties, written as attributes or as elements."""
    for description in _descriptions(document):
        attributes = description.attributes
        for attribute in [attributes.item(i) for i in range(attributes.length)]:
            if isinstance(attribute, minidom.Attr) and attribute.namespaceURI not in (RDF, _XMLNS, None):
                yield attribute
        for node in list(description.childNodes):
            if isinstance(node, minidom.Element):
                yield node


def _remove(node: minidom.Attr | minidom.Element) -> None:
    if isinstance(node, minidom.Attr):
        if node.ownerElement is not None:
            node.ownerElement.removeAttributeNode(node)
    elif node.parentNode is not None:
        node.parentNode.removeChild(node)


def _text(node: minidom.Attr | minidom.Element) -> str:
    if isinstance(node, minidom.Attr):
        return node.value
    return "".join(child.data for child in node.childNodes if isinstance(child, minidom.Text)).strip()


def _set_text(node: minidom.Attr | minidom.Element, text: str) -> None:
    if isinstance(node, minidom.Attr):
        node.value = text
        return
    for child in list(node.childNodes):
        node.removeChild(child)
    document = node.ownerDocument
    if document is not None:
        node.appendChild(document.createTextNode(text))


def _markup(node: minidom.Attr | minidom.Element) -> str:
    return node.value if isinstance(node, minidom.Attr) else node.toxml()


def _serialise(document: minidom.Document) -> bytes:
    body = "".join(node.toxml() for node in document.childNodes if isinstance(node, minidom.Element))
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    return (begin + body + '\n<?xpacket end="w"?>').encode()
