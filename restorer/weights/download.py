"""Download of one weight file: mirrors in order, resumed, hashed on the way, by one process at a time, whole or not."""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import quote

from restorer.errors import DownloadError, UsageError, WeightsError
from restorer.weights.folders import MIRROR_VARIABLE
from restorer.weights.hashes import write_note
from restorer.weights.http import explain, is_web_address, open_url
from restorer.weights.partial import PartialFile, Progress
from restorer.weights.table import WeightFile

CHUNK = 1 << 18
"""Bytes read from the network at a time: small enough for a smooth bar, large enough for a fast line."""

MAX_BREAKS = 5
"""A transfer that keeps breaking off is taken up again this often, as long as each attempt brought something."""


class _UrlFailedError(Exception):
    """One address does not give the file; another may."""


class _BrokenOffError(Exception):
    """The transfer stopped before the end; what has arrived is kept."""


class Downloader:
    """The downloads of one run: after one connection failed it tries no other, so a run without network stays quick."""

    def __init__(self, *, notify: Callable[[str], None], progress: Progress | None = None) -> None:
        """Prepare; opens nothing.

        Args:
            notify: Takes a sentence for the user.
            progress: Called while bytes arrive.
        """
        self._notify = notify
        self._progress = progress
        self._unreachable: str | None = None

    def download(self, row: WeightFile, folder: Path) -> str | None:
        """Download a file into a folder.

        Another process that downloads the same file into the same folder is waited for.

        Returns:
            The SHA-256 of the file; None if another process has put it there meanwhile.

        Raises:
            DownloadError: No source gives the file, or the folder cannot take it.
            WeightsError: A source gives a file with another SHA-256 than the table's.
            UsageError: ``$RESTORER_WEIGHTS_MIRROR`` is no web address.
        """
        addresses = _addresses(row)
        if self._unreachable is not None:
            raise DownloadError(
                f"{row.name} was not downloaded, because an earlier connection failed: {self._unreachable}."
            )
        part = PartialFile(folder / row.file)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._locked(row, part.target):
                if part.target.is_file():
                    return None
                _check_space(row, part)
                return self._fetch(row, addresses, part)
        except OSError as error:  # the network's own are dealt with where they arise: this one is the disk's
            if error.errno == errno.ENOSPC:
                part.discard()
            raise DownloadError(
                f"{row.name} cannot be stored in {folder} ({error.strerror or error}): "
                "name a folder with room that can be written to, with --weights-dir or $RESTORER_WEIGHTS."
            ) from error

    def _locked(self, row: WeightFile, target: Path) -> AbstractContextManager[object]:
        """Take the lock of a file; the system frees it when its process ends, however it ends."""
        import filelock  # not before: what is on disk is found without it

        lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
        try:
            return lock.acquire(timeout=0)
        except filelock.Timeout:
            self._notify(f"another process is downloading {row.name}; waiting for it")
            return lock.acquire(poll_interval=0.1)

    def _fetch(self, row: WeightFile, addresses: tuple[str, ...], part: PartialFile) -> str:
        """Try the addresses in order; return the SHA-256 of the file, now under its final name."""
        reasons = []
        for url in addresses:
            try:
                sha256 = self._fetch_from(row, url, part)
            except _UrlFailedError as error:
                reasons.append(f"{url}: {error}")
                if self._unreachable is not None:
                    break
                continue
            part.finish()
            if row.sha256 is None:
                write_note(part.target, sha256)
                self._notify(f"nobody states a checksum for {row.name}; noted SHA-256 {sha256}")
            return sha256
        raise DownloadError(
            f"{row.name} cannot be downloaded ({'; '.join(reasons) or 'the table names no source'}): try again later, "
            f"or put the file into {part.target.parent} as {row.file}."
        )

    def _fetch_from(self, row: WeightFile, url: str, part: PartialFile) -> str:
        """Fetch the file from one address and check it; return its SHA-256."""
        resumed = _usable(row, part) > 0
        sha256 = self._transfer_whole(row, url, part)
        if row.sha256 in (None, sha256):
            return sha256
        part.discard()
        if resumed:  # the older bytes may have come from another source; a fresh start decides
            return self._fetch_from(row, url, part)
        raise WeightsError(
            f"{url} gave a file with SHA-256 {sha256} where {row.name} has {row.sha256}, so it was deleted: it is "
            "damaged or not what it claims to be; try again, or get the file from elsewhere."
        )

    def _transfer_whole(self, row: WeightFile, url: str, part: PartialFile) -> str:
        """Transfer until the file is whole, taking up a broken transfer where it stopped."""
        breaks = 0
        while True:
            before = part.size
            try:
                return self._transfer(row, url, part)
            except _BrokenOffError as error:
                breaks += 1
                if part.size <= before or breaks > MAX_BREAKS:
                    self._unreachable = f"{url} {error}"
                    raise _UrlFailedError(str(error)) from error

    def _transfer(self, row: WeightFile, url: str, part: PartialFile) -> str:
        """Fetch what is missing in one request; return the SHA-256 of the whole."""
        have = _usable(row, part)
        if have and have == row.size and row.sha256 is not None:  # cut off just before it got its final name
            return part.digest().hexdigest()
        with self._open(url, _range_headers(have, part.mark)) as response:
            start, total = _extent(response, have)
            if row.size is not None and total not in (None, row.size):
                raise _UrlFailedError(f"offers {total} bytes where {row.size} are expected")
            if start == 0:
                part.restart(_mark(response))
            return self._receive(row, response, part, start, row.size or total)

    def _open(self, url: str, headers: dict[str, str]) -> HTTPResponse:
        try:
            return open_url(url, headers)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
                return self._open(url, {})
            raise _UrlFailedError(explain(error)) from error
        except (OSError, http.client.HTTPException) as error:
            self._unreachable = f"{url}: {explain(error)}"
            raise _UrlFailedError(explain(error)) from error

    def _receive(
        self, row: WeightFile, response: HTTPResponse, part: PartialFile, start: int, total: int | None
    ) -> str:
        """Write the body of a response after the ``start`` bytes on disk, hashing and reporting on the way."""
        digest, done = part.digest(), start
        with part.append() as file:
            for chunk in _chunks(response):
                done += len(chunk)
                if total is not None and done > total:
                    raise _UrlFailedError(f"sends more than the {total} bytes expected")
                digest.update(chunk)
                file.write(chunk)
                if self._progress is not None:
                    self._progress(row.file, done, total)
        if total is not None and done < total:
            raise _BrokenOffError(f"broke off after {done} of {total} bytes")
        return digest.hexdigest()


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Give a body piece by piece.

    Raises:
        _BrokenOffError: The connection broke. One closed early by the server may end like a whole one: count the bytes.
    """
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"broke off ({explain(error)})") from error


def _addresses(row: WeightFile) -> tuple[str, ...]:
    """Return the addresses to try in order: the mirror named in the environment, then the table's."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror and not is_web_address(mirror):
        raise UsageError(f"${MIRROR_VARIABLE} is {mirror}: give an address that starts with https:// or http://.")
    addresses = (f"{mirror.rstrip('/')}/{quote(row.file)}", *row.urls) if mirror else row.urls
    return tuple(url for url in addresses if is_web_address(url))


def _usable(row: WeightFile, part: PartialFile) -> int:
    """Return how many bytes of an earlier attempt may be kept.

    Without a stated hash nothing would tell a mixture of two files, so then a server's mark must vouch for the bytes.
    """
    if (row.size is not None and part.size > row.size) or (row.sha256 is None and part.mark is None):
        return 0
    return part.size


def _range_headers(have: int, mark: str | None) -> dict[str, str]:
    """Ask for the rest after ``have`` bytes, and for the whole if the file's mark has changed (RFC 9110, 13.1.5)."""
    if not have:
        return {}
    return {"Range": f"bytes={have}-", **({"If-Range": mark} if mark else {})}


def _mark(response: HTTPResponse) -> str | None:
    """Return what a server knows the file's state by: a strong ETag, else the date of its last change."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _extent(response: HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return from which byte on a response holds the file, and the bytes of the whole file (None where unknown)."""
    length = response.headers.get("Content-Length", "")
    if response.status != http.client.PARTIAL_CONTENT:
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        raise _UrlFailedError("answers with another part of the file than asked for")
    return have, None if match[2] == "*" else int(match[2])


def _check_space(row: WeightFile, part: PartialFile) -> None:
    if row.size is not None and shutil.disk_usage(part.path.parent).free < row.size - part.size:
        raise OSError(errno.ENOSPC, f"{row.size / 1e6:.0f} MB do not fit")
