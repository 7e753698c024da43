"""A report's files: JSON, CSV, a plot and a page, each whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restorer import __version__
from restorer.evaluation.fid import Gaussian
from restorer.evaluation.gallery import gallery
from restorer.evaluation.metric import Unavailable
from restorer.evaluation.page import page
from restorer.evaluation.plot import plot
from restorer.evaluation.runner import Result, Runner
from restorer.evaluation.statistics import LEVEL, RESAMPLES, plain
from restorer.outputs import make_folder
from restorer.photo import Metadata, Photo, write_bytes, write_photo

SCHEMA = 1
"""Version of the JSON object; raised when a key changes its meaning or goes."""
JSON, SCORES, SUMMARY, PLOT, PAGE, REFERENCE = (
    "report.json",
    "scores.csv",
    "summary.csv",
    "distributions.png",
    "index.html",
    "reference.npz",
)
PICTURES = "pictures"


def write_report(
    folder: Path,
    result: Result,
    runner: Runner,
    *,
    command: str,
    settings: dict[str, Any],
    reference: Gaussian | None = None,
    notify: Callable[[str], None],
) -> None:
    """Write all files of a report; existing ones of their names are replaced.

    Args:
        folder: Made if need be.
        result: What was measured.
        runner: Makes the pictures on the page anew.
        command: The command line.
        settings: What the command was asked for.
        reference: FID's reference, if it was measured here and is worth keeping.
        notify: Told if the plot cannot be drawn.

    Raises:
        OutputError: A file cannot be written.
    """
    make_folder(folder / PICTURES)
    write_bytes(_text(json.dumps(to_dict(result, command, settings), indent=1, ensure_ascii=True)), folder / JSON)
    write_bytes(_text(scores_csv(result)), folder / SCORES)
    write_bytes(_text(summary_csv(result)), folder / SUMMARY)
    if reference is not None:
        write_bytes(reference.save(), folder / REFERENCE)
    drawn = None
    try:
        drawn = plot(result)
    except Unavailable as reason:
        notify(f"There is no plot of the distributions: {reason}.")
    if drawn is not None:
        write_bytes(drawn, folder / PLOT)
    shown = []
    for number, item in enumerate(gallery(result, runner), 1):
        address = f"{PICTURES}/{number:03d}-{'best' if item.best else 'worst'}-{item.place}.jpg"
        write_photo(Photo(item.strip, None, False, "JPEG", Metadata()), folder / address, quality=92)
        shown.append((address, item))
    text = page(result, command, shown, plot=PLOT if drawn is not None else None, version=__version__)
    write_bytes(_text(text), folder / PAGE)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def to_dict(result: Result, command: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the result as plain values for JSON."""
    return {
        "schema": SCHEMA,
        "tool": f"restorer {__version__}",
        "command": command,
        "settings": settings,
        "pictures": len(result.stems),
        "failed": [{"picture": item.stem, "reason": item.reason} for item in result.failures],
        "bootstrap": {"level": LEVEL, "resamples": RESAMPLES},
        "metrics": [
            {
                "name": metric.name,
                "label": metric.label,
                "unit": metric.unit,
                "higher_is_better": metric.higher_is_better,
                "recipe": metric.recipe,
                "source": metric.source,
                "weights": [
                    {"name": weights.name, "sha256": weights.sha256, "fallback": weights.fallback}
                    for weights in result.weights.get(metric.name, ())
                ],
            }
            for metric in result.metrics
        ],
        "skipped": [{"metric": name, "reason": reason} for name, reason in result.skipped.items()],
        "reference_pictures": result.reference,
        "methods": [
            {
                "name": row.method,
                "about": row.about,
                "summary": {metric.name: row.summary(metric).to_dict() for metric in result.metrics},
                "scores": {
                    stem: {name: plain(values[index]) for name, values in row.values.items()}
                    for index, stem in enumerate(result.stems)
                },
            }
            for row in result.rows
        ],
        "comparisons": [item.to_dict() for item in result.comparisons],
    }


def scores_csv(result: Result) -> str:
    """Return a line for each method and picture, with all values unrounded."""
    names = [metric.name for metric in result.metrics if not metric.of_the_set]
    lines: list[list[object]] = [["method", "picture", *names]]
    for row in result.rows:
        for index, stem in enumerate(result.stems):
            lines.append([row.method, stem, *(_csv(row.values[name][index]) for name in names)])
    return _csv_text(lines)


def summary_csv(result: Result) -> str:
    """Return a line for each method and metric: mean, interval and count."""
    lines: list[list[object]] = [["method", "metric", "mean", "low", "high", "count"]]
    for row in result.rows:
        for metric in result.metrics:
            found = row.summary(metric)
            bounds = (_csv(found.mean), _csv(found.low), _csv(found.high))
            lines.append([row.method, metric.name, *bounds, found.count])
    return _csv_text(lines)


def _csv(value: float | None) -> object:
    found = plain(value)
    return "" if found is None else found


def _csv_text(lines: list[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
