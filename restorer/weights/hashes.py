"""SHA-256 of files, remembered between runs, and the notes that keep the hash of files nobody states one for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

from restorer.errors import WeightsError

CHUNK = 1 << 20
"""Bytes read at a time."""

HASH_LENGTH = 64
"""Hexadecimal digits of a SHA-256."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, lower-case hexadecimal.

    Raises:
        WeightsError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"the weight file {path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


class HashMemory:
    """Remembers the SHA-256 of files until they change, so that 350 MB are not hashed at every start.

    A file has changed when its size or one of its times has; the hash is then taken again. The memory is one small
    JSON file; where it cannot be read or written, files are hashed every time and nothing else happens.
    """

    def __init__(self, path: Path) -> None:
        """Use ``path`` as the memory; it is read at the first question."""
        self._path = path
        self._known: dict[str, list[object]] | None = None

    def sha256(self, path: Path, *, fresh: bool = False) -> str:
        """Return the SHA-256 of a file, from memory if the file has not changed and ``fresh`` is not asked for.

        Raises:
            WeightsError: The file cannot be read.
        """
        known = None if fresh else self.recall(path)
        if known is not None:
            return known
        before = _stamp(path)
        value = sha256_of(path)
        if before is not None and before == _stamp(path):
            self.remember(path, value)
        return value

    def recall(self, path: Path) -> str | None:
        """Return the remembered SHA-256 of an unchanged file, None if there is none."""
        entry = self._entries().get(_key(path))
        stamp = _stamp(path)
        if stamp is None or not isinstance(entry, list) or entry[:-1] != stamp or not isinstance(entry[-1], str):
            return None
        return entry[-1]

    def remember(self, path: Path, sha256: str) -> None:
        """Keep the SHA-256 of a file as it is now."""
        stamp = _stamp(path)
        if stamp is None:
            return
        self._known = None  # another process may have added to the memory since
        entries = self._entries()
        entries[_key(path)] = [*stamp, sha256]
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _replace_text(self._path, json.dumps(entries, indent=1))

    def _entries(self) -> dict[str, list[object]]:
        if self._known is None:
            try:
                values = json.loads(self._path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                values = {}
            self._known = values if isinstance(values, dict) else {}
        return self._known


def note_path(path: Path) -> Path:
    """Return where the SHA-256 first seen of a file is kept: beside it, ``<file>.sha256``."""
    return path.with_name(path.name + ".sha256")


def read_note(path: Path) -> str | None:
    """Return the SHA-256 noted for a file, None if there is no note.

    Raises:
        WeightsError: The note is there, but cannot be read.
    """
    note = note_path(path)
    try:
        text = note.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the note {note} cannot be read ({error}): delete it to take the hash of the file anew."
        ) from error
    value = (text.split() or [""])[0].lower()
    if not re.fullmatch(rf"[0-9a-f]{{{HASH_LENGTH}}}", value):
        raise WeightsError(f"the note {note} holds no SHA-256: delete it to take the hash of the file anew.")
    return value


def write_note(path: Path, sha256: str) -> bool:
    """Note the SHA-256 of a file beside it, as ``sha256sum -c`` reads it; return whether that was possible."""
    try:
        _replace_text(note_path(path), f"{sha256}  {path.name}\n")
    except OSError:
        return False
    return True


def _key(path: Path) -> str:
    return str(path.absolute())


def _stamp(path: Path) -> list[object] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _replace_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all, readable by whoever may read its folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
