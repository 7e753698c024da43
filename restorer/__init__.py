"""Restore faces in photographs with GFP-GAN: find, align, restore, paste back without a seam.

    from restorer import Restorer, RestoreOptions, Photo, read_photo, write_photo

    restorer = Restorer(RestoreOptions(upscale=2))
    result = restorer.restore(read_photo("photo.jpg"))
    write_photo(result.photo, "restored.jpg")

The names below are the public ones. Importing the package loads none of its libraries; each name loads what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from restorer.api import Restorer
    from restorer.errors import (
        DeviceError,
        DownloadError,
        ExitCode,
        OutOfMemoryError,
        OutputError,
        PhotoError,
        RestorerError,
        UsageError,
        WeightsError,
    )
    from restorer.faces import AlignedFace, Face, RestoredFace
    from restorer.options import RestoreOptions
    from restorer.outputs import OutputOptions
    from restorer.photo import Photo, read_photo, write_photo
    from restorer.pipeline.photo import Restoration
    from restorer.report import FaceReport, PhotoReport, Status, Summary

_HOMES = {
    "restorer.api": ("Restorer",),
    "restorer.errors": (
        "DeviceError",
        "DownloadError",
        "ExitCode",
        "OutOfMemoryError",
        "OutputError",
        "PhotoError",
        "RestorerError",
        "UsageError",
        "WeightsError",
    ),
    "restorer.faces": ("AlignedFace", "Face", "RestoredFace"),
    "restorer.options": ("RestoreOptions",),
    "restorer.outputs": ("OutputOptions",),
    "restorer.photo": ("Photo", "read_photo", "write_photo"),
    "restorer.pipeline.photo": ("Restoration",),
    "restorer.report": ("FaceReport", "PhotoReport", "Status", "Summary"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AlignedFace",
    "DeviceError",
    "DownloadError",
    "ExitCode",
    "Face",
    "FaceReport",
    "OutOfMemoryError",
    "OutputError",
    "OutputOptions",
    "Photo",
    "PhotoError",
    "PhotoReport",
    "Restoration",
    "RestoreOptions",
    "RestoredFace",
    "Restorer",
    "RestorerError",
    "Status",
    "Summary",
    "UsageError",
    "WeightsError",
    "__version__",
    "read_photo",
    "write_photo",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
