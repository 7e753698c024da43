"""A plot of a run's log: a panel for each loss, its mean and spread over the images seen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from restorer.errors import UsageError
from restorer.training.sheets import write_picture

Values = NDArray[np.float64]

PANEL = (520, 300)
"""Width and height of a panel in pixels, with its axes."""
MARGINS = (64, 34, 18, 40)
"""Left, top, right and bottom of a panel in pixels, around its axes."""
COLUMNS = 3
BINS = 120
"""Points of a curve: each is the mean over as many images."""
FIRST = ("loss",)
LAST = ("rate", "seconds")
"""Quantities that come first and last; the others keep the log's order."""
INK, FAINT, CURVE, SPREAD = (34, 34, 34), (224, 224, 224), (31, 98, 168), (198, 219, 239)


@dataclass(frozen=True)
class Curve:
    """A quantity over the run."""

    images: Values
    """Middle of each bin, in images."""
    mean: Values
    low: Values
    """A tenth of the lines in a bin lie below."""
    high: Values
    """A tenth of the lines in a bin lie above."""


def read_log(log: Path) -> list[dict[str, float]]:
    """Read a log of JSON lines; a last line that was cut off is left out.

    Raises:
        UsageError: There is no log, or it is none of ours.
    """
    try:
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{log} cannot be read ({error}): give the folder of a run.") from error
    try:
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        if all(isinstance(row, dict) and "images" in row for row in rows):
            return rows
    except json.JSONDecodeError as error:
        raise UsageError(f"{log} is not a run's log ({error}).") from error
    raise UsageError(f"{log} is not a run's log: a line of it does not say after how many images it was written.")


def curves(rows: list[dict[str, float]], bins: int = BINS) -> dict[str, Curve]:
    """Sum up each quantity of a log.

    Args:
        rows: Lines of the log, each with ``images``.
        bins: Number of equal ranges of images.

    Returns:
        Name to curve; bins without a line are left out, as are values that are not finite.
    """
    named = dict.fromkeys(name for row in rows for name in row if name != "images")
    names = [*(n for n in FIRST if n in named), *(n for n in named if n not in FIRST + LAST)]
    result = {}
    last = max((row["images"] for row in rows), default=0)
    for name in [*names, *(n for n in LAST if n in named)]:
        table = np.array([(row["images"], row[name]) for row in rows if name in row], np.float64)
        table = table[np.isfinite(table).all(axis=1)]
        if len(table):
            result[name] = _binned(table, bins, last)
    return result


def _binned(table: Values, bins: int, last: float) -> Curve:
    place = np.ceil(table[:, 0] / last * bins).astype(int)
    groups = [table[place == number] for number in np.unique(place)]
    low, high = zip(*(np.percentile(group[:, 1], (10, 90)) for group in groups), strict=True)
    middle, mean = zip(*(group.mean(axis=0) for group in groups), strict=True)
    return Curve(*(np.array(values) for values in (middle, mean, low, high)))


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) within a range, about as many as wanted."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def draw_plot(log: Path, output: Path) -> dict[str, Curve]:
    """Draw a log as PNG and return what was drawn.

    Raises:
        UsageError: The log cannot be read or is empty.
        OutputError: The picture cannot be written.
    """
    found = curves(read_log(log))
    if not found:
        raise UsageError(f"{log} has no line yet: nothing can be drawn.")
    write_picture(output, draw_panels(found))
    return found


def draw_panels(found: dict[str, Curve]) -> NDArray[np.uint8]:
    """Draw a panel for each curve, RGB on white."""
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    image = Image.new("RGB", (columns * PANEL[0], rows * PANEL[1]), "white")
    pen, end = ImageDraw.Draw(image), max(float(curve.images[-1]) for curve in found.values())
    for number, (name, curve) in enumerate(found.items()):
        _panel(pen, (number % columns * PANEL[0], number // columns * PANEL[1]), name, curve, end)
    return np.asarray(image)


def _panel(pen: ImageDraw.ImageDraw, corner: tuple[int, int], name: str, curve: Curve, end: float) -> None:
    left, top = corner[0] + MARGINS[0], corner[1] + MARGINS[1]
    right, bottom = corner[0] + PANEL[0] - MARGINS[2], corner[1] + PANEL[1] - MARGINS[3]
    low, high = _range(curve)
    small, large = ImageFont.load_default(13), ImageFont.load_default(16)

    def x(images: float) -> float:
        return left + (right - left) * images / end

    def y(value: float) -> float:
        return bottom - (bottom - top) * (min(max(value, low), high) - low) / (high - low)

    for value in ticks(low, high):
        pen.line(((left, y(value)), (right, y(value))), FAINT)
        pen.text((left - 8, y(value)), f"{value:.6g}", INK, small, anchor="rm")
    for images in ticks(0, end):
        pen.line(((x(images), bottom), (x(images), bottom + 4)), INK)
        pen.text((x(images), bottom + 7), f"{images:,.10g}", INK, small, anchor="mt")
    pen.text((right, bottom + 24), "images", INK, small, anchor="rt")
    pen.text((left, corner[1] + 8), f"{name}, at the end {curve.mean[-1]:.4g}", INK, large, anchor="lt")
    upper = [(x(i), y(v)) for i, v in zip(curve.images, curve.high, strict=True)]
    lower = [(x(i), y(v)) for i, v in zip(curve.images, curve.low, strict=True)]
    if len(upper) > 1:
        pen.polygon(upper + lower[::-1], SPREAD)
    points = [(x(i), y(v)) for i, v in zip(curve.images, curve.mean, strict=True)]
    pen.line(points, CURVE, 2, joint="curve")
    if len(points) == 1:
        pen.circle(points[0], 3, CURVE)
    pen.line(((left, top), (left, bottom), (right, bottom)), INK)


def _range(curve: Curve) -> tuple[float, float]:
    """Return an axis' range: from 0 where nothing is negative; the first steps of a run may run off the top."""
    low = min(0.0, float(curve.low.min()))
    high = float(max(np.percentile(curve.high, 98), curve.mean[-1]))
    return low, high + (0.05 * (high - low) or 1.0)
