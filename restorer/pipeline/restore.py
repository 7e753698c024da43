"""Restore aligned faces: crops into the network's numbers, through it, and back; what comes back is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from restorer.errors import OutOfMemoryError, RestorerError
from restorer.faces import AlignedFace, RestoredFace
from restorer.network_values import from_network, to_network, went_blank
from restorer.runtime.engine import Engine, PictureEngine

DEFAULT_SIZE = 512
DEVICE_BATCH = 8
"""Most faces in one pass on a GPU unless asked otherwise: more no longer fill an idle chip, but take memory."""

Advance = Callable[[int], None]


class RestorationError(RestorerError):
    """Thrown where a network's output is no picture of the face: a wrong shape, numbers not finite, one colour."""


class FaceRestorer:
    """A face network with what its contract asks for around it."""

    def __init__(self, engine: Engine, *, batch: int | None = None, exact: Callable[[], Engine] | None = None) -> None:
        """Wrap an engine.

        Args:
            engine: A face network whose output is as large as its input.
            batch: Faces in one pass; None: one on a CPU, on a GPU as many as are worth while and fit into memory.
            exact: Opens the same network in fp32, for faces that come out spoilt in a lower precision.
        """
        self.engine = engine
        self.size: int = engine.contract.input_size or DEFAULT_SIZE
        """Side of the crops in pixels."""
        self.batch = 1 if engine.device == "cpu" else batch or self._room()
        """Faces in one pass; halved for good when memory does not suffice."""
        self.notices: list[str] = []
        """What did not go as planned and was mended, one sentence each."""
        self._open_exact = exact
        self._exact: Engine | None = None

    def __call__(self, faces: Sequence[AlignedFace], *, advance: Advance | None = None) -> list[RestoredFace]:
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
        for pictures in self._passes(faces):
            group = faces[len(restored) : len(restored) + len(pictures)]
            restored += [
                RestoredFace(face, self._sound(face.crop, picture))
                for face, picture in zip(group, pictures, strict=True)
            ]
            if advance is not None:
                advance(len(group))
        return restored

    def _room(self) -> int:
        return self.engine.room(self.size, DEVICE_BATCH) if isinstance(self.engine, PictureEngine) else DEVICE_BATCH

    def _passes(self, faces: Sequence[AlignedFace]) -> Iterator[NDArray[np.float32]]:
        """Yield what the network makes of the faces, N×size×size×3 for each pass; NaN where it is not finite."""
        if faces and isinstance(self.engine, PictureEngine):
            yield from self.engine.pictures([face.crop for face in faces], self.batch)
            return
        done = 0
        while done < len(faces):
            group = faces[done : done + self.batch]
            try:
                pictures = _pictures(self.engine, [face.crop for face in group])
            except OutOfMemoryError:
                if len(group) == 1:
                    raise
                self.batch = len(group) // 2
                self.notices.append(
                    f"{len(group)} faces at once did not fit into memory: {self.batch} at once from here on."
                )
                continue
            yield pictures
            done += len(group)

    def _sound(self, crop: NDArray[np.float32], picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a restored face, or the same face restored in fp32 where this one is spoilt.

        Only the face itself is run again: what becomes of a face must not depend on those that came before it.
        """
        fault = _fault(crop, picture)
        if fault is None:
            return picture
        precision = self.engine.precision
        if precision == "fp32" or self._open_exact is None:
            hint = "another --model or --device cpu" if precision == "fp32" else "--precision fp32"
            raise RestorationError(f"The face network gave {fault}: try {hint}.")
        self._exact = self._exact or self._open_exact()
        again: NDArray[np.float32] = _pictures(self._exact, [crop])[0]
        still = _fault(crop, again)
        if still is not None:
            raise RestorationError(
                f"The face network gave {fault} in {precision} and {still} in fp32: try another --model or "
                "--device cpu."
            )
        self.notices.append(f"The face network gave {fault} in {precision}: that face was restored in fp32 instead.")
        return again


def _pictures(engine: Engine, crops: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Run a network on crops that fit into one pass; N×size×size×3, NaN where the network is not finite."""
    if isinstance(engine, PictureEngine):
        return np.concatenate(list(engine.pictures(crops, len(crops))))
    contract = engine.contract
    planes = engine(to_network(np.stack(crops), contract))[0]
    expected = (len(crops), 3, *crops[0].shape[:2])
    if planes.shape != expected:
        raise RestorationError(f"The face network gave an output of shape {planes.shape} in place of {expected}.")
    pictures = from_network(planes, contract)
    pictures[~np.isfinite(planes).all(axis=(1, 2, 3))] = np.nan  # clipping would have made a picture of infinities
    return pictures


def _fault(crop: NDArray[np.float32], picture: NDArray[np.float32]) -> str | None:
    """Say what is wrong with a network's result for a crop, or return None."""
    if picture.shape != crop.shape:
        raise RestorationError(f"The face network gave a picture of shape {picture.shape} in place of {crop.shape}.")
    if not np.isfinite(picture).all():
        return "numbers that are not finite"
    return "a picture of one colour" if went_blank(crop, picture) else None
