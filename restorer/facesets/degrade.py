"""Damage whole sets of pictures with the code that training and evaluation use."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restorer.errors import PhotoError, UsageError
from restorer.evaluation.pictures import PictureSet, open_pictures, srgb_pixels
from restorer.facesets.writing import ARCHIVE, MANIFEST, Sink, open_sink, png, refuse_inputs
from restorer.outputs import make_folder
from restorer.photo import SUFFIXES, Metadata, Photo, format_of, read_photo, write_photo
from restorer.training.damage.presets import PRESETS, Damaged, damage

Notify = Callable[[str], None]


@dataclass(frozen=True)
class DegradeRequest:
    """What is to be damaged, how, and where the results go."""

    source: Path
    """A picture, a folder of pictures (and those within), or a zip archive of them."""
    output: Path
    """A folder or a .zip archive; for a single picture, a picture's name, too."""
    preset: str = "paper"
    seed: int = 0
    truth: Path | None = None
    """Where what a restorer is to make of each picture goes, of the same kind as ``output``; None: nowhere."""

    def __post_init__(self) -> None:
        """Check what needs no look at the pictures.

        Raises:
            UsageError: The preset is unknown, or a result would lie where an original does.
        """
        if self.preset not in PRESETS:
            raise UsageError(f"There is no preset {self.preset!r}: choose {', '.join(PRESETS)}.")
        refuse_inputs(self.outputs, self.source)

    @property
    def outputs(self) -> list[Path]:
        """All places that are written to."""
        return [self.output, *([] if self.truth is None else [self.truth])]


@dataclass(frozen=True)
class Count:
    """What became of the pictures."""

    damaged: int
    failed: int


def degrade(
    request: DegradeRequest, notify: Notify, advance: Callable[[int, int], None] = lambda done, all: None
) -> Count:
    """Damage every picture; one that cannot be read is told of and left out.

    A picture's damage depends on its relative name without suffix, the preset and the seed, and on nothing else:
    ``restorer evaluate --degrade`` with the same makes the same. Results are PNG, 8 bits, sRGB.

    Args:
        request: What to do.
        notify: Gets a sentence about each picture that fails.
        advance: Gets the number of pictures done, and of all.

    Raises:
        PhotoError: There is no picture, or none that can be read.
        UsageError: One name cannot hold many pictures.
        OutputError: A result cannot be written.
    """
    if request.source.is_file() and request.source.suffix.lower() != ARCHIVE:
        return _degrade_one(request)
    pictures = open_pictures(request.source)
    for output in request.outputs:
        if output.suffix.lower() in SUFFIXES and not output.is_dir():
            raise UsageError(
                f"{output} names one picture, and {request.source} holds {len(pictures.files)}: give a folder or a "
                "zip archive."
            )
    with ExitStack() as ending:
        sinks = [ending.enter_context(open_sink(output)) for output in request.outputs]
        return _degrade_set(pictures, sinks, request, notify, advance)


def _degrade_set(
    pictures: PictureSet,
    sinks: Sequence[Sink],
    request: DegradeRequest,
    notify: Notify,
    advance: Callable[[int, int], None],
) -> Count:
    done: list[str] = []
    first: PhotoError | None = None
    for number, stem in enumerate(pictures.files, start=1):
        try:
            result = damage(pictures.read(stem), stem, request.preset, request.seed)
        except PhotoError as error:
            first = first or error
            notify(str(error))
        else:
            _write(sinks, f"{stem}.png", result)
            done.append(stem)
        advance(number, len(pictures.files))
    if not done:
        assert first is not None
        raise first
    if rows := list(_manifest_rows(request.source, set(done))):
        for sink in sinks:
            sink.add_manifest(rows)
    return Count(len(done), len(pictures.files) - len(done))


def _write(sinks: Sequence[Sink], name: str, result: Damaged) -> None:
    for sink, pixels in zip(sinks, (result.pixels, result.truth), strict=False):
        sink.add(name, png(pixels))


def _manifest_rows(source: Path, done: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a set of aligned faces, by their new names; what is no such set has none."""
    try:
        if source.is_dir():
            text = (source / MANIFEST).read_bytes()
        else:
            with zipfile.ZipFile(source) as archive:
                text = archive.read(MANIFEST)
        rows = json.loads(text)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("file"), str):
            stem = str(Path(row["file"]).with_suffix("").as_posix())
            if stem in done:
                yield row | {"file": f"{stem}.png"}


def _degrade_one(request: DegradeRequest) -> Count:
    """Damage a single picture, whose name alone counts."""
    source = request.source
    photo = read_photo(source)
    result = damage(srgb_pixels(photo), source.stem, request.preset, request.seed)
    for output, pixels in zip(request.outputs, (result.pixels, result.truth), strict=False):
        if output.suffix.lower() == ARCHIVE or output.is_dir() or output.suffix.lower() not in SUFFIXES:
            with open_sink(output) as sink:
                sink.add(f"{source.stem}.png", png(pixels))
        else:
            make_folder(output.parent)
            write_photo(Photo(pixels, None, False, "PNG", Metadata()), output, format=format_of(output))
    return Count(1, 0)
