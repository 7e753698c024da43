"""The progress bar of downloads, on standard error, where somebody may be looking."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import TracebackType

    from tqdm import tqdm


class DownloadBar:
    """Shows downloads as they go: pass an instance as ``progress`` of a ``WeightStore``, inside a ``with`` block.

    Where standard error is no terminal it shows nothing.
    """

    def __init__(self, *, shown: bool | None = None) -> None:
        """Prepare.

        Args:
            shown: Show the bar; None: if standard error is a terminal.
        """
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` bytes of a file are on disk (None: nobody knows how many there are)."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=file, total=total, initial=done, unit="B", unit_scale=True, leave=False, file=sys.stderr
            )
        self._bar.update(done - self._bar.n)
        if done == total:
            self._close()

    def __enter__(self) -> DownloadBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
