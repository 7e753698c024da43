"""Networks that return their input, fail on the n-th call, run out of memory, print; a disk that is full.

``python -m tests.fakes BEHAVIOUR [ARGUMENT...]`` is the ``restore`` command with such networks, as its own process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract
from restorer.errors import OutOfMemoryError, WeightsError
from restorer.faces import Face
from restorer.pipeline.identity import Identity
from restorer.pipeline.mask import Parse
from restorer.pipeline.networks import Enlarge, Find
from restorer.pipeline.restore import FaceRestorer
from restorer.pipeline.upsample import Background
from restorer.report import ModelReport

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]

SIZE = 128
CONTRACT = NetworkContract("fake", "face", mean=(127.5,) * 3, scale=1 / 127.5, input_size=SIZE)
MODEL = ModelReport("fake", "0" * 64, False)


PEOPLE = NetworkContract("fake", "identity", mean=(127.5,) * 3, scale=1 / 127.5, input_size=112)


def mean_colours(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """An identity network that knows people by their mean colour."""
    return (batch.mean(axis=(2, 3)) + np.float32(1)).astype(np.float32)


class FakeEngine:
    """A face network that changes its input in a given way; the default returns it."""

    def __init__(
        self, change: Change = lambda batch: batch, contract: NetworkContract = CONTRACT, device: str = "cpu"
    ) -> None:
        self.change, self.contract, self.device = change, contract, device
        self.precision: Any = "fp32"
        self.backend: Any = "torch"
        self.warnings: list[str] = []
        self.batches: list[int] = []

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        self.batches.append(len(batch))
        return (self.change(batch),)

    def describe(self) -> str:
        return "fake"


class FakeNetworks:
    """Networks for the pipeline: a detector given as a function, and one engine."""

    def __init__(
        self,
        find: Find | None = None,
        engine: FakeEngine | None = None,
        *,
        batch: int | None = None,
        parse: Parse | None = None,
        enlarge: Enlarge | None = None,
        confirm: Find | None = None,
    ) -> None:
        self.engine = engine or FakeEngine()
        self.opened: list[str] = []
        self._find = find or one_face
        self._restorer = FaceRestorer(self.engine, batch=batch)
        self._parse, self._enlarge, self._confirm = parse, enlarge, confirm

    def find(self) -> Find:
        self.opened.append("detector")
        return self._find

    def confirm(self) -> Find | None:
        return self._confirm

    def expect_faces(self) -> None:
        pass

    def face_restorer(self) -> FaceRestorer:
        self.opened.append("face")
        return self._restorer

    def face_model(self) -> ModelReport:
        return MODEL

    def parser(self) -> Parse | None:
        return self._parse

    def background(self) -> Enlarge | None:
        return self._enlarge

    def identity(self) -> Identity:
        self.opened.append("identity")
        return Identity(FakeEngine(mean_colours, PEOPLE))

    def device(self) -> tuple[str | None, str | None]:
        return self.engine.device, self.engine.precision

    def on_gpu(self) -> bool:
        return self.engine.device != "cpu"

    def take_notices(self) -> tuple[str, ...]:
        notices = tuple(self._restorer.notices)
        self._restorer.notices.clear()
        return notices


def detector_of(face: Face) -> type:
    """Return a detector that sees this face everywhere."""

    class Sees:
        def __init__(self, engine: object, threshold: float, *, batch: int = 8) -> None:
            pass

        def __call__(self, pixels: NDArray[Any]) -> list[Face]:
            return [face]

        glance = __call__

    return Sees


def face_at(x: float, y: float, size: float, score: float = 0.99) -> Face:
    """Return an upright face whose box is ``size`` pixels wide, about (x, y)."""
    points = np.array([[-0.2, -0.15], [0.2, -0.15], [0.0, 0.08], [-0.15, 0.28], [0.15, 0.28]]) * size + (x, y)
    half = size / 2
    return Face((x - half, y - half, x + half, y + half), score, points.astype(np.float32))


def one_face(pixels: NDArray[Any]) -> list[Face]:
    """Find one face in the middle of any photograph of at least 64 pixels."""
    height, width = pixels.shape[:2]
    return [face_at(width / 2, height / 2, min(width, height) / 2)] if min(width, height) >= 64 else []


def no_face(pixels: NDArray[Any]) -> list[Face]:
    """Find nothing."""
    return []


def many_faces(number: int) -> Find:
    """Return a detector that finds a grid of faces."""

    def find(pixels: NDArray[Any]) -> list[Face]:
        height, width = pixels.shape[:2]
        columns = int(np.ceil(np.sqrt(number)))
        cell_x, cell_y = width / columns, height / columns
        places = [(n % columns, n // columns) for n in range(number)]
        return [face_at((x + 0.5) * cell_x, (y + 0.5) * cell_y, min(cell_x, cell_y) * 0.8) for x, y in places]

    return find


def brighter(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raise a picture by a tenth of the range."""
    return np.clip(batch + np.float32(0.2), -1, 1)


def failing_on(number: int, error: Exception) -> Change:
    """Return a network that raises at its n-th call, counted from 1."""
    calls = 0

    def change(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls == number:
            raise error
        return brighter(batch)

    return change


def short_of_memory(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run out of memory, always."""
    raise OutOfMemoryError("The memory does not suffice even for one face.")


def fitting(most: int) -> Change:
    """Return a network whose memory holds so many faces."""

    def change(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return short_of_memory(batch) if len(batch) > most else brighter(batch)

    return change


def not_a_number(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give NaN."""
    return np.full_like(batch, np.nan)


def printing(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Print, from Python and past it, as careless libraries do."""
    print("noise from Python")
    os.write(1, b"noise from C\n")
    if sys.platform != "win32":
        ctypes.CDLL(None).puts(b"late noise from C")  # C keeps it until the process ends
    return brighter(batch)


def slow(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take long."""
    time.sleep(0.5)
    return brighter(batch)


def disk_full(*args: Any, **keywords: Any) -> int:
    """Stand for os.open on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class NoWeights(FakeNetworks):
    """Networks without a face model."""

    def face_restorer(self) -> FaceRestorer:
        raise WeightsError("There is no face model.")


def enlarger(advance: Callable[[int, int], None] | None = None) -> Background:
    """Return a background network that repeats pixels, in tiles of 32, slow enough to be watched."""

    def repeat(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(0.03)
        return batch.repeat(2, axis=2).repeat(2, axis=3)

    contract = NetworkContract("fake", "upsampler", scale=1 / 255, upscale=2)
    return Background(FakeEngine(repeat, contract), tile=32, advance=advance)


def _networks(behaviour: str, tiles: Callable[[int, int], None] | None) -> FakeNetworks:
    engines: dict[str, Change] = {
        "bright": brighter,
        "oom": short_of_memory,
        "second-fails": failing_on(2, RuntimeError("no luck")),
        "fault": failing_on(1, RuntimeError("no luck")),
        "prints": printing,
        "slow": slow,
    }
    if behaviour == "no-weights":
        return NoWeights()
    if behaviour == "tiles":
        return FakeNetworks(no_face, enlarge=enlarger(tiles))
    return FakeNetworks(engine=FakeEngine(engines.get(behaviour, brighter)))


def _main() -> None:
    from restorer import api
    from restorer.cli.restore import main

    behaviour = sys.argv.pop(1)
    api.OpenedNetworks = lambda *args, **keywords: _networks(behaviour, keywords["tiles"])  # type: ignore[misc, assignment]
    api.pick_device = lambda name: name  # devices are as fake as the networks
    if behaviour == "disk-full":
        real = os.open
        os.open = lambda path, *args, **keywords: (  # type: ignore[assignment]
            disk_full() if str(path).endswith(".part") else real(path, *args, **keywords)
        )
    main()


if __name__ == "__main__":
    _main()
