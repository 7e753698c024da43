"""How training comes to its end in good order: in time, or asked to by a signal."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import FrameType
from typing import Any

FIRST_SAVE = 2.0
"""Seconds that saving is thought to take before it has been done."""


@dataclass(frozen=True)
class End:
    """How training ended; the state is saved."""

    finished: bool
    """The run has reached its length."""
    signal: int = 0
    """Number of the signal that ended it."""


class Clock:
    """Tells whether there is time for one more step and for saving, from how long both have taken so far."""

    def __init__(self, minutes: float = math.inf) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.steps: deque[float] = deque(maxlen=64)
        """Seconds of the last steps; some are longer than others, as those with lazy regularisation."""
        self.saving: list[float] = []
        """Seconds that each save has taken."""

    def saved(self, seconds: float) -> None:
        """Take note of how long saving took."""
        self.saving.append(seconds)

    def time_is_up(self) -> bool:
        """Return whether one more step might make the run late; the margins are for a machine with other work."""
        needed = 1.5 * max(self.steps, default=0.0) + 2 * max(self.saving, default=FIRST_SAVE)
        return time.monotonic() + needed > self.end


class Interrupts:
    """Takes SIGINT and SIGTERM while a run trains, so that it ends after the step it is in; a second one ends at once.

    Only a process' main thread may do so; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal that came, 0 for none."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            self.__exit__()
            signal.raise_signal(number)
        self.number = number
