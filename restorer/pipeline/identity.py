"""Measure how far a face's identity drifted: the angle between two faces in ArcFace's space of people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restorer.errors import RestorerError
from restorer.faces import RestoredFace
from restorer.network_values import to_network
from restorer.resample import Matrix, compose, invert, scaling, shrink_for_warp, warp
from restorer.runtime.engine import Engine

WEIGHTS = "arcface"
"""Name in the weights table."""
IDENTITY_LIMIT = 60.0
"""Degrees above which the command warns. Users of ArcFace take two pictures for the same person up to about 70 degrees
(a cosine of 0.32 to 0.34), strangers lie near 90; restorations of the paper lie 35 from the truth, its inputs 48."""
_CROP_SIZE = 512
_CROP_TO_ARCFACE: Matrix = np.array(
    [[2.92090042e-01, 4.44961956e-05, -1.89301403e01], [-4.44961956e-05, 2.92090042e-01, -1.78600212e01]]
)
"""From an aligned 512 crop to ArcFace's 112: the similarity that brings one template's points nearest the other's."""


class Identity:
    """An ArcFace network with what its contract asks for around it."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine that maps N×3×S×S to N×D."""
        self._engine = engine
        self._size = engine.contract.input_size or 112

    def embed(self, crops: NDArray[np.float32]) -> NDArray[np.float64]:
        """Place faces in the space of people.

        Args:
            crops: N×S×S×3 RGB float32 in 0..255, sRGB, their five points on the template that crops are aligned to.

        Returns:
            N×D unit vectors.

        Raises:
            RestorerError: The network gave numbers that are not finite.
        """
        views = np.stack([self._view(crop) for crop in crops])
        found = self._engine(to_network(views, self._engine.contract))[0].astype(np.float64)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        if not (np.isfinite(found).all() and (lengths > 0).all()):
            raise RestorerError("The identity network gave numbers that are not finite: try --precision fp32.")
        unit: NDArray[np.float64] = found / lengths
        return unit

    def angles(self, crops: NDArray[np.float32], others: NDArray[np.float32]) -> list[float]:
        """Return the angle in degrees between each face and its counterpart; see :meth:`embed` for the pictures."""
        return [angle(a, b) for a, b in zip(self.embed(crops), self.embed(others), strict=True)]

    def _view(self, crop: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut ArcFace's view out of an aligned crop."""
        unit = _CROP_SIZE / crop.shape[0]
        size = self._size / 112
        to_crop = invert(compose(scaling(size, size), compose(_CROP_TO_ARCFACE, scaling(unit, unit))))
        shrunk, to_shrunk = shrink_for_warp(crop, to_crop)
        return np.clip(warp(shrunk, to_shrunk, self._size, self._size), 0, 255)


def angle(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the angle between two unit vectors in degrees, exact for equal ones, where an arc cosine is not."""
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(first - second), np.linalg.norm(first + second))))


def drift(network: Identity, faces: Sequence[RestoredFace], strength: float) -> tuple[float, ...]:
    """Return by how many degrees each face turned from its crop when it was restored and blended with it.

    Args:
        network: The identity network.
        faces: sRGB crops and what was made of them.
        strength: Of the blend: 0 the crop, 1 the restored face.
    """
    angles = []
    for face in faces:
        crop = face.aligned.crop
        blend = crop + np.float32(strength) * (face.pixels - crop)
        angles += network.angles(crop[None], blend[None])
    return tuple(angles)


def drift_warnings(angles: Sequence[float | None]) -> tuple[str, ...]:
    """Return a sentence for each face that drifted too far; ``angles`` holds None for faces that were not measured."""
    return tuple(
        f"Face {number} may no longer be the same person: its identity turned by {value:.0f}°, more than "
        f"{IDENTITY_LIMIT:.0f}°; try a lower --strength."
        for number, value in enumerate(angles, 1)
        if value is not None and value > IDENTITY_LIMIT
    )
