"""Randomness for batches: every image has a generator of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float64]
"""One number for each image, (N,)."""
Rows = NDArray[np.intp]
"""Places of images in a batch."""


class Draws:
    """Draws numbers and noise for the images of a batch, each image's from its own generator.

    Numbers come from NumPy on the host and are the same on every device. Noise comes from the device's own generator,
    seeded from the image's: the same on every device of a kind.
    """

    def __init__(self, generators: Sequence[np.random.Generator], device: torch.device | str = "cpu") -> None:
        self.generators = list(generators)
        self.device = torch.device(device)
        # Shared with subsets, and filled at the first use: who needs no noise draws no seed for it.
        self._noise: dict[int, torch.Generator] = {}

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.generators)

    def subset(self, rows: Sequence[int] | Rows) -> Draws:
        """Return the draws of some of the images; both go on with the same generators."""
        part = Draws([self.generators[row] for row in rows], self.device)
        part._noise = self._noise
        return part

    def uniform(self, low: float, high: float) -> Numbers:
        """Draw uniformly between two bounds."""
        return np.array([rng.uniform(low, high) for rng in self.generators], np.float64)

    def log_uniform(self, low: float, high: float) -> Numbers:
        """Draw between two positive bounds, every octave equally often."""
        return np.asarray(np.exp(self.uniform(np.log(low), np.log(high))), np.float64)

    def integers(self, low: int, high: int) -> NDArray[np.int64]:
        """Draw whole numbers from low to high, both included."""
        return np.array([rng.integers(low, high + 1) for rng in self.generators], np.int64)

    def chosen(self, probability: float) -> Rows:
        """Return the rows of the images for which something happens that has this probability."""
        return np.array([row for row, rng in enumerate(self.generators) if rng.random() < probability], np.intp)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal noise of this shape for each image: (N, *shape)."""
        return torch.stack([self._field(shape).normal_(generator=self._of(rng)) for rng in self.generators])

    def noise(self, *shape: int) -> Tensor:
        """Draw noise uniform in [0, 1) of this shape for each image: (N, *shape)."""
        return torch.stack([self._field(shape).uniform_(generator=self._of(rng)) for rng in self.generators])

    def normal_within(self, sizes: NDArray[np.intp], channels: int, height: int, width: int) -> Tensor:
        """Draw normal noise for images of unlike sizes (N, 2: rows, columns), zero beyond: N×channels×height×width."""
        result = torch.zeros(len(self), channels, height, width, device=self.device)
        for row, (rng, (rows, columns)) in enumerate(zip(self.generators, sizes.tolist(), strict=True)):
            field = self._field((channels, rows, columns))
            result[row, :, :rows, :columns] = field.normal_(generator=self._of(rng))
        return result

    def _field(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, device=self.device)

    def _of(self, rng: np.random.Generator) -> torch.Generator:
        if id(rng) not in self._noise:
            self._noise[id(rng)] = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        return self._noise[id(rng)]
