"""What the training commands share: their options, what they say, and how they end."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restorer.cli.boundary import say

if TYPE_CHECKING:
    from restorer.training.ending import Clock
    from restorer.training.loop import Trainer

RECIPES = Path(__file__).resolve().parent.parent / "training" / "recipes"
LINE_SECONDS = 30.0
"""Least time between two lines of progress where there is no terminal to draw a bar on."""
SHOWN = 4
"""Losses of the log's line that are shown along."""


def recipe_file(name: str) -> Path:
    """Return a recipe's file: a path, or the name of a recipe that comes with the package."""
    path = Path(name)
    return path if path.suffix == ".toml" else RECIPES / f"{name}.toml"


def run_options(recipe: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a training command the options that all have; ``recipe`` is the default of ``--recipe``.

    ``--threads`` is dealt with here; the command gets ``run``, ``recipe`` (a path), ``changes``, ``clock``, ``device``.
    """
    options = (
        click.option(
            "-o", "--output", "run", type=click.Path(path_type=Path), required=True, help="Folder of the run."
        ),
        click.option("--recipe", default=recipe, show_default=True, help="A recipe's name or TOML file."),
        click.option(
            "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting, such as losses.l1=0.1."
        ),
        click.option("--minutes", type=float, default=math.inf, help="Save and end before so many minutes are over."),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
        click.option("--threads", type=click.IntRange(1), help="Threads on the CPU.  [default: all]"),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def prepared(*, recipe: str, minutes: float, threads: int | None, **values: Any) -> None:  # noqa: ANN401
            from restorer.training.ending import Clock

            clock = Clock(minutes)  # before anything that takes time
            import torch

            if threads:
                torch.set_num_threads(threads)
            command(recipe=recipe_file(recipe), clock=clock, **values)

        for option in reversed(options):
            prepared = option(prepared)
        return prepared

    return decorate


def train(trainer: Trainer[Any], clock: Clock) -> None:
    """Say what a run is, let it train, say how it ended; ends the process where a signal asked for it."""
    from restorer.training.settings import described

    first, length = trainer.processes.first, trainer.loop_settings.images
    if first:
        for line in described(trainer.loop_settings):
            say(line)
        say(f"computing on {trainer.arithmetic}; Ctrl-C saves and ends, twice ends at once")
    with Progress(trainer, shown=first) as progress:
        end = trainer.train(clock, progress.report)
    if first:
        rest = "finished" if end.finished else "saved, to be continued by the same command"
        say(f"{trainer.run}: {trainer.images} of {length} images, {rest}")
    if end.signal:
        sys.exit(128 + end.signal)


class Progress:
    """Shows how a run goes on: a bar on a terminal, else a line now and then."""

    def __init__(self, trainer: Trainer[Any], *, shown: bool) -> None:
        self.trainer, self.shown = trainer, shown
        self._bar: Any = None
        self._said = time.monotonic()

    def __enter__(self) -> Progress:
        if self.shown and sys.stderr.isatty():
            from tqdm import tqdm

            length = self.trainer.loop_settings.images
            self._bar = tqdm(total=length, initial=self.trainer.images, unit="image", dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, row: dict[str, float]) -> None:
        """Take a line of the log."""
        if not self.shown:
            return
        losses = {name: value for name, value in row.items() if name not in ("images", "seconds")}
        text = ", ".join(f"{name} {value:.4g}" for name, value in list(losses.items())[:SHOWN])
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(self.trainer.images - self._bar.n)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            say(f"{self.trainer.images} of {self.trainer.loop_settings.images} images: {text}")
