"""The loop that every training shares: steps, a log, saved states, sheets and a plot, and an end in good order."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorer.errors import OutputError, WeightsError
from restorer.runtime.device import computes_bf16
from restorer.training.ending import Clock, End, Interrupts
from restorer.training.plot import draw_plot
from restorer.training.processes import ALONE, Processes
from restorer.training.sheets import write_picture
from restorer.training.state import check_settings, load_parts, load_state, save_state

LOG = "log.jsonl"
PLOT = "losses.png"
SETTINGS = "settings.json"
SHEETS = "sheets"
FREE = frozenset({"save_every", "log_every", "sheet_every"})
"""Settings that may differ when a run goes on: they change nothing that has been done."""

Work = TypeVar("Work")
"""What one step of a training gets."""
Row = dict[str, float]
"""A line of the log."""
Report = Callable[[Row], None]


class LoopSettings(Protocol):
    """What the loop itself needs of a recipe; lengths are counted in images."""

    @property
    def images(self) -> int:
        """Length of the run."""

    @property
    def seed(self) -> int:
        """Seed of everything drawn."""

    @property
    def bf16(self) -> bool:
        """Whether to compute in bfloat16 where the device does."""

    @property
    def save_every(self) -> int:
        """Images between two saved states."""

    @property
    def log_every(self) -> int:
        """Images between two lines of the log, which hold means."""

    @property
    def sheet_every(self) -> int:
        """Images between two sheets."""


class Trainer(ABC, Generic[Work]):
    """A run: its settings, folder, processes and position. A subclass says what a step is and what is saved."""

    kind: ClassVar[str]
    """Names the kind of network in the saved state."""
    free: ClassVar[Collection[str]] = FREE
    """Settings that may differ when a run goes on."""

    def __init__(self, settings: LoopSettings, run: Path, processes: Processes = ALONE) -> None:
        """Take the settings and seed torch's generators, from which a subclass then draws its first weights."""
        self.loop_settings, self.run, self.processes = settings, run, processes
        self.device = processes.device
        self.bf16 = settings.bf16 and computes_bf16(str(self.device))
        self.images = self.steps = 0
        torch.manual_seed(settings.seed)

    @property
    def arithmetic(self) -> str:
        """Say where the run computes, in what and among how many."""
        unable = " (this device has no bf16 arithmetic)" if self.loop_settings.bf16 and not self.bf16 else ""
        several = f", one of {self.processes.count} processes" if self.processes.count > 1 else ""
        return f"{self.device}, {'bf16' if self.bf16 else 'fp32'}{unable}{several}"

    @abstractmethod
    def work(self) -> Generator[Work, None, None]:
        """Yield what each step still to come needs, from the present position on."""

    @abstractmethod
    def step(self, work: Work) -> Row:
        """Take one step, move ``images`` and ``steps`` on, and return the losses for the log."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Return by name all that has a ``state_dict``: networks, averages, optimisers."""

    def sheet(self) -> NDArray[np.uint8] | None:
        """Draw what the network does now, H×W×3 RGB; None where there is nothing to show."""
        return None

    def migrated(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state that an earlier version saved in today's layout."""
        return state

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs; what is drawn at random follows from seed and position alone."""
        settings = json.loads(json.dumps(dataclasses.asdict(self.loop_settings)))  # type: ignore[call-overload]
        position = {"kind": self.kind, "settings": settings, "images": self.images, "step": self.steps}
        return position | {name: part.state_dict() for name, part in self.parts().items()}

    def save(self) -> None:
        """Write the state whole or not at all, then draw the log anew; the first of several processes does it alone.

        Raises:
            OutputError: Something cannot be written; the state before is untouched.
        """
        if self.processes.first:
            save_state(self.run, self.state())
            if (self.run / LOG).exists():
                draw_plot(self.run / LOG, self.run / PLOT)

    def resume(self) -> None:
        """Go on from the saved state; lines of the log that are younger than it are dropped.

        Raises:
            UsageError: There is none, or it belongs to other settings.
            WeightsError: It is damaged.
        """
        state = self.migrated(load_state(self.run, self.kind, self.device))
        check_settings(self.run, state["settings"], self.loop_settings, self.free)
        load_parts(self.parts(), state, self.run)
        self.images, self.steps = int(state["images"]), int(state["step"])
        if self.processes.first:
            _cut_log(self.run / LOG, self.images)

    def seed_part(self, part: int) -> None:
        """Seed torch's generators for one part of the present step, the same whichever process computes it."""
        words = np.random.SeedSequence([self.loop_settings.seed, self.images, part]).generate_state(2)
        torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)

    def check_finite(self, loss: float) -> None:
        """Raise WeightsError for a loss or gradient that is not finite; to be asked before the weights change."""
        if not math.isfinite(loss):
            raise WeightsError(
                f"The loss or its gradient is {loss} after {self.images} images: start a new run with a lower learning "
                f"rate. The state last saved in {self.run} is whole and from before."
            )

    def train(self, clock: Clock | None = None, report: Report = lambda row: None) -> End:
        """Train until the run's length, a signal or the time is reached, saving on the way and at the end.

        Args:
            clock: When the session has to be over; at least one step is taken.
            report: Receives every line of the log.

        Raises:
            WeightsError: The loss is no longer finite; the last saved state is whole.
            OutputError: Something cannot be written; the last saved state is whole.
        """
        settings, clock, rows = self.loop_settings, clock or Clock(), list[Row]()
        if self.processes.first:
            _open_folder(self.run, settings)
        with Interrupts() as interrupts, contextlib.closing(self.work()) as work:
            while not self._finished():
                before, begun = self.images, time.monotonic()
                row = self.step(next(work))
                clock.steps.append(time.monotonic() - begun)
                rows.append(row | {"seconds": clock.steps[-1]})
                # all processes decide alike
                signalled, late = self.processes.largest([interrupts.number, clock.time_is_up()])
                last = bool(signalled or late) or self._finished()
                if last or self._passed(before, settings.log_every):
                    report(self._log(rows))
                    rows.clear()
                begun = time.monotonic()
                if (self._passed(before, settings.sheet_every) and not (signalled or late)) or self._finished():
                    self._write_sheet()
                if last or self._passed(before, settings.save_every):
                    self.save()
                    clock.saved(time.monotonic() - begun)
                if last:
                    return End(self._finished(), int(signalled))
        return End(finished=True)

    def _finished(self) -> bool:
        return self.images >= self.loop_settings.images

    def _passed(self, before: int, every: int) -> bool:
        return self.images // every > before // every

    def _log(self, rows: list[Row]) -> Row:
        """Write a line with the means of some steps and return it."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        means = [float(np.mean([row[name] for row in rows if name in row])) for name in names]
        line: Row = {"images": self.images}
        line |= {name: float(f"{value:.6g}") for name, value in zip(names, self.processes.mean(means), strict=True)}
        if self.processes.first:
            with _writing(self.run / LOG), (self.run / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return line

    def _write_sheet(self) -> None:
        if self.processes.first and (picture := self.sheet()) is not None:
            write_picture(self.run / SHEETS / f"{self.images:09d}.png", picture)


def row_of(terms: dict[str, Tensor]) -> Row:
    """Return scalars as numbers, brought over from the device at once."""
    values = torch.stack([term.detach().float() for term in terms.values()])
    return dict(zip(terms, values.tolist(), strict=True))


def mean_of(rows: list[Row]) -> Row:
    """Return the mean of lines that have the same names."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _open_folder(run: Path, settings: LoopSettings) -> None:
    with _writing(run):
        run.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(settings), indent=1)  # type: ignore[call-overload]
        (run / SETTINGS).write_text(text, encoding="utf-8")


def _cut_log(log: Path, images: int) -> None:
    """Drop the lines of steps that will be taken again."""
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["images"] <= images]
    if len(kept) == len(lines):
        return
    with _writing(log):
        part = log.with_name(f"{log.name}.part")
        part.write_text("".join(kept), encoding="utf-8")
        part.replace(log)


@contextlib.contextmanager
def _writing(path: Path) -> Generator[None, None, None]:
    """Say of what cannot be written where it was to go."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}; the last saved state is whole."
        ) from error
