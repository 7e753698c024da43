"""Find the faces of many photographs, keep the good ones, and write them aligned, as training wants them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from restorer.errors import PhotoError, UsageError
from restorer.faces import AlignedFace, Face
from restorer.facesets.judge import Criteria, Measures, measure, points_in_crop
from restorer.facesets.photographs import Photograph, find_photographs, held_out
from restorer.facesets.writing import Sink, open_sink, png, refuse_inputs
from restorer.photo import Photo, read_photo, to_srgb
from restorer.pipeline.align import TEMPLATE_SIZE, GeometryError, align
from restorer.pipeline.networks import Find
from restorer.training.components import COMPONENTS, component_boxes

NO_FACE = "without a face"
AGAIN = "the same file again"
ODD_POINTS = "with points unlike a face's"
SIZES = (32, 2048)
"""Least and greatest side of the faces in pixels."""
Notify = Callable[[str], None]
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class PrepareRequest:
    """Which photographs are looked at, which faces are kept, and where they go."""

    sources: tuple[Path, ...]
    """Folders (and those within), zip archives, files."""
    output: Path
    """A .zip archive or a folder."""
    size: int = TEMPLATE_SIZE
    """Side of the faces in pixels."""
    criteria: Criteria = Criteria()
    validation: float = 0.0
    """Share of the people whose faces go to a set of their own."""

    def __post_init__(self) -> None:
        """Check what needs no look at the photographs.

        Raises:
            UsageError: Something is out of range, or a set would lie where photographs do.
        """
        least, greatest = SIZES
        if not least <= self.size <= greatest:
            raise UsageError(f"Faces of {self.size} pixels cannot be made: give a size of {least} to {greatest}.")
        if not 0 <= self.validation < 1:
            raise UsageError(f"The share for validation is {self.validation}: give 0 to less than 1, such as 0.05.")
        for source in self.sources:
            refuse_inputs([self.output, self.validation_output], source)

    @property
    def validation_output(self) -> Path:
        """Where the faces of the people who are held out go."""
        return self.output.with_name(f"{self.output.stem}-val{self.output.suffix}")


@dataclass
class Tally:
    """What became of everything."""

    photographs: int = 0
    unreadable: int = 0
    kept: dict[Path, int] = field(default_factory=dict)
    """Faces by the set they went to."""
    people: dict[Path, set[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    """Photographs and faces by the reason why they gave nothing."""

    @property
    def reasons(self) -> str:
        """Say how many were left out and why, the most frequent reason first."""
        unreadable = {"unreadable": self.unreadable} if self.unreadable else {}
        return ", ".join(f"{count} {reason}" for reason, count in (self.left_out + Counter(unreadable)).most_common())


def prepare(
    request: PrepareRequest, find: Find, notify: Notify = lambda text: None, advance: Advance = lambda done, total: None
) -> Tally:
    """Write the faces of all photographs that meet the criteria, one after the other, with a manifest.

    Args:
        request: What to do.
        find: The detector.
        notify: Gets a sentence about each photograph that cannot be read.
        advance: Gets the number of photographs done, and of all.

    Raises:
        PhotoError: There is no photograph, or no face that will do; nothing is written then.
        OutputError: A set cannot be written; nothing is left of it then.
    """
    photographs = find_photographs(request.sources)
    held = held_out([one.person for one in photographs], request.validation)
    tally = Tally(len(photographs))
    with ExitStack() as ending:
        sets = _Sets(ending, tally)
        for number, (photograph, photo) in enumerate(_read(photographs, tally, notify), start=1):
            output = request.validation_output if photograph.person in held else request.output
            for face in _faces(photo, find, request, tally) if photo else ():
                sets.add(output, photograph, face)
            advance(number, len(photographs))
        if request.output not in tally.kept:
            raise PhotoError(_nothing(request, tally))
        sets.finish()
    return tally


def _read(photographs: Sequence[Photograph], tally: Tally, notify: Notify) -> Iterator[tuple[Photograph, Photo | None]]:
    """Yield every photograph with its pixels, or None; the next one is read while the last one is worked on."""
    seen: set[bytes] = set()

    def read(photograph: Photograph) -> Photo | str | PhotoError:
        try:
            data = photograph.data()
            digest = hashlib.sha256(data).digest()
            if digest in seen:
                return AGAIN
            seen.add(digest)
            return read_photo(data, name=photograph.shown)
        except PhotoError as error:
            return error

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(read, photographs[0])
        for photograph, following in zip(photographs, [*photographs[1:], None], strict=True):
            result = coming.result()
            if following is not None:
                coming = pool.submit(read, following)
            if isinstance(result, PhotoError):
                tally.unreadable += 1
                notify(str(result))
            elif isinstance(result, str):
                tally.left_out[result] += 1
            yield photograph, result if isinstance(result, Photo) else None


@dataclass(frozen=True)
class _Kept:
    crop: AlignedFace
    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    measures: Measures


def _faces(photo: Photo, find: Find, request: PrepareRequest, tally: Tally) -> Iterator[_Kept]:
    """Yield the faces of a photograph that will do."""
    faces = find(photo.pixels)
    if not faces:
        tally.left_out[NO_FACE] += 1
    for face in faces:
        try:
            judged = align(photo.pixels, face, TEMPLATE_SIZE)
        except GeometryError:
            tally.left_out[ODD_POINTS] += 1
            continue
        measures = measure(judged, photo.size)
        if reason := measures.failing(request.criteria):
            tally.left_out[reason] += 1
            continue
        yield _cut(photo, face, judged, measures, request.size)


def _cut(photo: Photo, face: Face, judged: AlignedFace, measures: Measures, size: int) -> _Kept:
    crop = judged if size == TEMPLATE_SIZE else align(photo.pixels, face, size)
    pixels = np.clip(np.rint(to_srgb(crop.crop, photo.metadata.icc)), 0, 255).astype(np.uint8)
    return _Kept(crop, pixels, measures)


class _Sets:
    """The sets that are written, each opened with its first face."""

    def __init__(self, ending: ExitStack, tally: Tally) -> None:
        self._ending, self._tally = ending, tally
        self._sinks: dict[Path, Sink] = {}
        self._rows: dict[Path, list[dict[str, Any]]] = {}
        self._names: set[str] = set()

    def add(self, output: Path, photograph: Photograph, face: _Kept) -> None:
        if output not in self._sinks:
            self._sinks[output] = self._ending.enter_context(open_sink(output))
            self._rows[output] = []
        name = self._name(photograph)
        self._sinks[output].add(name, png(face.pixels))
        self._rows[output].append(_row(name, photograph, face))
        self._tally.kept[output] = self._tally.kept.get(output, 0) + 1
        self._tally.people.setdefault(output, set()).add(photograph.person)

    def finish(self) -> None:
        for output, sink in self._sinks.items():
            sink.add_manifest(self._rows[output])

    def _name(self, photograph: Photograph) -> str:
        number = 0
        while (name := f"{photograph.relative}_{number:02d}.png") in self._names:
            number += 1
        self._names.add(name)
        return name


def _row(name: str, photograph: Photograph, face: _Kept) -> dict[str, Any]:
    """Describe a face. Training reads ``file`` and ``points``; the boxes are for other programs."""
    points = points_in_crop(face.crop)
    boxes = component_boxes(points, len(face.pixels))
    measures = face.measures
    return {
        "file": name,
        "person": photograph.person,
        "source": photograph.shown,
        "points": points.round(2).tolist(),
        "boxes": {part: box.round(2).tolist() for part, box in zip(COMPONENTS, boxes.astype(float), strict=True)},
        "size": round(measures.size, 1),
        "sharpness": round(measures.sharpness, 3),
        "cover": round(measures.cover, 3),
        "misfit": round(measures.misfit, 3),
        "score": round(measures.score, 4),
    }


def _nothing(request: PrepareRequest, tally: Tally) -> str:
    where = ", ".join(map(str, request.sources))
    if tally.kept:
        return f"All faces in {where} belong to people held out for validation: give a smaller --validation."
    return (
        f"No face in {where} will do for training ({tally.photographs} "
        f"photograph{'s' if tally.photographs != 1 else ''}: {tally.reasons}): give other photographs, or lower "
        "--min-size, --min-sharpness or --min-score."
    )
