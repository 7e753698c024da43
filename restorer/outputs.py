"""Where results go: every name is known, and checked for clashes, before any work is done."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from restorer.errors import OutputError, PhotoError, UsageError
from restorer.inputs import Input

if TYPE_CHECKING:
    from restorer.photo import Header

    Source = Header | str | PhotoError

STDOUT = "-"
DEFAULT_FOLDER = "restored"
COMPARISONS = "comparisons"
FACES = "faces"
_JPEG_SUFFIXES = (".jpg", ".jpeg")
_PLAIN_FORMATS = frozenset({"JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "JPEG2000"})
"""Formats whose name alone decides the result's format; of the others, the header has a say."""
_PREFIX = 32
_FACE_NAME = re.compile(r"(.*)_\d{2,}\.png", re.DOTALL)


@dataclass(frozen=True)
class OutputOptions:
    """Where and how results are written."""

    output: str | Path = DEFAULT_FOLDER
    """A folder, a file's name with a photograph's suffix, or ``-`` for standard output."""
    compare: bool | None = None
    """Write before-and-after comparisons; None: with a folder only."""
    save_faces: bool = False
    """Write each face's crop beside its restoration."""
    format: str = "auto"
    """Format of the results by name (jpeg, png, tiff ...); auto: the input's own, where it can hold the result."""
    quality: int | None = None
    """Quality of lossy formats, 1 to 100; None: at least 92, or the input's own estimate if higher."""
    skip_existing: bool = False
    """Leave results that exist already as they are."""

    def __post_init__(self) -> None:
        """Check every field that can be checked by itself."""
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality} is out of range: give 1 to 100, or auto.")
        if str(self.output) == "":
            raise UsageError("-o needs the name of a folder or file, or - for standard output.")
        if "\0" in str(self.output):
            raise UsageError("-o holds a zero byte, and no file's name does.")
        if str(self.output) == STDOUT and (self.compare or self.save_faces):
            option = "--compare" if self.compare else "--save-faces"
            raise UsageError(f"{option} needs files to write, and -o - has none: give -o a folder or file.")


@dataclass(frozen=True)
class Job:
    """One photograph with the names of everything that is made of it."""

    input: Input
    output: Path | None = None
    """The result's file; None for standard output and where nothing is written."""
    to_stdout: bool = False
    """The result goes to standard output."""
    comparison: Path | None = None
    faces: Path | None = None
    """What the names of the faces' files begin with."""
    format: str | None = None
    """Pillow's name of the format the result is written in; None where the input cannot be read."""
    quality: int | None = None
    skip_existing: bool = False

    def face_path(self, number: int) -> Path | None:
        """Return the file for the face with this number, counted from 1; None where faces are not saved."""
        return None if self.faces is None else self.faces.with_name(f"{self.faces.name}_{number:02d}.png")

    @property
    def output_name(self) -> str | None:
        """How reports call the result."""
        return STDOUT if self.to_stdout else None if self.output is None else str(self.output)


def plan(inputs: Sequence[Input], options: OutputOptions) -> list[Job]:
    """Name everything a run will write.

    Only the first bytes of files are read, to learn their format; what cannot be read becomes a job that fails.

    Raises:
        UsageError: Two names clash, one is an input, or options do not go together.
        OutputError: The output cannot be written.
    """
    sources = [_source_of(item) for item in inputs]
    target = str(options.output)
    if target == STDOUT:
        if len(inputs) != 1:
            raise UsageError(f"-o - writes one photograph to standard output, and there are {len(inputs)}.")
        return [replace(_job(inputs[0], sources[0], options), to_stdout=True)]
    if _is_file_name(target):
        if len(inputs) != 1:
            raise UsageError(f"-o {target} names one file, and there are {len(inputs)} photographs: give a folder.")
        jobs = [_to_file(inputs[0], sources[0], Path(target), options)]
    else:
        folder = Path(target)
        jobs = [_to_folder(item, source, folder, options) for item, source in zip(inputs, sources, strict=True)]
    check_names(jobs)
    return jobs


def result_folder(output: str | Path) -> Path | None:
    """Return the folder that ``-o`` names, or None where it names a file or standard output."""
    target = str(output)
    return None if target == STDOUT or _is_file_name(target) else Path(target)


def check_names(jobs: Sequence[Job], others: Iterable[Path] = ()) -> None:
    """Refuse names that clash, that are inputs, or that cannot be written.

    Args:
        jobs: The run's jobs.
        others: Further files the run writes.

    Raises:
        UsageError: Two outputs share a name, or an output is an input.
        OutputError: An output is a folder, or has no folder to lie in.
    """
    originals = _identities(job.input.source for job in jobs if isinstance(job.input.source, Path))
    taken: dict[str, str] = {}
    for path, origin in [*_named(jobs), *((path, "the overview") for path in others)]:
        place = _folded(os.path.realpath(path))
        if place in taken:
            raise UsageError(
                f"{taken[place]} and {origin} would both be written to {path}: give them different names, or name the "
                "folder they are in (with -r for the folders within)."
            )
        taken[place] = origin
        identity = _identity(path)
        if identity in originals:
            raise UsageError(f"{path} is an input, and originals are never written to: choose another -o.")
    _check_face_names(jobs, taken)
    for folder in dict.fromkeys(path.parent for path, _ in [*_named(jobs), *((path, "") for path in others)]):
        _check_folder(folder)
    for path, _ in _named(jobs):
        if path.is_dir():
            raise OutputError(f"Cannot write {path}: it is a folder.")


def _job(item: Input, source: Source, options: OutputOptions) -> Job:
    if isinstance(source, PhotoError):
        return Job(replace(item, error=source))
    from restorer.photo import result_format

    choice = None if options.format == "auto" else options.format
    return Job(
        item, format=result_format(source, choice)[0], quality=options.quality, skip_existing=options.skip_existing
    )


def _to_file(item: Input, source: Source, path: Path, options: OutputOptions) -> Job:
    from restorer.photo import format_of, result_format

    name = format_of(path)
    if options.format != "auto":
        chosen, suffix = result_format("JPEG", options.format)
        if chosen != name:
            raise UsageError(f"-o {path} and --format {options.format} disagree: name the file {path.stem}{suffix}.")
    job = _job(item, source, options)
    return replace(
        job,
        output=path,
        comparison=path.with_name(f"{path.stem}.compare.jpg") if options.compare else None,
        faces=path.with_name(f"{path.stem}.face") if options.save_faces else None,
        format=name if job.format else None,
    )


def _to_folder(item: Input, source: Source, folder: Path, options: OutputOptions) -> Job:
    from restorer.photo import result_name

    job = _job(item, source, options)
    if isinstance(source, PhotoError):
        return job
    relative = result_name(Path(item.relative), source, None if options.format == "auto" else options.format)
    return replace(
        job,
        output=folder / relative,
        comparison=None if options.compare is False else folder / COMPARISONS / comparison_name(relative),
        faces=folder / FACES / relative if options.save_faces else None,
    )


def comparison_name(relative: PurePath) -> PurePath:
    """Return a comparison's name: the result's own, with ``.jpg`` added unless it is one already."""
    return relative if relative.suffix.lower() in _JPEG_SUFFIXES else relative.with_name(f"{relative.name}.jpg")


def _is_file_name(target: str) -> bool:
    from restorer.photo import SUFFIXES

    path = Path(target)
    return path.suffix.lower() in SUFFIXES and not path.is_dir() and not target.endswith(("/", os.sep))


def _source_of(item: Input) -> Source:
    """Return what decides an input's result format: its format's name or its header; or why it cannot be read."""
    from restorer.photo import peek
    from restorer.photo.codecs import sniff

    if item.error is not None:
        return item.error
    try:
        if isinstance(item.source, bytes):
            found = sniff(item.source[:_PREFIX])
        else:
            with item.source.open("rb") as stream:
                found = sniff(stream.read(_PREFIX))
    except (OSError, ValueError):
        found = None  # peek says why
    if found in _PLAIN_FORMATS:
        return found
    try:
        return peek(item.source, name=item.shown)
    except PhotoError as error:
        return error


def _named(jobs: Sequence[Job]) -> Iterator[tuple[Path, str]]:
    for job in jobs:
        if job.output is not None:
            yield job.output, job.input.shown
        if job.comparison is not None:
            yield job.comparison, f"the comparison of {job.input.shown}"


def _check_face_names(jobs: Sequence[Job], taken: dict[str, str]) -> None:
    """Refuse results and inputs that lie where faces will be written, whose number nobody knows yet."""
    prefixes = {_folded(os.path.realpath(job.faces)): job.input.shown for job in jobs if job.faces is not None}
    if not prefixes:
        return
    for place, origin in taken.items():
        match = _FACE_NAME.fullmatch(place)
        if match and match[1] in prefixes:
            raise UsageError(f"{origin} and the faces of {prefixes[match[1]]} would both be written to {place}.")
    for job in jobs:
        match = _FACE_NAME.fullmatch(_place_of(job.input))
        if match and match[1] in prefixes:
            raise UsageError(
                f"{job.input.shown} is an input and lies where the faces of {prefixes[match[1]]} go, and originals are "
                "never written to: choose another -o."
            )


def _place_of(item: Input) -> str:
    """Return where an input lies, or nothing for one that is no file."""
    if isinstance(item.source, bytes) or item.error is not None:
        return ""
    return _folded(os.path.realpath(item.source))


def _folded(path: str) -> str:
    # macOS' file systems do not tell A from a either, but its normcase does.
    return path.casefold() if sys.platform == "darwin" else os.path.normcase(path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _identities(paths: Iterable[Path]) -> set[tuple[int, int]]:
    return {identity for path in paths if (identity := _identity(path)) is not None}


def _check_folder(folder: Path) -> None:
    """Raise OutputError unless a folder exists and can be written to, or can be made."""
    present = folder
    while not os.path.lexists(present) and present != present.parent:
        present = present.parent
    if not present.is_dir():
        raise OutputError(f"Cannot write into {folder}: {present} is not a folder.")
    if not os.access(present, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write into {folder}: permission denied.")


def make_folder(folder: Path) -> None:
    """Make a folder and those it lies in, if need be.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {error.strerror or error}.") from error
