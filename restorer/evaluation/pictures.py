"""Sets of pictures: folders and zip archives, matched by relative name without suffix."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from restorer.errors import PhotoError, UsageError
from restorer.inputs import find_inputs, natural_key
from restorer.photo import SUFFIXES, Photo, peek, read_photo, to_srgb
from restorer.photo.values import to_8_bits

Pixels = NDArray[np.uint8]
NAMED = 3
"""How many files a message names where more are concerned."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one folder or archive, read one at a time."""

    path: Path
    files: Mapping[str, str]
    """Stem (relative path without suffix, with forward slashes) to the file's name in messages, in natural order."""
    _load: Callable[[str], Path | bytes] = field(repr=False, compare=False)

    def read(self, stem: str) -> Pixels:
        """Read a picture: upright, sRGB, 8 bits, transparency ignored.

        Raises:
            PhotoError: It cannot be read.
        """
        return srgb_pixels(read_photo(self._load(stem), name=self.files[stem]))

    def size(self, stem: str) -> tuple[int, int] | None:
        """Return width and height by the header; None where reading will say why it cannot be had."""
        try:
            return peek(self._load(stem), name=self.files[stem]).size
        except PhotoError:
            return None


def srgb_pixels(photo: Photo) -> Pixels:
    """Return a photograph's pixels in sRGB at 8 bits, without its transparency."""
    if photo.metadata.icc is None:
        return to_8_bits(photo.pixels)
    values = to_srgb(photo.pixels.astype(np.float32) / (257 if photo.depth == 16 else 1), photo.metadata.icc)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def open_pictures(path: Path) -> PictureSet:
    """List the pictures of a folder (and those within) or of a zip archive.

    Raises:
        PhotoError: There is no such folder or archive, or it holds no pictures.
        UsageError: Two files differ only in their suffix.
    """
    if path.is_dir():
        named = [(PurePosixPath(item.relative.as_posix()), item.name) for item in find_inputs([path], recursive=True)]
        return PictureSet(path, _by_stem(named), _from_folder(named))
    if not path.exists():
        raise PhotoError(f"Cannot read {path}: there is no such folder or zip archive.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(entry) for entry in archive.namelist() if _is_picture(PurePosixPath(entry))]
    except (OSError, zipfile.BadZipFile) as error:
        raise PhotoError(f"Cannot read {path}: it is neither a folder nor a whole zip archive.") from error
    if not names:
        raise PhotoError(f"{path} holds no pictures.")
    named = [(name, f"{path}/{name}") for name in sorted(names, key=natural_key)]
    return PictureSet(path, _by_stem(named), _from_zip(path, named))


def _is_picture(name: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
    return name.suffix.lower() in SUFFIXES and not hidden


def _stem(name: PurePosixPath) -> str:
    return name.with_suffix("").as_posix()


def _by_stem(named: Sequence[tuple[PurePosixPath, str]]) -> dict[str, str]:
    files: dict[str, str] = {}
    for name, shown in named:
        if _stem(name) in files:
            raise UsageError(f"{files[_stem(name)]} and {shown} differ only in their suffix: keep one of them.")
        files[_stem(name)] = shown
    return files


def _from_folder(named: Sequence[tuple[PurePosixPath, str]]) -> Callable[[str], Path | bytes]:
    paths = {_stem(name): Path(shown) for name, shown in named}
    return lambda stem: paths[stem]


def _from_zip(path: Path, named: Sequence[tuple[PurePosixPath, str]]) -> Callable[[str], Path | bytes]:
    entries = {_stem(name): (name.as_posix(), shown) for name, shown in named}

    def load(stem: str) -> bytes:
        entry, shown = entries[stem]
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.read(entry)
        except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError) as error:
            raise PhotoError(f"Cannot read {shown}: {error}.") from error

    return load


def check_names(sets: Sequence[PictureSet]) -> list[str]:
    """Return the stems that all sets hold, in the first set's order.

    Raises:
        UsageError: A set lacks a picture that another one holds; the message names the files.
    """
    first, *others = sets
    for other in others:
        for holder, lacking in ((first, other), (other, first)):
            missing = [name for stem, name in holder.files.items() if stem not in lacking.files]
            if missing:
                more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
                raise UsageError(
                    f"{lacking.path} has no picture for {', '.join(missing[:NAMED])}{more}: both must hold the same "
                    "relative names (suffixes may differ)."
                )
    return list(first.files)


def check_sizes(stems: Sequence[str], sets: Sequence[PictureSet], *, enlarged: PictureSet | None, factor: int) -> None:
    """Compare sizes by the files' headers, so that a mismatch is found before hours of work.

    Args:
        stems: What to look at.
        sets: Whose pictures must be of one size.
        enlarged: The set whose pictures may be smaller by the factor.
        factor: Of the enlargement to come.

    Raises:
        UsageError: Two pictures of one name differ in size; the message names both files.
    """
    for stem in stems:
        known = [(found, pictures) for pictures in sets if (found := pictures.size(stem)) is not None]
        for size, pictures in known[1:]:
            wanted, model = known[0]
            small = pictures is enlarged and (size[0] * factor, size[1] * factor) == wanted
            if size != wanted and not small:
                raise UsageError(
                    f"{pictures.files[stem]} is {size[0]}×{size[1]} where {model.files[stem]} is "
                    f"{wanted[0]}×{wanted[1]}: pictures of one name must be of one size."
                )
