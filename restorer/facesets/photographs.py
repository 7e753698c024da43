"""The photographs that faces are to be cut out of: files in folders and zip archives, each with whom it shows."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from restorer.errors import PhotoError
from restorer.facesets.writing import ARCHIVE, MANIFEST
from restorer.inputs import find_inputs, natural_key
from restorer.photo import SUFFIXES


@dataclass(frozen=True)
class Photograph:
    """A photograph that has not been read yet."""

    shown: str
    """How messages call it."""
    relative: PurePosixPath
    """Its path within the folder or archive."""
    person: str
    """Whom it shows, as far as is known: photographs of one person stay on one side of a split."""
    source: Path
    """The file, or the archive that holds it."""
    entry: str | None = None
    """Its name in the archive; None for a file."""

    def data(self) -> bytes:
        """Read the file's bytes.

        Raises:
            PhotoError: They cannot be read.
        """
        try:
            if self.entry is None:
                return self.source.read_bytes()
            with zipfile.ZipFile(self.source) as archive:
                return archive.read(self.entry)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError, EOFError) as error:
            raise PhotoError(f"Cannot read {self.shown}: {getattr(error, 'strerror', None) or error}.") from error
        except Exception as error:  # zlib's own
            raise PhotoError(f"Cannot read {self.shown}: {error}.") from error


def find_photographs(sources: Sequence[Path]) -> list[Photograph]:
    """List the photographs of folders (and those within), zip archives and files, each once.

    Whom a photograph shows is said by ``person`` in its row of a ``manifest.json`` (rows have ``file``, too) beside it,
    else by the folder it lies in, the outermost below the one that was named; else nobody knows, and it stands for
    itself.

    Raises:
        PhotoError: A source is missing or damaged, or there is no photograph at all.
    """
    found: dict[tuple[Path, str | None], Photograph] = {}
    for source in sources:
        for photograph in _within(source):
            found.setdefault((photograph.source.resolve(), photograph.entry), photograph)
    if not found:
        raise PhotoError(
            f"There is no photograph in {', '.join(map(str, sources))}: give a folder or zip that has some."
        )
    return list(found.values())


def _within(source: Path) -> Iterator[Photograph]:
    if source.is_dir():
        people = _people(source, _manifest_of_folder(source))
        for item in find_inputs([source], recursive=True):
            relative = PurePosixPath(item.relative.as_posix())
            yield Photograph(item.name, relative, _person(relative, people), Path(item.name))
    elif not source.exists():
        raise PhotoError(f"Cannot read {source}: there is no such file or folder.")
    elif source.suffix.lower() == ARCHIVE:
        yield from _in_archive(source)
    else:
        yield Photograph(str(source), PurePosixPath(source.name), source.name, source)


def _in_archive(source: Path) -> Iterator[Photograph]:
    try:
        with zipfile.ZipFile(source) as archive:
            names = sorted(map(PurePosixPath, archive.namelist()), key=natural_key)
            manifest = archive.read(MANIFEST) if PurePosixPath(MANIFEST) in names else None
    except Exception as error:  # a damaged archive makes several libraries raise
        raise PhotoError(f"Cannot read {source}: it is no whole zip archive ({error}).") from error
    people = _people(source, manifest)
    for name in names:
        hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
        if name.suffix.lower() in SUFFIXES and not hidden:
            relative = PurePosixPath(*(part for part in name.parts if part not in ("/", "..")))
            yield Photograph(f"{source}/{name}", relative, _person(relative, people), source, str(name))


def _manifest_of_folder(folder: Path) -> bytes | None:
    path = folder / MANIFEST
    try:
        return path.read_bytes() if path.exists() else None
    except OSError as error:
        raise PhotoError(f"Cannot read {path}: {error.strerror or error}.") from error


def _people(source: Path, manifest: bytes | None) -> dict[str, str]:
    """Return who the files of a manifest show."""
    if manifest is None:
        return {}
    try:
        rows = json.loads(manifest)
        return {
            PurePosixPath(str(row["file"])).as_posix(): str(row["person"])
            for row in rows
            if row.get("person") is not None
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PhotoError(
            f"The {MANIFEST} of {source} cannot be read ({error}): it is a JSON list of rows with file and person."
        ) from error


def _person(relative: PurePosixPath, people: dict[str, str]) -> str:
    if (known := people.get(relative.as_posix())) is not None:
        return known
    return relative.parts[0]  # the outermost folder, or the file itself


def held_out(people: Sequence[str], share: float) -> frozenset[str]:
    """Choose people who are left for validation: nearly this share of them, and at least one of several.

    The choice depends on each name by itself, so that whoever is held out stays so when the collection grows; where
    that leaves nobody, the one whose turn is nearest is taken.

    Args:
        people: Names, in any order; they may repeat.
        share: 0 to 1.
    """
    import hashlib

    def turn(person: str) -> float:
        digest = hashlib.sha256(person.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    names = sorted(set(people))
    chosen = frozenset(name for name in names if turn(name) < share)
    return chosen or (frozenset([min(names, key=turn)]) if share > 0 and len(names) > 1 else chosen)
