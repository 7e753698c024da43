"""Judge several methods on the same pictures: a picture that is broken anywhere is reported and left out for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from restorer.errors import PhotoError, UsageError
from restorer.evaluation.fid import Gaussian, Moments, frechet_distance
from restorer.evaluation.inputs import Case, InputMaker
from restorer.evaluation.methods import Method
from restorer.evaluation.metric import Metric, Pixels
from restorer.evaluation.metrics import METRICS, Metrics
from restorer.evaluation.pictures import PictureSet
from restorer.evaluation.statistics import Comparison, Summary, compare, summarise
from restorer.weights import Weights

Values = list[float | None]
Advance = Callable[[int, int], None]
"""Gets the number of pictures done, and of all."""


@dataclass(frozen=True)
class Failure:
    """A picture that could not be judged."""

    stem: str
    reason: str


@dataclass
class Row:
    """What was measured of one method."""

    method: str
    about: dict[str, Any]
    values: dict[str, Values] = field(default_factory=dict)
    """Metric to a value per picture, in the order of the result's stems."""
    fid: float | None = None
    _summaries: dict[str, Summary] = field(default_factory=dict, repr=False)

    def summary(self, metric: Metric) -> Summary:
        """Return a metric's mean and interval; the interval of a set's one value is not known."""
        if metric.of_the_set:
            return Summary(self.fid, None, None, 0 if self.fid is None else 1)
        if metric.name not in self._summaries:
            self._summaries[metric.name] = summarise(self.values[metric.name])
        return self._summaries[metric.name]


@dataclass(frozen=True)
class Result:
    """All that was measured."""

    stems: list[str]
    """Names of the pictures that were judged."""
    rows: list[Row]
    metrics: list[Metric]
    skipped: dict[str, str]
    """Metric to the reason why it was not measured."""
    failures: list[Failure]
    comparisons: list[Comparison]
    weights: dict[str, tuple[Weights, ...]] = field(default_factory=dict)
    """Metric to the weight files it ran on."""
    reference: int | None = None
    """Pictures behind FID's reference; None where it was a file of statistics, or there was none."""

    def row(self, method: str) -> Row:
        """Return a method's row."""
        return next(row for row in self.rows if row.method == method)


@dataclass(frozen=True)
class Runner:
    """Judges methods."""

    make: InputMaker
    methods: Sequence[Method]
    metrics: Metrics
    batch: int = 1
    """Pictures that go through a network at once, where it runs on a GPU, and are held in memory."""
    advance: Advance = lambda done, total: None

    def run(self, stems: Sequence[str], *, against: str | None = None, reference: Gaussian | None = None) -> Result:
        """Judge all methods on all pictures.

        Args:
            stems: The pictures' names.
            against: The method that all others are compared with, picture by picture.
            reference: FID's reference.

        Raises:
            PhotoError: Not one picture could be judged.
            UsageError: A restored picture differs in size from its truth.
        """
        judged: list[str] = []
        failures: list[Failure] = []
        rows = [Row(method.name, {}, {name: [] for name in self.metrics.judges}) for method in self.methods]
        moments = [Moments() for _ in self.methods]
        done = 0
        for start in range(0, len(stems), self.batch):
            part = stems[start : start + self.batch]
            cases, pictures = self._made(part, failures)
            for row, restored, moment in zip(rows, pictures, moments, strict=True):
                self._judge(row, cases, restored)
                if self.metrics.features is not None and restored:
                    moment.add(self.metrics.features(restored))
            judged += [case.stem for case in cases]
            done += len(part)
            self.advance(done, len(stems))
        if not judged:
            raise PhotoError(f"No picture could be judged: {failures[0].reason if failures else 'there is none'}")
        for row, method, moment in zip(rows, self.methods, moments, strict=True):
            row.about = method.describe()
            gaussian = moment.gaussian()
            if reference is not None and gaussian is not None:
                row.fid = frechet_distance(gaussian, reference)
        measured = self.metrics.measured
        return Result(
            judged,
            rows,
            measured,
            self.metrics.skipped,
            failures,
            list(_comparisons(rows, measured, against)),
            self.metrics.weights,
        )

    def case(self, stem: str) -> tuple[Case, list[Pixels]]:
        """Make one picture's case anew, and every method's picture of it."""
        case = self.make(stem)
        return case, [method.pictures([case])[0] for method in self.methods]

    def _made(self, stems: Sequence[str], failures: list[Failure]) -> tuple[list[Case], list[list[Pixels]]]:
        """Return the cases that nothing is wrong with, and each method's pictures of them."""
        cases: list[Case] = []
        for stem in stems:
            try:
                cases.append(self.make(stem))
            except PhotoError as error:
                failures.append(Failure(stem, str(error)))
        try:
            return cases, [self._pictures(method, cases) for method in self.methods]
        except PhotoError:
            return self._made_singly(cases, failures)

    def _made_singly(self, cases: Sequence[Case], failures: list[Failure]) -> tuple[list[Case], list[list[Pixels]]]:
        kept: list[Case] = []
        pictures: list[list[Pixels]] = [[] for _ in self.methods]
        for case in cases:
            try:
                found = [self._pictures(method, [case])[0] for method in self.methods]
            except PhotoError as error:
                failures.append(Failure(case.stem, str(error)))
                continue
            kept.append(case)
            for column, picture in zip(pictures, found, strict=True):
                column.append(picture)
        return kept, pictures

    def _pictures(self, method: Method, cases: Sequence[Case]) -> list[Pixels]:
        pictures = method.pictures(cases) if cases else []
        for case, picture in zip(cases, pictures, strict=True):
            if case.truth is not None and case.truth.shape != picture.shape:
                raise UsageError(
                    f"{case.stem} of {method.name} is {picture.shape[1]}×{picture.shape[0]} where its truth is "
                    f"{case.truth.shape[1]}×{case.truth.shape[0]}: pictures of one name must be of one size."
                )
        return pictures

    def _judge(self, row: Row, cases: Sequence[Case], restored: Sequence[Pixels]) -> None:
        for name, judge in self.metrics.judges.items():
            metric = METRICS[name]
            places = [place for place, picture in enumerate(restored) if min(picture.shape[:2]) >= metric.least_side]
            truths = [truth for place in places if (truth := cases[place].truth) is not None]
            values: Values = [None] * len(restored)
            if places:
                found = judge([restored[place] for place in places], truths if metric.needs_truth else [])
                for place, value in zip(places, found, strict=True):
                    values[place] = value
            row.values[name] += values


def _comparisons(rows: Sequence[Row], metrics: Sequence[Metric], against: str | None) -> Iterator[Comparison]:
    other = next((row for row in rows if row.method == against), None)
    if other is None:
        return
    for row in rows:
        for metric in metrics:
            if row is not other and not metric.of_the_set:
                yield compare(metric, row.method, row.values[metric.name], other.method, other.values[metric.name])


def reference_of(
    pictures: PictureSet, metrics: Metrics, batch: int, advance: Advance = lambda done, total: None
) -> tuple[Gaussian, int, list[Failure]]:
    """Measure FID's reference.

    Returns:
        The statistics, the number of pictures behind them, and those that are broken.

    Raises:
        PhotoError: Fewer than two pictures can be read.
    """
    assert metrics.features is not None
    moments, failures = Moments(), list[Failure]()
    stems = list(pictures.files)
    for start in range(0, len(stems), batch):
        part = []
        for stem in stems[start : start + batch]:
            try:
                part.append(pictures.read(stem))
            except PhotoError as error:
                failures.append(Failure(stem, str(error)))
        if part:
            moments.add(metrics.features(part))
        advance(min(start + batch, len(stems)), len(stems))
    gaussian = moments.gaussian()
    if gaussian is None:
        raise PhotoError(f"FID needs at least two readable pictures in {pictures.path}.")
    return gaussian, moments.count, failures
