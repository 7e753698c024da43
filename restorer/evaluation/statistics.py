"""Means, how sure they are, and whether one method beats another on the same pictures; all in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.evaluation.metric import Metric

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 1_000_000
"""Most picture numbers drawn at once."""


@dataclass(frozen=True)
class Summary:
    """A metric's mean over pictures, with its confidence interval."""

    mean: float | None
    """None where no picture has a value."""
    low: float | None
    high: float | None
    """Bounds of the interval; None where there are fewer than two values, or for a value of a whole set."""
    count: int
    """Pictures with a value."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"mean": plain(self.mean), "low": plain(self.low), "high": plain(self.high), "count": self.count}


@dataclass(frozen=True)
class Comparison:
    """One metric of two methods on the same pictures."""

    metric: str
    method: str
    against: str
    difference: Summary
    """Of method minus against, picture by picture."""
    won: int
    """Pictures on which the method is better."""
    lost: int
    tied: int

    @property
    def share_won(self) -> float | None:
        """Share of pictures won; a tie counts half."""
        count = self.won + self.lost + self.tied
        return (self.won + self.tied / 2) / count if count else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "metric": self.metric,
            "method": self.method,
            "against": self.against,
            "difference": self.difference.to_dict(),
            "won": self.won,
            "lost": self.lost,
            "tied": self.tied,
            "share_won": self.share_won,
        }


def plain(value: float | None) -> float | str | None:
    """Return a number as JSON can hold it: the infinite PSNR of equal pictures becomes the text ``inf``."""
    if value is None or math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def summarise(values: Sequence[float | None], seed: int = 0) -> Summary:
    """Return the mean and its percentile bootstrap interval (95%, 10000 resamples of the pictures).

    Args:
        values: One per picture; None where there is none.
        seed: Of the resampling.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    if len(known) == 0:
        return Summary(None, None, None, 0)
    mean = float(known.mean())
    if len(known) < 2 or not np.isfinite(known).all():
        return Summary(mean, None, None, len(known))
    low, high = np.quantile(_resampled_means(known, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Summary(mean, float(low), float(high), len(known))


def _resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(values))
    means = []
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(len(values), size=(min(rows, RESAMPLES - start), len(values)))
        means.append(values[drawn].mean(axis=1))
    return np.concatenate(means)


def compare(
    metric: Metric, method: str, values: Sequence[float | None], against: str, others: Sequence[float | None]
) -> Comparison:
    """Compare two methods picture by picture; a picture without a value in either counts for neither."""
    pairs = [(a, b) for a, b in zip(values, others, strict=True) if a is not None and b is not None]
    won = sum(metric.better(a, b) for a, b in pairs)
    lost = sum(metric.better(b, a) for a, b in pairs)
    # Two infinite values have no difference but are equal.
    differences = [0.0 if a == b else a - b for a, b in pairs]
    return Comparison(metric.name, method, against, summarise(differences), won, lost, len(pairs) - won - lost)
