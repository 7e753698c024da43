"""What a metric is: its name, its recipe, and a call that judges pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from restorer.errors import DownloadError, WeightsError
from restorer.weights import Weights, WeightStore

Pixels = NDArray[np.uint8]
"""H×W×3 RGB, sRGB."""


@dataclass(frozen=True)
class Metric:
    """What a metric measures and how; everything a reader needs to compare its numbers with a paper's."""

    name: str
    """Name on the command line and in files."""
    label: str
    """Heading in tables."""
    higher_is_better: bool
    decimals: int
    """Digits after the point in tables."""
    recipe: str
    """Colours, border, network, size: what the number depends on."""
    source: str
    """Who defined it, and whose code computes it."""
    unit: str = ""
    needs_truth: bool = True
    least_side: int = 1
    """Pictures with a shorter side get no value."""
    of_the_set: bool = False
    """One value for a whole set of pictures, none for each."""

    def better(self, first: float, second: float) -> bool:
        """Return whether the first value is better than the second."""
        return first > second if self.higher_is_better else first < second


class Unavailable(Exception):  # noqa: N818 - a reason, told to the user; no fault
    """Thrown where a metric cannot be had here; the message says what is missing and how to get it."""

    def __init__(self, message: str, error: WeightsError | None = None) -> None:
        super().__init__(message)
        self.error = error
        """The weights' error behind it, if it is that."""


class Judge(Protocol):
    """A metric that is ready: restored pictures in, a value for each out."""

    def __call__(self, restored: Sequence[Pixels], truth: Sequence[Pixels]) -> list[float | None]:
        """Judge pictures.

        Args:
            restored: Pictures, of any sizes.
            truth: What each should have been, of the same sizes; empty for metrics that need none.

        Returns:
            A value per picture; None where there is none, such as for a face that was not found.
        """
        ...


@dataclass(frozen=True)
class Tools:
    """What metrics that run networks need."""

    store: WeightStore
    device: str = "auto"
    precision: str = "auto"
    detector: str = "auto"
    offline: bool = False
    used: list[Weights] = field(default_factory=list)
    """Weight files taken so far."""

    def weights(self, name: str) -> Weights:
        """Return a weight file, downloaded if need be.

        Raises:
            Unavailable: It is absent and cannot be had.
            WeightsError: What is on disk is not the file the table means.
        """
        if name not in self.store.table:
            raise Unavailable(f"the weights table has no row {name}")
        return self._taken(lambda: self.store.get(name))

    def detector_weights(self) -> Weights:
        """Return the face detector's weights; see :meth:`weights` for errors."""
        return self._taken(lambda: self.store.detector(self.detector))

    def _taken(self, get: Callable[[], Weights]) -> Weights:
        try:
            weights = get()
        except DownloadError as error:
            raise Unavailable(str(error).rstrip("."), error) from error
        self.used.append(weights)
        return weights

    def torch_device(self) -> str:
        """Return the device as torch names it."""
        from restorer.runtime.device import pick_device

        return pick_device(self.device)


Open = Callable[[Tools], Judge]


def library(name: str, package: str) -> ModuleType:
    """Import an optional library.

    Raises:
        Unavailable: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise Unavailable(f'{package} is not installed: pip install "restorer[evaluate]"') from error


def one_by_one(judge: Callable[[Pixels, Pixels], float | None]) -> Judge:
    """Make a judge of a function of one pair; its values cannot depend on the batch."""

    def all_pairs(restored: Sequence[Pixels], truth: Sequence[Pixels]) -> list[float | None]:
        return [judge(*pair) for pair in zip(restored, truth, strict=True)]

    return all_pairs


def by_size(pictures: Sequence[Pixels]) -> list[list[int]]:
    """Return the places of pictures of equal size, which a network takes at once, in order of first appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(place)
    return list(groups.values())


def planes(pictures: Sequence[Pixels], dtype: Any) -> Any:  # noqa: ANN401 - torch is imported late
    """Return pictures of one size as an N×3×H×W torch tensor in 0..255."""
    import torch

    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy()).to(dtype)
