"""The result as an HTML page that needs nothing but the pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from restorer.evaluation.gallery import Shown, ranking_metric
from restorer.evaluation.runner import Result
from restorer.evaluation.table import comparison_rows, number, rows_of

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto; max-width: 1240px;
  padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0 0 1.4rem; } figure img { max-width: 100%; display: block; }
figcaption { color: #444; } img { max-width: 100%; } code { background: #f3f3f3; padding: 0 0.2em; }
"""


def page(result: Result, command: str, pictures: Sequence[tuple[str, Shown]], *, plot: str | None, version: str) -> str:
    """Return the page.

    Args:
        result: What was measured.
        command: The command line that measured it.
        pictures: Best and worst pictures, each with its file's relative address.
        plot: The plot's relative address; None: there is none.
        version: This program's.
    """
    count = f"{len(result.stems)} picture{'' if len(result.stems) == 1 else 's'}"
    parts = [
        "<h1>Evaluation</h1>",
        f"<p>{count}; mean ± half of the 95% bootstrap interval. restorer {escape(version)}: "
        f"<code>{escape(command)}</code></p>",
        _table(rows_of(result)),
    ]
    if result.comparisons:
        parts += ["<h2>Picture by picture</h2>", _table(comparison_rows(result))]
    if plot is not None:
        parts += ["<h2>Distributions</h2>", f'<img src="{escape(plot)}" alt="A box and dots for each method">']
    parts += _pairs(result, pictures)
    parts += ["<h2>Recipes</h2>", *_recipes(result)]
    if result.failures:
        items = "".join(f"<li>{escape(item.stem)}: {escape(item.reason)}</li>" for item in result.failures)
        parts += ["<h2>Not judged</h2>", f"<ul>{items}</ul>"]
    head = f'<meta charset="utf-8"><title>Evaluation</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _table(lines: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(text)}</th>" for text in lines[0])
    rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in line)}</tr>" for line in lines[1:])
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _pairs(result: Result, pictures: Sequence[tuple[str, Shown]]) -> list[str]:
    metric = ranking_metric(result)
    if metric is None or not pictures:
        return []
    parts = [f"<h2>Best and worst by {escape(metric.label)}</h2>"]
    title = None
    for address, shown in pictures:
        if title != (shown.method, shown.best):
            title = (shown.method, shown.best)
            parts.append(f"<h3>{escape(shown.method)}: {'best' if shown.best else 'worst'}</h3>")
        figures = [
            f"{item.label} {number(shown.figures[item.name], item.decimals)}{item.unit and ' ' + item.unit}"
            for item in result.metrics
            if item.name in shown.figures
        ]
        caption = f"{shown.stem} ({', '.join(shown.parts)}): {', '.join(figures)}"
        parts.append(
            f'<figure><img src="{escape(address)}" alt="{escape(", ".join(shown.parts))}" loading="lazy">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return parts


def _recipes(result: Result) -> list[str]:
    items = []
    for metric in result.metrics:
        used = "".join(f" Weights: {escape(found.name)}." for found in result.weights.get(metric.name, ()))
        source = f"<i>{escape(metric.source)}.</i>"
        items.append(f"<li><b>{escape(metric.label)}</b>: {escape(metric.recipe)}. {source}{used}</li>")
    for name, reason in result.skipped.items():
        items.append(f"<li><b>{escape(name)}</b> was skipped: {escape(reason)}.</li>")
    return [f"<ul>{''.join(items)}</ul>"]
