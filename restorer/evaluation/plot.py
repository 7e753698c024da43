"""The distributions of all metrics over the pictures, as a PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from restorer.evaluation.metric import Unavailable, library
from restorer.evaluation.runner import Result, Row
from restorer.evaluation.table import heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
_COLOURS = ("#8a8f98", "#2a78d6", "#e07b39", "#2f9e6e", "#9457c8", "#c94f6d")
"""The first, grey, is for the input."""
_JITTER = 0.16


def plot(result: Result) -> bytes | None:
    """Draw a panel for each metric: a box (quartiles, median, whiskers to 5% and 95%) and a dot for each picture.

    Returns:
        A PNG file; None where no metric has a value for each picture.

    Raises:
        Unavailable: matplotlib is not installed.
    """
    metrics = [metric for metric in result.metrics if not metric.of_the_set and _any_finite(result, metric.name)]
    if not metrics:
        return None
    figure_class = library("matplotlib.figure", "matplotlib").Figure
    rows = math.ceil(len(metrics) / COLUMNS)
    columns = min(COLUMNS, len(metrics))
    height = 0.9 + 0.45 * len(result.rows)
    figure = figure_class(figsize=(4.2 * columns, height * rows), dpi=120, layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for panel, metric in zip(panels, metrics, strict=False):
        _draw(panel, result.rows, metric.name)
        panel.set_title(heading(metric), fontsize=10)
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw(panel: Axes, rows: Sequence[Row], metric: str) -> None:
    rng = np.random.default_rng(0)
    values = [_finite(row, metric) for row in rows]
    places = list(range(len(rows), 0, -1))
    drawn = [(place, found) for place, found in zip(places, values, strict=True) if found]
    boxes = panel.boxplot(
        [found for _, found in drawn],
        positions=[place for place, _ in drawn],
        orientation="horizontal",
        whis=(5, 95),
        widths=0.5,
        showfliers=False,
        medianprops={"color": "#222222"},
        patch_artist=True,
    )
    for box in boxes["boxes"]:
        box.set(facecolor="none", edgecolor="#444444")
    for number, (place, found) in enumerate(zip(places, values, strict=True)):
        jitter = rng.uniform(-_JITTER, _JITTER, len(found))
        panel.scatter(found, place + jitter, s=7, alpha=0.55, linewidths=0, color=_COLOURS[number % len(_COLOURS)])
    panel.set_yticks(places, [row.method for row in rows], fontsize=9)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)


def _finite(row: Row, metric: str) -> list[float]:
    return [value for value in row.values[metric] if value is not None and math.isfinite(value)]


def _any_finite(result: Result, metric: str) -> bool:
    return any(_finite(row, metric) for row in result.rows)


__all__ = ["Unavailable", "plot"]
