"""What happened to each photograph: one report a photograph, one JSON object a line, and the counts of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from restorer.errors import ExitCode, RestorerError

if TYPE_CHECKING:
    from restorer.faces import Face

SCHEMA = 1
"""Version of the JSON object; raised when a key changes its meaning or goes."""


class Status(str, Enum):
    """How a photograph ended."""

    RESTORED = "restored"
    """At least one face was restored, and the result is written."""
    UNCHANGED = "unchanged"
    """The result is written, but carries no restored face."""
    SKIPPED = "skipped"
    """Nothing was done, as asked for."""
    FAILED = "failed"
    """No result."""


@dataclass(frozen=True)
class FaceReport:
    """A face that was found."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the oriented photograph."""
    score: float
    """The detector's confidence, 0 to 1."""
    landmarks: tuple[tuple[float, float], ...]
    """Five points x, y, in the order of :class:`restorer.faces.Point`."""
    restored: bool
    reason: str | None = None
    """Why it was left alone; None if it was not, or if it would be restored but for a dry run."""
    identity: float | None = None
    """Degrees between the original's and the restored face's ArcFace features; None where it was not measured."""

    @classmethod
    def of(cls, face: Face, *, restored: bool, reason: str | None = None, identity: float | None = None) -> FaceReport:
        """Describe a face."""
        x0, y0, x1, y1 = (float(value) for value in face.box)
        points = tuple((float(x), float(y)) for x, y in face.landmarks)
        return cls((x0, y0, x1, y1), float(face.score), points, restored, reason, identity)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, coordinates to a hundredth of a pixel; ``identity`` only where measured."""
        return {
            "box": [round(value, 2) for value in self.box],
            "score": round(self.score, 4),
            "landmarks": [[round(x, 2), round(y, 2)] for x, y in self.landmarks],
            "restored": self.restored,
            "reason": self.reason,
            **({} if self.identity is None else {"identity": round(self.identity, 2)}),
        }


@dataclass(frozen=True)
class ModelReport:
    """The face model that painted the restored faces."""

    name: str
    sha256: str
    fallback: bool
    """The bundled network stood in for a better one that could not be had."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"name": self.name, "sha256": self.sha256, "fallback": self.fallback}


@dataclass(frozen=True)
class PhotoReport:
    """What happened to one photograph."""

    input: str
    """The name it was given by; ``-`` for standard input."""
    status: Status
    reason: str | None = None
    """Why it ended as it did; None for restored."""
    output: str | None = None
    """Where the result lies; ``-`` for standard output; None where there is none."""
    comparison: str | None = None
    """Where the comparison lies."""
    size_in: tuple[int, int] | None = None
    """Width and height; None where it could not be read."""
    size_out: tuple[int, int] | None = None
    faces: tuple[FaceReport, ...] = ()
    """All faces found, from left to right."""
    model: ModelReport | None = None
    """None where no face went through a network."""
    upscale: float = 1.0
    bg_upsampler: str = "none"
    mask: str | None = None
    """What drew the faces' masks: ``bisenet``, ``points``, both joined by a comma; None where nothing was pasted."""
    device: str | None = None
    precision: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by step."""
    warnings: tuple[str, ...] = ()
    error: Exception | None = field(default=None, compare=False, repr=False)
    """What ended a failed photograph, without its traceback; not part of the JSON object."""
    trace: str | None = field(default=None, compare=False, repr=False)
    """The error's traceback as Python prints it; not part of the JSON object."""

    @property
    def restored_faces(self) -> int:
        """Number of faces that were restored."""
        return sum(face.restored for face in self.faces)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of a run of this photograph alone."""
        if self.status is not Status.FAILED:
            return ExitCode.OK
        return self.error.exit_code if isinstance(self.error, RestorerError) else ExitCode.INTERNAL

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in the order of the documented schema."""
        return {
            "schema": SCHEMA,
            "input": self.input,
            "output": self.output,
            "comparison": self.comparison,
            "status": self.status.value,
            "reason": self.reason,
            "size_in": list(self.size_in) if self.size_in else None,
            "size_out": list(self.size_out) if self.size_out else None,
            "faces": [face.to_dict() for face in self.faces],
            "model": self.model.to_dict() if self.model else None,
            "upscale": self.upscale,
            "bg_upsampler": self.bg_upsampler,
            "mask": self.mask,
            "device": self.device,
            "precision": self.precision,
            "seconds": {step: round(value, 4) for step, value in self.seconds.items()},
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """Return one line of JSON, without its end; ASCII, so that any file name survives any terminal's encoding."""
        return json.dumps(self.to_dict(), ensure_ascii=True)


@dataclass
class Summary:
    """The counts of a run, and where its time went."""

    counts: dict[Status, int] = field(default_factory=lambda: dict.fromkeys(Status, 0))
    faces: int = 0
    """Restored faces of all photographs."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by step, added up over photographs; steps of different photographs run side by side."""
    failures: set[ExitCode] = field(default_factory=set)

    @classmethod
    def of(cls, reports: Iterable[PhotoReport]) -> Summary:
        """Count finished reports."""
        summary = cls()
        for report in reports:
            summary.add(report)
        return summary

    def add(self, report: PhotoReport) -> None:
        """Count one more photograph."""
        self.counts[report.status] += 1
        self.faces += report.restored_faces
        for step, value in report.seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + value
        if report.status is Status.FAILED:
            self.failures.add(report.exit_code)

    @property
    def photos(self) -> int:
        """Number of photographs counted."""
        return sum(self.counts.values())

    @property
    def exit_code(self) -> ExitCode:
        """The run's exit code.

        Where every photograph failed for the same kind of reason it is that reason's code (none readable: 3); where
        some failed, or for different reasons, it is 7.
        """
        if not self.failures:
            return ExitCode.OK
        if self.counts[Status.FAILED] == self.photos and len(self.failures) == 1:
            return next(iter(self.failures))
        return ExitCode.SOME_FAILED
