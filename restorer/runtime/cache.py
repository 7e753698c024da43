"""Networks kept in OpenVINO's format in the per-user cache, so that the next run needs no torch.

One folder per network: ``network.xml`` and ``network.bin`` as OpenVINO writes them, and ``entry.json`` with the
contract and the checksums. A folder appears whole (renamed into place) or not at all. What cannot be read back is made
anew, and where the cache folder cannot be written, everything works without it, only slower to start.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from restorer.contract import NetworkContract
from restorer.weights.folders import user_cache

_FORMAT = 1
"""Raised when the layout of an entry changes."""
_LOCK_TIMEOUT = 600.0
"""Seconds to wait for another process that converts the same network."""
_XML, _BIN, _ENTRY = "network.xml", "network.bin", "entry.json"


class CorruptEntryError(Exception):
    """Thrown where a cached network is there but not whole; never leaves this folder's modules."""


@dataclass(frozen=True)
class CachedNetwork:
    """A network in the cache, checked."""

    xml: Path
    """OpenVINO's description; the weights lie beside it."""
    contract: NetworkContract
    """What the network expects and gives."""


@dataclass(frozen=True)
class NetworkCache:
    """The place of one network in the cache.

    Precision is no part of it: the saved network holds float32 weights and gets its precision when it is compiled.
    """

    folder: Path
    """The entry; it need not exist."""

    @classmethod
    def of(cls, weights_sha256: str) -> NetworkCache:
        """Return the place for a weight file's network, made with this program and this OpenVINO."""
        made_with = hashlib.sha256("\n".join([str(_FORMAT), _version("openvino"), _source_fingerprint()]).encode())
        return cls(user_cache() / "compiled" / f"{weights_sha256[:32]}-{made_with.hexdigest()[:16]}")

    def read(self) -> CachedNetwork | None:
        """Return the network, or None where there is none.

        Raises:
            CorruptEntryError: It is there but damaged.
        """
        if not self.folder.exists():
            return None
        try:
            entry = json.loads((self.folder / _ENTRY).read_text(encoding="utf-8"))
            stamps = entry.get("stamps", {})
            for name, checksum in entry["crc32"].items():
                file = self.folder / name
                # unchanged since it was written, a file is not read twice
                if stamps.get(name) != _stamp(file) and _checksum(file) != checksum:
                    raise CorruptEntryError(f"{name} changed")
            return CachedNetwork(self.folder / _XML, NetworkContract.from_dict(entry["contract"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptEntryError(str(error)) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[bool]:
        """Keep other processes from making the same entry; gives False where nothing can be written here."""
        # not before: a network that lies there already needs no lock
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder.with_suffix(".lock"))
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_LOCK_TIMEOUT)
        except (OSError, Timeout, NotImplementedError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Give an empty folder beside the entry; it is removed at the end unless :meth:`publish` took it."""
        part = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=f".{self.folder.name}."))
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def publish(self, part: Path, contract: NetworkContract) -> CachedNetwork:
        """Turn a folder with ``network.xml`` and ``network.bin`` into the entry, and drop the entries it replaces.

        Raises:
            OSError: It cannot be written.
        """
        entry = {
            "contract": contract.to_dict(),
            "crc32": {name: _checksum(part / name) for name in (_XML, _BIN)},
            "stamps": {name: _stamp(part / name) for name in (_XML, _BIN)},
        }
        (part / _ENTRY).write_text(json.dumps(entry, indent=1), encoding="utf-8")
        self._drop_older()
        part.replace(self.folder)
        return CachedNetwork(self.folder / _XML, contract)

    def _drop_older(self) -> None:
        """Remove the same weights' entries of other versions, and a damaged one: each is as large as the weights."""
        weights = self.folder.name.partition("-")[0]
        for folder in self.folder.parent.glob(f"{weights}-*"):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _source_fingerprint() -> str:
    """Name all that decides what a converted network looks like, so that a change of it makes new entries."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    files = ("checkpoints/architectures.py", "runtime/openvino_library.py")
    for file in (*(package / name for name in files), *sorted((package / "networks").glob("*.py"))):
        digest.update(file.read_bytes())
    return " ".join([digest.hexdigest(), *map(_version, ("torch", "facexlib", "spandrel"))])


def _version(package: str) -> str:
    # as importlib.metadata finds it, which takes longer to load than all these are to look up
    for folder in sys.path:
        for found in Path(folder).glob(f"{package}-*.dist-info"):
            return found.name.removesuffix(".dist-info").partition("-")[2]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _stamp(file: Path) -> list[int]:
    """Return what changes with a file's contents: its size and times (its folder's renaming changes none of them)."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _checksum(file: Path) -> int:
    """Return a file's CRC-32: enough against damage, and three times as quick as a cryptographic hash."""
    checksum = 0
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
