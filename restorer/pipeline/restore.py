"""Restore aligned faces: crops into the network's numbers, through it, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from restorer.errors import OutOfMemoryError, RestorerError
from restorer.faces import AlignedFace, RestoredFace
from restorer.network_values import from_network, to_network
from restorer.runtime.engine import Engine

DEFAULT_SIZE = 512
DEVICE_BATCH = 8
"""Faces in one pass on a GPU unless asked otherwise: more no longer fill an idle chip, but take memory."""


class RestorationError(RestorerError):
    """Thrown where a network's output is no picture: a wrong shape, or numbers that are not finite."""


class FaceRestorer:
    """A face network with what its contract asks for around it."""

    def __init__(self, engine: Engine, *, batch: int | None = None) -> None:
        """Wrap an engine.

        Args:
            engine: A face network whose output is as large as its input.
            batch: Faces in one pass; None: one on a CPU, several on a GPU.
        """
        self.engine = engine
        self.size: int = engine.contract.input_size or DEFAULT_SIZE
        """Side of the crops in pixels."""
        self.batch = 1 if engine.device == "cpu" else batch or DEVICE_BATCH
        """Faces in one pass; halved for good when memory does not suffice."""
        self.notices: list[str] = []
        """What did not go as planned and was mended, one sentence each."""

    def __call__(
        self, faces: Sequence[AlignedFace], *, advance: Callable[[int], None] | None = None
    ) -> list[RestoredFace]:
        """Restore faces.

        Args:
            faces: Faces whose crops are ``size`` pixels square, sRGB.
            advance: Gets the number of faces of every pass that ended.

        Returns:
            The restored faces in the same order; pixels float32 in 0..255, sRGB.

        Raises:
            OutOfMemoryError: Not even one face fits into memory.
            RestorationError: An output is no picture.
        """
        restored: list[RestoredFace] = []
        while len(restored) < len(faces):
            group = faces[len(restored) : len(restored) + self.batch]
            try:
                pixels = self._run(np.stack([face.crop for face in group]))
            except OutOfMemoryError:
                if len(group) == 1:
                    raise
                self.batch = len(group) // 2
                self.notices.append(
                    f"{len(group)} faces at once did not fit into memory: {self.batch} at once from here on."
                )
                continue
            restored += [RestoredFace(face, picture) for face, picture in zip(group, pixels, strict=True)]
            if advance is not None:
                advance(len(group))
        return restored

    def _run(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        contract = self.engine.contract
        outputs = self.engine(to_network(crops, contract))
        picture = outputs[0]
        expected = (len(crops), 3, self.size, self.size)
        if picture.shape != expected:
            raise RestorationError(f"The face network gave an output of shape {picture.shape} in place of {expected}.")
        if not np.isfinite(picture).all():
            raise RestorationError("The face network gave numbers that are not finite: try --precision fp32.")
        return from_network(picture, contract)
