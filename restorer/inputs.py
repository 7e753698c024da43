"""Names from a command line to photographs: files, folders, patterns and standard input."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from restorer.errors import PhotoError, UsageError

STDIN = "-"
STDIN_NAME = "stdin"
"""Name of a photograph from standard input, in result folders."""

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Input:
    """One photograph that is to be read."""

    name: str
    """How messages and reports call it: the path, or ``-``."""
    relative: PurePath
    """Its path relative to the argument that named it: its place in a result folder."""
    source: Path | bytes
    """The file, or its bytes where it came through a pipe."""
    error: PhotoError | None = None
    """Why it is known already that it cannot be read."""

    @property
    def shown(self) -> str:
        """How messages call it."""
        return "standard input" if self.name == STDIN else self.name


def find_inputs(
    names: Iterable[str | Path],
    *,
    recursive: bool = False,
    exclude: Path | None = None,
    stdin: bytes | None = None,
    patterns: bool = True,
) -> list[Input]:
    """Find the photographs that names on a command line mean.

    A file is always taken, whatever its suffix. Of a folder, the files with a photograph's suffix are taken in natural
    order; hidden files and folders are not. A name that is no file but holds ``*``, ``?`` or ``[`` is a pattern, for
    shells that leave them as they are.

    Args:
        names: Files, folders, patterns, or ``-``.
        recursive: Look into folders within folders, too; links to folders are followed, once each.
        exclude: A result folder; where it lies within a named folder, what it holds is not taken.
        stdin: What standard input held, for ``-``.
        patterns: Expand patterns; false: every name is a path.

    Returns:
        The photographs in the order of the names, none twice at the same place. Those that are missing are among them
        and fail when they are read.

    Raises:
        UsageError: ``-`` is named more than once.
        PhotoError: No photograph at all.
    """
    given = [str(name) for name in names]
    if given.count(STDIN) > 1:
        raise UsageError("Standard input (-) can be named only once.")
    found: dict[tuple[str, PurePath], Input] = {}
    for name in given:
        for item in _find(name, recursive, exclude, stdin, patterns):
            if isinstance(item.source, bytes) or item.error is not None:
                place = item.name
            else:
                place = os.path.realpath(item.source)
            found.setdefault((place, item.relative), item)
    if not found:
        raise PhotoError(_none_found(given, recursive))
    return list(found.values())


def natural_key(path: PurePath) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Return a sort key that puts ``scan 2`` before ``scan 10``, and a folder's files beside each other."""
    return tuple(_natural(name) for name in path.parts)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    parts = [part for part in re.split(r"(\d+)", name) if part]
    keys = [(1, int(part), "") if part.isdecimal() else (2, 0, part.casefold()) for part in parts]
    # The name itself decides between "a01" and "a1", "A" and "a".
    return *keys, (0, 0, name)


def _find(name: str, recursive: bool, exclude: Path | None, stdin: bytes | None, patterns: bool) -> Iterator[Input]:
    if name == STDIN:
        yield Input(STDIN, PurePath(STDIN_NAME), stdin or b"")
        return
    path = Path(name)
    if "\0" in name:
        yield Input(name, PurePath("none"), path, PhotoError(f"Cannot read {name}: no file's name holds a zero byte."))
    elif path.is_dir():
        yield from _in_folder(path, recursive, exclude)
    elif patterns and _MAGIC.search(name) and not os.path.lexists(name):
        yield from _in_pattern(name, recursive, exclude)
    else:
        yield _file(name, path)


def _file(name: str, path: Path) -> Input:
    relative = PurePath(path.name or name)
    try:
        if not stat.S_ISFIFO(path.stat().st_mode):
            return Input(name, relative, path)
        # Pipes, as a shell's <(command) makes them, can be read only once.
        with path.open("rb") as stream:
            return Input(name, relative, drain(stream))
    except (OSError, ValueError):
        return Input(name, relative, path)  # reading says why


def drain(stream: BinaryIO) -> bytes:
    """Read a pipe to its end; of one that brings no photograph only the first bytes, by which reading says so."""
    from restorer.photo import read_stream

    return read_stream(stream)


def _in_pattern(pattern: str, recursive: bool, exclude: Path | None) -> Iterator[Input]:
    parts = Path(pattern).parts
    fixed = Path(*parts[: next(i for i, part in enumerate(parts) if _MAGIC.search(part))])
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes hidden files, which shells leave out
    matches = sorted(map(Path, found), key=natural_key)
    if not matches:
        missing = PhotoError(f"Cannot read {pattern}: no file matches it.")
        yield Input(pattern, PurePath("unmatched"), Path(pattern), missing)
    for match in matches:
        if match.is_dir():
            # "**" matches the folders on the way, too; what they hold is matched by itself.
            if "**" not in parts:
                yield from _in_folder(match, recursive, exclude)
        elif not _is_within(match, exclude):
            yield Input(str(match), match.relative_to(fixed), match)


def _in_folder(folder: Path, recursive: bool, exclude: Path | None) -> Iterator[Input]:
    from restorer.photo import SUFFIXES

    exclude = exclude if _is_strictly_within(exclude, folder) else None
    seen = {os.path.realpath(folder)}
    files: list[Path] = []
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            entries = list(os.scandir(current))
        except OSError as error:
            reason = PhotoError(f"Cannot read the folder {current}: {error.strerror or error}.")
            yield Input(str(current), current.relative_to(folder) / current.name, current, reason)
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if _leads_to_folder(entry):
                real = os.path.realpath(path)
                if recursive and real not in seen and not _is_within(path, exclude):
                    seen.add(real)
                    waiting.append(path)
            elif path.suffix.lower() in SUFFIXES and (entry.is_symlink() or entry.is_file()):
                files.append(path)
    for path in sorted(files, key=lambda file: natural_key(file.relative_to(folder))):
        yield Input(str(path), path.relative_to(folder), path)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: reading it says so
        return False


def _is_within(path: Path, folder: Path | None) -> bool:
    if folder is None:
        return False
    real, outer = os.path.realpath(path), os.path.realpath(folder)
    return real == outer or real.startswith(outer.rstrip(os.sep) + os.sep)


def _is_strictly_within(path: Path | None, folder: Path) -> bool:
    return path is not None and _is_within(path, folder) and os.path.realpath(path) != os.path.realpath(folder)


def _none_found(names: list[str], recursive: bool) -> str:
    if not names:
        return "There are no photographs to restore: no name was given."
    where = f"{names[0]} holds" if len(names) == 1 else f"These {len(names)} folders hold"
    advice = "" if recursive else "; -r looks into the folders within, too"
    return f"{where} no photographs{advice}."


def read_names(data: bytes, *, null: bool = False) -> list[str]:
    """Split a list of names: one a line, or separated by zero bytes; empty ones are left out.

    Raises:
        UsageError: Names in lines hold zero bytes.
    """
    if not null and b"\0" in data:
        raise UsageError("The list of names holds zero bytes, as find -print0 writes them: give -0, too.")
    parts = data.split(b"\0") if null else re.split(rb"\r?\n", data)
    return [os.fsdecode(part) for part in parts if part]
