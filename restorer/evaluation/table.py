"""The result as text: a table of methods and metrics, and of comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence

from restorer.evaluation.metric import Metric
from restorer.evaluation.runner import Result
from restorer.evaluation.statistics import Comparison, Summary


def heading(metric: Metric) -> str:
    """Return a column's heading: label, unit, and an arrow towards better values."""
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"


def number(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """Return a number as tables show it."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:{'+' if sign else ''}.{decimals}f}"


def cell(summary: Summary, metric: Metric, pictures: int) -> str:
    """Return a mean with half its interval's width, and the count of pictures where some have no value."""
    text = number(summary.mean, metric.decimals)
    if summary.low is not None and summary.high is not None:
        text += f" ±{(summary.high - summary.low) / 2:.{metric.decimals}f}"
    if not metric.of_the_set and summary.mean is not None and summary.count < pictures:
        text += f" ({summary.count})"
    return text


def rows_of(result: Result) -> list[list[str]]:
    """Return the table of methods and metrics, headings first."""
    lines = [["method", *(heading(metric) for metric in result.metrics)]]
    for row in result.rows:
        cells = [cell(row.summary(metric), metric, len(result.stems)) for metric in result.metrics]
        lines.append([row.method, *cells])
    return lines


def comparison_rows(result: Result) -> list[list[str]]:
    """Return the table of comparisons, headings first; empty where nothing was compared."""
    if not result.comparisons:
        return []
    lines = [["method", "against", "metric", "difference", "95% interval", "won", "lost", "tied", "share won"]]
    decimals = {metric.name: metric.decimals for metric in result.metrics}
    headings = {metric.name: heading(metric) for metric in result.metrics}
    for item in result.comparisons:
        lines.append(
            [
                item.method,
                item.against,
                headings[item.metric],
                number(item.difference.mean, decimals[item.metric], sign=True),
                _interval(item, decimals[item.metric]),
                str(item.won),
                str(item.lost),
                str(item.tied),
                "–" if item.share_won is None else f"{item.share_won:.0%}",
            ]
        )
    return lines


def _interval(item: Comparison, decimals: int) -> str:
    low, high = item.difference.low, item.difference.high
    if low is None or high is None:
        return "–"
    return f"{number(low, decimals, sign=True)} to {number(high, decimals, sign=True)}"


def as_text(lines: Sequence[Sequence[str]]) -> str:
    """Lay a table out in columns, the first flush left, the others flush right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def summary_text(result: Result) -> str:
    """Return what the command prints: the table, the comparisons, and how to read them."""
    count = f"{len(result.stems)} picture{'' if len(result.stems) == 1 else 's'}"
    parts = [f"{count}; mean ± half of the 95% bootstrap interval", as_text(rows_of(result))]
    if result.comparisons:
        parts += ["", as_text(comparison_rows(result))]
    return "\n".join(parts)
