"""What flows through a stream: photographs at every stage, jobs yet to begin, and what ends a run."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

from restorer.errors import RestorerError
from restorer.outputs import Job
from restorer.photo import Photo
from restorer.pipeline import photo as steps
from restorer.report import PhotoReport

POLL = 0.5
"""Seconds between looks for an interrupt while waiting: on Windows a wait without end cannot be interrupted."""


@dataclass(frozen=True)
class Loading:
    """A photograph being read, and prepared where readers do that."""

    job: Job
    megapixels: float
    clock: steps.Clock
    work: Future[Photo | Computed]


@dataclass(frozen=True)
class Computed:
    """A photograph in the pool: prepared, or ended already."""

    job: Job
    megapixels: float
    prepared: steps.Prepared | None = None
    report: PhotoReport | None = None


@dataclass(frozen=True)
class Finishing:
    """A photograph being written, or ended."""

    megapixels: float
    report: Future[PhotoReport]


@dataclass
class Fate:
    """What ends a whole run, for every stream that has a part in it."""

    error: RestorerError | None = None
    """The first error that concerns every photograph."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self, error: RestorerError) -> None:
        """End the run with an error, unless another one did."""
        with self._lock:
            self.error = self.error or error


class Waiting:
    """Jobs yet to begin, taken from their source one at a time."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = iter(jobs)
        self._first: Job | None = None

    def __bool__(self) -> bool:
        return self.first() is not None

    def first(self) -> Job | None:
        """Return the next job and leave it there; None where there is none to begin now."""
        if self._first is None:
            self._first = next(self._jobs, None)
        return self._first

    def take(self) -> None:
        """Take the next job away."""
        self._first = None


class Stopped(Exception):  # noqa: N818 - no error
    """Ends a writer's work between two files after an interrupt."""


class Skipped(Exception):  # noqa: N818 - no error
    """Ends a photograph's way that is not to be gone; the message is the reason."""


def ended_with(report: PhotoReport) -> Future[PhotoReport]:
    """Return a report as if it had been waited for."""
    future: Future[PhotoReport] = Future()
    future.set_result(report)
    return future


def wait_for(future: Future[Any]) -> None:
    """Wait until something has ended, open to interrupts."""
    while not wait([future], timeout=POLL).done:
        pass
