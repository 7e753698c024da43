from __future__ import annotations

import json

import pytest

from restorer.errors import OutOfMemoryError, PhotoError
from restorer.report import PhotoReport, Status, Summary


def failed(error: Exception) -> PhotoReport:
    return PhotoReport("x.jpg", Status.FAILED, str(error), error=error)


DONE = PhotoReport("a.jpg", Status.RESTORED, seconds={"read": 1.0})
NO_FILE, NO_MEMORY, FAULT = failed(PhotoError("missing")), failed(OutOfMemoryError("full")), failed(ValueError("odd"))


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([], 0),
        ([DONE], 0),
        ([DONE, PhotoReport("b", Status.UNCHANGED), PhotoReport("c", Status.SKIPPED)], 0),
        ([NO_FILE], 3),
        ([NO_FILE, NO_FILE], 3),
        ([NO_MEMORY], 6),
        ([FAULT], 1),
        ([NO_FILE, NO_MEMORY], 7),
        ([DONE, NO_FILE], 7),
        ([PhotoReport("c", Status.SKIPPED), FAULT], 7),
    ],
)
def test_exit_code(reports: list[PhotoReport], code: int) -> None:
    assert Summary.of(reports).exit_code == code


def test_counts_and_seconds() -> None:
    summary = Summary.of([DONE, DONE, NO_FILE])
    assert summary.photos == 3 and summary.counts[Status.RESTORED] == 2 and summary.seconds == {"read": 2.0}


def test_json_is_one_line_of_ascii() -> None:
    line = PhotoReport("a\nü\udcff.jpg", Status.FAILED, "no").to_json()
    assert line.isascii() and "\n" not in line
    assert json.loads(line)["input"] == "a\nü\udcff.jpg"
