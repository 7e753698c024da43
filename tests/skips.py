"""Which tests skipped in this run, and which should have; see ``expected_skips.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

LIST = Path(__file__).parent / "expected_skips.txt"
BY_MARK = ("slow", "weights")
"""Marks whose tests may skip without standing in the list: the mark says it all."""
SECTIONS = ("gpu", "machine")


@dataclass(eq=False)
class Skips:
    """A plugin of pytest that notes what was chosen, what skipped, and why."""

    marks: dict[str, frozenset[str]] = field(default_factory=dict)
    """The marks of every chosen test, of all its parameters together, by its name without them."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a test skipped; of several parameters' reasons, one."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the tests that will run."""
        for item in session.items:
            name = plain(item.nodeid)
            self.marks[name] = self.marks.get(name, frozenset()) | {mark.name for mark in item.iter_markers()}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a whole file that skips."""
        self._note(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that skips."""
        if not hasattr(report, "wasxfail"):
            self._note(report)

    def _note(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.reasons[plain(report.nodeid)] = reason.removeprefix("Skipped: ")


def plain(nodeid: str) -> str:
    """Return a test's name without its parameters."""
    return nodeid.partition("[")[0]


def read_list(text: str) -> dict[str, set[str]]:
    """Return the names in each section of the list."""
    sections: dict[str, set[str]] = {name: set() for name in SECTIONS}
    current: set[str] | None = None
    for line in text.splitlines():
        if line.startswith("["):
            current = sections[line[1:].partition("]")[0]]
        elif line.strip() and not line.startswith("#"):
            assert current is not None, f"{line} stands in no section"
            current.add(line.strip())
    return sections


def differences(skips: Skips, expected: dict[str, set[str]], *, gpu: bool, everything: bool) -> list[str]:
    """Compare a run's skips with the list.

    Args:
        skips: The run's.
        expected: From :func:`read_list`.
        gpu: Whether there is a GPU to test on.
        everything: Whether no test was left out by its file or name, so that names of none can be told.
    """
    listed = set().union(*expected.values())
    found = [
        f"skipped and not in the list: {name} ({reason})"
        for name, reason in sorted(skips.reasons.items())
        if name not in listed and not skips.marks.get(name, frozenset()) & set(BY_MARK)
    ]
    marked = {name for name, marks in skips.marks.items() if "gpu" in marks}
    found += [f"marked gpu and not in the list's section: {name}" for name in sorted(marked - expected["gpu"])]
    chosen = expected["gpu"] & set(skips.marks)
    wrong = chosen & set(skips.reasons) if gpu else chosen - set(skips.reasons)
    found += [f"{'skipped with' if gpu else 'ran without'} a GPU: {name}" for name in sorted(wrong)]
    if everything:
        found += [f"in the list, but no test: {name}" for name in sorted(_without(listed, skips))]
    return found


def _without(listed: Iterable[str], skips: Skips) -> set[str]:
    """Return listed names of tests that were not collected."""
    return {name for name in listed if name not in skips.marks}
