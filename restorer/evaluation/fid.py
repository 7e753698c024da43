"""Fréchet distance between two sets of pictures in the features of Inception."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.errors import PhotoError, WeightsError
from restorer.evaluation.metric import Metric, Pixels, Tools, by_size, library, planes

NETWORK = "inception"
"""Name in the weights table."""

METRIC = Metric(
    "fid",
    "FID",
    higher_is_better=False,
    decimals=2,
    needs_truth=False,
    of_the_set=True,
    recipe="Inception v3 (2015-12-05), 2048 features before the last layer, RGB 8 bits brought to 299×299 as "
    "TensorFlow 1 does (bilinear, no antialiasing); statistics and distance in float64. Few pictures make it larger: "
    "compare equal numbers only",
    source="Heusel et al., NeurIPS 2017; features by torch-fidelity, distance by own code",
)

FloatArray = NDArray[np.float64]
Features = Callable[[Sequence[Pixels]], FloatArray]
"""Pictures -> N×2048."""


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of a set's features, float64."""

    mean: FloatArray
    """Shape (D,)."""
    covariance: FloatArray
    """Shape (D, D), divided by N - 1."""

    def save(self) -> bytes:
        """Return a ``.npz`` file with ``mu`` and ``sigma``, the names that FID programs use."""
        file = io.BytesIO()
        np.savez(file, mu=self.mean, sigma=self.covariance)
        return file.getvalue()

    @classmethod
    def load(cls, path: Path) -> Gaussian:
        """Read what :meth:`save` or another FID program wrote.

        Raises:
            PhotoError: The file is missing, damaged or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                mean, covariance = np.asarray(file["mu"], np.float64), np.asarray(file["sigma"], np.float64)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise PhotoError(f"{path} holds no statistics: give a .npz file with mu and sigma, or a folder.") from error
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or not np.isfinite(covariance).all():
            raise PhotoError(f"{path} holds a mean of shape {mean.shape} and a covariance of {covariance.shape}.")
        return cls(mean, covariance)


class Moments:
    """Adds up features, however they are cut into batches."""

    def __init__(self) -> None:
        self.count = 0
        self._first: FloatArray | None = None
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, features: NDArray[Any]) -> None:
        """Add features, N×D."""
        values = np.asarray(features, np.float64)
        if self._first is None:
            # Sums about a point near the mean lose no digits.
            self._first = values[0].copy()
        values = values - self._first
        self.count += len(values)
        self._sum = self._sum + values.sum(axis=0)
        self._squares = self._squares + values.T @ values

    def gaussian(self) -> Gaussian | None:
        """Return mean and covariance; None for fewer than two pictures, which have no covariance."""
        if self._first is None or self.count < 2:
            return None
        shift = self._sum / self.count
        covariance = (self._squares - self.count * np.outer(shift, shift)) / (self.count - 1)
        return Gaussian(self._first + shift, covariance)


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Return the squared Fréchet distance of two Gaussians: |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½).

    The trace of the root is the sum of the singular values of S1^½ S2^½, which stays exact for singular covariances.

    Raises:
        PhotoError: The two have different numbers of features.
    """
    if first.mean.shape != second.mean.shape:
        raise PhotoError(
            f"The statistics hold {len(second.mean)} features where this network gives {len(first.mean)}: they are "
            "another network's."
        )
    root = np.linalg.svd(_root(first.covariance).T @ _root(second.covariance), compute_uv=False).sum()
    offset = first.mean - second.mean
    distance = offset @ offset + np.trace(first.covariance) + np.trace(second.covariance) - 2 * root
    return max(0.0, float(distance))


def _root(covariance: FloatArray) -> FloatArray:
    """Return R with R Rᵀ = covariance, its columns of no length left out."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    root: FloatArray = vectors[:, kept] * np.sqrt(values[kept])
    return root


def open_features(tools: Tools) -> Features:
    """Return Inception's features.

    Raises:
        Unavailable: torch-fidelity is not installed, or the weights are not to be had.
        WeightsError: The file is no such Inception.
    """
    import torch

    from restorer.checkpoints.reading import first_line, read

    module = library("torch_fidelity.feature_extractor_inceptionv3", "torch-fidelity")
    weights = tools.weights(NETWORK)
    # The library would unpickle the file freely; it gets tensors that were read as data only.
    clean = io.BytesIO()
    torch.save(read(weights.path).state, clean)
    clean.seek(0)
    try:
        network = module.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=clean)
    except RuntimeError as error:
        raise WeightsError(f"{weights.path} is no Inception for FID ({first_line(error)}): get it anew.") from error
    device = tools.torch_device()
    network.to(device)

    def features(pictures: Sequence[Pixels]) -> FloatArray:
        values = np.zeros((len(pictures), 2048))
        with torch.inference_mode():
            for places in by_size(pictures):
                (found,) = network(planes([pictures[place] for place in places], torch.uint8).to(device))
                values[places] = found.cpu().numpy()
        return values

    return features
