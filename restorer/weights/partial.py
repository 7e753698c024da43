"""A download under way on disk: what has arrived, whose bytes they are, and the move to the final name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from restorer.weights.hashes import CHUNK

Progress = Callable[[str, int, "int | None"], None]
"""Called with the file's name, the bytes on disk so far and the bytes in all (None where unknown)."""


class PartialFile:
    """``<file>.part`` holds the bytes so far, ``<file>.part.json`` the mark by which a server knows the file again.

    The two stay when a download breaks off, so that the next one fetches only the rest.
    """

    def __init__(self, target: Path) -> None:
        """Stand for the download of ``target``; touches nothing."""
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.mark_path = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def mark(self) -> str | None:
        """The server's mark of the file's state (a strong ETag or a date), None where it gave none."""
        try:
            value = json.loads(self.mark_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, str) else None

    def restart(self, mark: str | None) -> None:
        """Empty the file for bytes of a new state."""
        self.path.write_bytes(b"")
        self.mark_path.write_text(json.dumps(mark), encoding="utf-8")

    def digest(self) -> hashlib._Hash:
        """Return the SHA-256 under way over the bytes that have arrived."""
        digest = hashlib.sha256()
        if self.size:
            with self.path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
        return digest

    def append(self) -> BinaryIO:
        """Open for adding bytes at the end."""
        return self.path.open("ab")

    def finish(self) -> None:
        """Give the whole file its final name, once its bytes have reached the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(self.target)
        self.mark_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete what has arrived."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.mark_path.unlink(missing_ok=True)
