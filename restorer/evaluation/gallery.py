"""The best and the worst pictures of each method, drawn beside their truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from restorer.evaluation.inputs import Case
from restorer.evaluation.metric import Metric, Pixels
from restorer.evaluation.runner import Result, Runner

SHOWN = 3
"""Best pictures of each method, and as many worst ones."""
MAX_SIDE = 384
"""Longest side of a picture on the page in pixels."""
RANKING = ("lpips", "deg", "haarpsi", "fsim", "ssim", "psnr", "niqe", "lmd")
"""The first of these that was measured decides: what agrees best with the eye comes first."""


@dataclass(frozen=True)
class Shown:
    """One picture on the page."""

    method: str
    best: bool
    place: int
    """1 for the best or the worst."""
    stem: str
    figures: dict[str, float | None]
    strip: Pixels
    """Input, restored and truth side by side, as far as they are there."""
    parts: tuple[str, ...]
    """What the strip shows, from left to right."""


def ranking_metric(result: Result) -> Metric | None:
    """Return the metric by which pictures are called best and worst; None where none has values."""
    measured = {metric.name: metric for metric in result.metrics}
    for name in RANKING:
        if name in measured and any(_known(row.values[name]) for row in result.rows):
            return measured[name]
    return None


def gallery(result: Result, runner: Runner) -> Iterator[Shown]:
    """Make the best and worst pictures anew: none was kept while they were judged."""
    metric = ranking_metric(result)
    if metric is None:
        return
    for number, row in enumerate(result.rows):
        order = sorted(_known(row.values[metric.name]), key=lambda pair: pair[1], reverse=metric.higher_is_better)
        count = min(SHOWN, math.ceil(len(order) / 2))
        for best, chosen in ((True, order[:count]), (False, order[: -count - 1 : -1][: len(order) - count])):
            for place, (index, _) in enumerate(chosen, 1):
                stem = result.stems[index]
                case, pictures = runner.case(stem)
                figures = {name: values[index] for name, values in row.values.items()}
                strip, parts = _strip(case, pictures[number], row.method)
                yield Shown(row.method, best, place, stem, figures, strip, parts)


def _known(values: list[float | None]) -> list[tuple[int, float]]:
    return [(index, value) for index, value in enumerate(values) if value is not None]


def _strip(case: Case, restored: Pixels, method: str) -> tuple[Pixels, tuple[str, ...]]:
    given = None if case.given is None or np.array_equal(case.given, restored) else case.given
    named = [("input", given), (method, restored), ("truth", case.truth)]
    shown = [(name, picture) for name, picture in named if picture is not None]
    height, width = restored.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for _, picture in shown]
    return np.hstack(small).astype(np.uint8), tuple(name for name, _ in shown)
