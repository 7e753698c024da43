"""What a run says on standard error: a line a photograph, a progress bar on a terminal, a summary."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from restorer.cli.boundary import one_line, say
from restorer.report import PhotoReport, Status, Summary

if TYPE_CHECKING:
    from tqdm import tqdm


class Talk:
    """Tells a user how a run goes. Used as a context manager around the run."""

    def __init__(self, photos: int, *, quiet: bool = False, verbose: bool = False) -> None:
        """Prepare.

        Args:
            photos: Number of photographs.
            quiet: Say nothing but errors.
            verbose: Say everything, with tracebacks.
        """
        self.summary = Summary()
        self._photos, self._quiet, self._verbose = photos, quiet, verbose
        self._bar: tqdm[NoReturn] | None = None
        self._told: set[Exception] = set()
        self._noted: set[str] = set()
        self._start = time.perf_counter()

    def __enter__(self) -> Talk:
        if not self._quiet and sys.stderr.isatty():
            from tqdm import tqdm

            unit, total = ("face", None) if self._photos == 1 else ("photo", self._photos)
            self._bar = tqdm(total=total, unit=unit, leave=False, file=sys.stderr, dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def note(self, sentence: str) -> None:
        """Say something worth knowing, unless the run is quiet."""
        self._noted.add(sentence)
        if not self._quiet:
            self._line(sentence)

    def detail(self, sentence: str) -> None:
        """Say something only the curious want to know."""
        if self._verbose:
            self._line(sentence)

    def faces(self, done: int, total: int) -> None:
        """Show how many faces of the photographs under way are restored."""
        if self._bar is None:
            return
        if self._photos == 1:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
        else:
            self._bar.set_postfix_str(f"face {done} of {total}")

    def tiles(self, done: int, total: int) -> None:
        """Show how many tiles of the background are enlarged."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"tile {done} of {total}")

    def photo(self, report: PhotoReport) -> None:
        """Count a photograph and say how it ended."""
        self.summary.add(report)
        if report.status is Status.FAILED:
            self._failed(report)
        elif not self._quiet:
            self._line(one_line(outcome(report)))
            for warning in report.warnings:
                if warning not in self._noted:
                    self._line(one_line(f"  {warning}"))
        if self._bar is not None and self._photos > 1:
            self._bar.update()

    def has_told(self, error: Exception) -> bool:
        """Return whether this very error has been shown as a photograph's."""
        return error in self._told

    def finish(self) -> None:
        """Say how many photographs ended how, and where the time went."""
        if not self._quiet:
            self._line(summary_line(self.summary, time.perf_counter() - self._start))

    def _failed(self, report: PhotoReport) -> None:
        if report.error is not None:
            if self.has_told(report.error):
                return  # not attempted, for a reason that stands above
            self._told.add(report.error)
        reason = report.reason or "failed"
        self._line(one_line(reason if report.input in reason else f"{report.input}: {reason}"))
        if self._verbose and report.trace is not None:
            self._line(report.trace)

    def _line(self, text: str) -> None:
        if self._bar is None:
            say(text)
            return
        with self._bar.external_write_mode(file=sys.stderr):
            say(text)


def outcome(report: PhotoReport) -> str:
    """Return the line that says how a photograph ended."""
    target = f" -> {report.output}" if report.output and report.status is not Status.SKIPPED else ""
    if report.status is Status.RESTORED:
        done, found = report.restored_faces, len(report.faces)
        count = f"{done} of {found} faces" if done < found else "1 face" if found == 1 else f"{found} faces"
        return f"{report.input}{target}: {count} restored"
    return f"{report.input}{target}: {report.status.value}, {report.reason}"


def summary_line(summary: Summary, wall: float) -> str:
    """Return counts, the run's time, and the share of every step in the work."""
    counts = ", ".join(f"{count} {status.value}" for status, count in summary.counts.items())
    faces = f"{summary.faces} face{'' if summary.faces == 1 else 's'}"
    total = sum(summary.seconds.values())
    steps = sorted(summary.seconds.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{step} {value / total:.0%}" for step, value in steps if total and value >= 0.005 * total)
    return f"{counts} ({faces}) in {wall:.1f} s" + (f": {shares}" if shares else "")
