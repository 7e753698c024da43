"""Photographs: files in, values through the pipeline, files out; with everything a file says besides its pixels."""

from restorer.photo.colour import from_srgb, to_srgb
from restorer.photo.metadata import DIGITAL_SOURCE, Metadata, with_provenance
from restorer.photo.read import peek, read_photo
from restorer.photo.source import read_stream
from restorer.photo.values import (
    FORMAT_CHOICES,
    FORMATS,
    MAX_MEGAPIXELS,
    SUFFIXES,
    Header,
    Photo,
    format_of,
    png_reason,
    result_format,
    result_name,
)
from restorer.photo.write import MIN_QUALITY, check_size, fit_format, write_bytes, write_photo

__all__ = [
    "DIGITAL_SOURCE",
    "FORMATS",
    "FORMAT_CHOICES",
    "MAX_MEGAPIXELS",
    "MIN_QUALITY",
    "SUFFIXES",
    "Header",
    "Metadata",
    "Photo",
    "check_size",
    "fit_format",
    "format_of",
    "from_srgb",
    "peek",
    "png_reason",
    "read_photo",
    "read_stream",
    "result_format",
    "result_name",
    "to_srgb",
    "with_provenance",
    "write_bytes",
    "write_photo",
]
