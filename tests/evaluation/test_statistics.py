from __future__ import annotations

import math

import numpy as np
import pytest

from restorer.evaluation.metrics import METRICS
from restorer.evaluation.statistics import compare, plain, summarise


def test_mean_and_interval_of_normal_values(rng: np.random.Generator) -> None:
    """For many values the bootstrap's interval is mean ± 1.96 standard errors."""
    values = rng.normal(5, 2, 2000)
    found = summarise(values.tolist())
    error = values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean(), abs=1e-12) and found.count == 2000
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error
    )


def test_the_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    covered = 0
    for _ in range(200):
        found = summarise(rng.exponential(size=60).tolist())
        covered += found.low <= 1 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_missing_infinite_and_single_values() -> None:
    assert summarise([]).mean is None and summarise([None, None]).count == 0
    one = summarise([3.0, None])
    assert (one.mean, one.low, one.high, one.count) == (3, None, None, 1)
    endless = summarise([math.inf, 40.0])
    assert endless.mean == math.inf and endless.low is None
    assert summarise([2.0, 2.0, 2.0]).low == 2.0
    assert [plain(value) for value in (1.5, math.inf, -math.inf, math.nan, None)] == [1.5, "inf", "-inf", None, None]


def test_the_interval_repeats(rng: np.random.Generator) -> None:
    values = rng.normal(size=30).tolist()
    assert summarise(values) == summarise(values) != summarise(values, seed=1)


def test_comparison_counts_pictures_won() -> None:
    ours, theirs = [30.0, 31.0, 25.0, math.inf, None, 28.0], [29.0, 33.0, 25.0, math.inf, 20.0, 20.0]
    found = compare(METRICS["psnr"], "ours", ours, "theirs", theirs)
    assert (found.won, found.lost, found.tied) == (2, 1, 2) and found.share_won == 0.6
    assert found.difference.mean == pytest.approx((1 - 2 + 0 + 0 + 8) / 5) and found.difference.count == 5
    mirrored = compare(METRICS["psnr"], "theirs", theirs, "ours", ours)
    assert (mirrored.won, mirrored.lost, mirrored.share_won) == (1, 2, 0.4)
    assert mirrored.difference.mean == -found.difference.mean


def test_lower_may_be_better() -> None:
    found = compare(METRICS["lmd"], "a", [1.0, 2.0, 3.0], "b", [2.0, 3.0, 1.0])
    assert (found.won, found.lost) == (2, 1)
    assert compare(METRICS["lmd"], "a", [None], "b", [1.0]).share_won is None


def test_pairs_are_surer_than_means(rng: np.random.Generator) -> None:
    """Pictures differ more than methods: a small gain on each picture shows only in the paired interval."""
    theirs = rng.normal(25, 4, 60)
    ours = theirs + rng.normal(0.3, 0.1, 60)
    paired = compare(METRICS["psnr"], "a", ours.tolist(), "b", theirs.tolist()).difference
    a, b = summarise(ours.tolist()), summarise(theirs.tolist())
    assert paired.low > 0 and a.low < b.high
