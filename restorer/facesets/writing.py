"""Where a set of pictures is written to: a zip archive that appears whole or not at all, or a folder."""

from __future__ import annotations

import json
import os
import secrets
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.errors import OutputError, UsageError
from restorer.outputs import make_folder
from restorer.photo.write import write_bytes

MANIFEST = "manifest.json"
ARCHIVE = ".zip"
Rows = Sequence[Mapping[str, Any]]


class Sink(ABC):
    """Takes the files of a set one after the other."""

    @abstractmethod
    def add(self, name: str, data: bytes) -> None:
        """Write a file.

        Args:
            name: Relative, with forward slashes.
            data: What it holds.

        Raises:
            OutputError: It cannot be written.
        """

    def add_manifest(self, rows: Rows) -> None:
        """Write the set's manifest, one row a line; see :meth:`add`."""
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        self.add(MANIFEST, f"[\n{lines}\n]\n".encode("utf-8", "surrogateescape"))


class FolderSink(Sink):
    """Writes into a folder, each file whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, data: bytes) -> None:
        """Write a file and the folders it lies in."""
        path = self._folder / PurePosixPath(name)
        make_folder(path.parent)
        write_bytes(data, path)


class ArchiveSink(Sink):
    """Writes into a zip archive under a temporary name."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path

    def add(self, name: str, data: bytes) -> None:
        """Append a file; pictures are compressed already, so they are stored as they are."""
        packed = zipfile.ZIP_DEFLATED if name == MANIFEST else zipfile.ZIP_STORED
        entry = zipfile.ZipInfo(name)  # dated 1980, so that equal sets are equal files
        entry.compress_type, entry.external_attr = packed, 0o644 << 16
        try:
            self._archive.writestr(entry, data)
        except OSError as error:
            raise _unwritable(self._path, error) from error


@contextmanager
def open_sink(path: Path) -> Iterator[Sink]:
    """Open a zip archive, where the name ends in .zip, or a folder, for writing.

    An archive lies under a temporary name beside its own until all is done, and takes the place of an older one then.

    Raises:
        OutputError: It cannot be written.
    """
    if path.suffix.lower() != ARCHIVE:
        make_folder(path)
        yield FolderSink(path)
        return
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a folder.")
    make_folder(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with ExitStack() as ending:
        with _reporting(path):
            stream = ending.enter_context(part.open("xb"))
        ending.callback(part.unlink, missing_ok=True)
        archive = zipfile.ZipFile(stream, "w")
        ending.callback(_give_up, archive)
        yield ArchiveSink(archive, path)
        with _reporting(path):
            archive.close()
            stream.flush()
            os.fsync(stream.fileno())
            part.replace(path)


def _give_up(archive: zipfile.ZipFile) -> None:
    """Close an archive that may be broken; one that is closed stays as it is."""
    with suppress(OSError, ValueError):
        archive.close()


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {path}: {error.strerror or error}; nothing is left of it.")


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return H×W×3 RGB uint8 as a PNG file."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not done:
        raise ValueError(f"a picture of shape {pixels.shape} cannot be coded as PNG")
    return data.tobytes()


def refuse_inputs(outputs: Sequence[Path], source: Path) -> None:
    """Refuse to write where the pictures come from, or to one place twice.

    Raises:
        UsageError: An output is the source, lies within its folder, or is another output.
    """
    origin = source.resolve()
    places = [output.resolve() for output in outputs]
    for number, (output, place) in enumerate(zip(outputs, places, strict=True)):
        # an archive in a folder of pictures is none of them
        within = origin in place.parents and output.suffix.lower() != ARCHIVE
        if place == origin or within:
            raise UsageError(
                f"{output} is {source} or lies in it, and originals are never written to: choose another place."
            )
        if place in places[:number]:
            raise UsageError(f"{output} would be written to twice: give the outputs different names.")
