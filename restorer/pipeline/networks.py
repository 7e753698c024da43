"""The networks of one run, each found and opened when it is first needed, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from restorer import runtime
from restorer.errors import RestorerError, WeightsError
from restorer.faces import Face
from restorer.network_values import to_network
from restorer.options import RestoreOptions
from restorer.pipeline.confirm import LEAST_SCORE
from restorer.pipeline.detect import Detector
from restorer.pipeline.detect_turned import in_all_turns
from restorer.pipeline.detect_views import LARGE
from restorer.pipeline.identity import WEIGHTS as IDENTITY_WEIGHTS
from restorer.pipeline.identity import Identity
from restorer.pipeline.mask import Parse
from restorer.pipeline.restore import FaceRestorer
from restorer.pipeline.upsample import Background
from restorer.report import ModelReport
from restorer.runtime.device import pick_device
from restorer.runtime.early import begin_to_open
from restorer.runtime.engine import Engine, PictureEngine
from restorer.weights import Weights, WeightStore

Find = Callable[[NDArray[Any]], list[Face]]
"""H×W×3 RGB uint8 or uint16 -> faces from left to right."""
Enlarge = Callable[[NDArray[Any], int, int], NDArray[Any]]
"""H×W×3 RGB uint8 or uint16, width, height -> the picture at that size."""
Notify = Callable[[str], None]


DEVICE_VIEWS = 32
"""Most views that a detector looks at in one pass on a GPU."""


class Networks(Protocol):
    """What the pipeline asks for; tests put networks of their own here. Any thread may ask."""

    def find(self) -> Find:
        """Return the face detector."""
        ...

    def confirm(self) -> Find | None:
        """Return the detector for a second look at faces cut out upright; None: faces are taken as they are found."""
        ...

    def expect_faces(self) -> None:
        """Begin to open the face network beside other work, if that is cheap enough should no face be found."""
        ...

    def face_restorer(self) -> FaceRestorer:
        """Return the face network."""
        ...

    def face_model(self) -> ModelReport:
        """Say which face model it is."""
        ...

    def parser(self) -> Parse | None:
        """Return the face parser, or None where its weights are not at hand."""
        ...

    def background(self) -> Enlarge | None:
        """Return the background network, or None where the background is enlarged without one."""
        ...

    def identity(self) -> Identity:
        """Return the network that tells people apart."""
        ...

    def device(self) -> tuple[str | None, str | None]:
        """Return device and precision of the face network, or of the detector as long as there is no other."""
        ...

    def on_gpu(self) -> bool:
        """Return whether networks run on a GPU, so that the processor is free for other photographs meanwhile."""
        ...

    def take_notices(self) -> tuple[str, ...]:
        """Return what was mended since the last call (smaller batches, other masks), one sentence each."""
        ...


class OpenedNetworks:
    """The real networks, by the options of a run."""

    def __init__(
        self,
        options: RestoreOptions,
        *,
        store: WeightStore | None = None,
        detector: str = "auto",
        notify: Notify | None = None,
        describe: Notify | None = None,
        tiles: Callable[[int, int], None] | None = None,
        lock: AbstractContextManager[Any] | None = None,
        early: Future[Engine] | None = None,
    ) -> None:
        """Prepare; no file is opened yet.

        Args:
            options: Names of models, device, precision.
            store: Finds weights; None: one by the options.
            detector: The detector's name in the table; auto: the best at hand.
            notify: Gets sentences for the user, such as a fall-back to a bundled network.
            describe: Gets a line about every network that is opened.
            tiles: Gets the number of background tiles done, and of all tiles of a photograph.
            lock: Held while networks are opened; may be entered again. Networks that share a store share it.
            early: The face network, which is being opened already.

        Raises:
            UsageError: The options name a face model that nobody knows.
            WeightsError: They name a checkpoint that does not exist.
        """
        self._options = options
        self._store = store or WeightStore(
            weights_dir=options.weights_dir, offline=options.offline, notify=notify or (lambda _: None)
        )
        self._store.check_face_model(options.model)  # rather than after the first face is found
        self._detector, self._tiles = detector, tiles
        self._describe = describe or (lambda _: None)
        self._lock: AbstractContextManager[Any] = lock or threading.RLock()
        self._engines: list[Engine] = []
        self._find: Find | None = None
        self._confirm: Find | None = None
        self._restorer: FaceRestorer | None = None
        self._model: Weights | None = None
        self._parser: Parse | None = None
        self._parser_sought = False
        self._background: Enlarge | None = None
        self._identity: Identity | None = None
        self._notices: list[str] = []
        self._told: list[int] = []
        self._detector_notice: str | None = None
        self._expected = False
        self._early = early

    def find(self) -> Find:
        """Return the face detector, opened at the first call.

        Raises:
            WeightsError: There is none to be had.
            DeviceError: The device is missing.
        """
        with self._lock:
            if self._find is None:
                weights = self._store.detector(self._detector)
                self._detector_notice = weights.notice
                engine = self._open(weights, "detector")
                detector = Detector(engine, self._options.det_threshold, batch=_views(engine))
                self._find = in_all_turns(detector) if self._options.rotations == "all" else detector
                self._confirm = Detector(engine, min(LEAST_SCORE, self._options.det_threshold)).glance
            return self._find

    def confirm(self) -> Find | None:
        """Return the face detector's glance at faces that stand upright; see :meth:`find` for errors."""
        with self._lock:
            self.find()
            return self._confirm

    def face_model(self) -> ModelReport:
        """Find the face model without opening it; see :meth:`find` for errors."""
        with self._lock:
            if self._model is None:
                self._model = self._store.face_model(self._options.model)
            return ModelReport(self._model.name, self._model.sha256, self._model.fallback)

    def expect_faces(self) -> None:
        """Begin to open the face network where that is cheap; what goes wrong is said by :meth:`face_restorer`."""
        with self._lock:
            if self._early is None and not self._expected and self._restorer is None:
                self._expected = True
                self._early = begin_to_open(self._store, self._options)

    def face_restorer(self) -> FaceRestorer:
        """Return the face network, opened at the first call; see :meth:`find` for errors."""
        with self._lock:
            if self._restorer is None:
                self.face_model()
                assert self._model is not None
                early, self._early = self._early, None
                engine = self._open(self._model, "face", early=early)
                if engine.contract.upscale != 1:
                    raise WeightsError(f"{self._model.path} enlarges, so it is no face model: give another --model.")
                exact = partial(self._open, self._model, "face", precision="fp32")
                self._restorer = FaceRestorer(engine, batch=self._options.batch, exact=exact)
            return self._restorer

    def parser(self) -> Parse | None:
        """Return the face parser if its weights are on disk; see :meth:`find` for errors."""
        with self._lock:
            if not self._parser_sought:
                weights = self._store.parser()
                self._parser = None if weights is None else _as_parse(self._open(weights, "parser"))
                self._parser_sought = True
            return self._parser

    def background(self) -> Enlarge | None:
        """Return the background network, opened at the first call; see :meth:`find` for errors."""
        with self._lock:
            if self._options.bg_upsampler != "none" and self._background is None:
                engine = self._open(self._store.background(self._options.bg_upsampler), "upsampler")
                self._background = Background(
                    engine, tile=self._options.tile, notify=self._notices.append, advance=self._tiles
                )
            return self._background

    def identity(self) -> Identity:
        """Return the identity network, opened at the first call; see :meth:`find` for errors."""
        with self._lock:
            if self._identity is None:
                self._identity = Identity(self._open(self._store.get(IDENTITY_WEIGHTS), "identity"))
            return self._identity

    def on_gpu(self) -> bool:
        """Return whether networks run on a GPU; False where that cannot be told, and opening one will say why."""
        try:
            return pick_device(self._options.device) != "cpu"
        except RestorerError:
            return False

    def device(self) -> tuple[str | None, str | None]:
        """Return device and precision, such as ``cpu`` and ``bf16``."""
        engine = self._restorer.engine if self._restorer is not None else next(iter(self._engines), None)
        return (None, None) if engine is None else (engine.device, engine.precision)

    def take_notices(self) -> tuple[str, ...]:
        """Return what was mended since the last call; the stand-in detector is named every time."""
        with self._lock:
            said = [*self._notices, *(self._restorer.notices if self._restorer is not None else [])]
            self._notices.clear()
            if self._restorer is not None:
                self._restorer.notices.clear()
            fresh = []
            for number, engine in enumerate(self._engines):
                fresh += engine.warnings[self._told[number] :]
                self._told[number] = len(engine.warnings)
            lasting = [self._detector_notice] if self._detector_notice else []
            return tuple(dict.fromkeys([*lasting, *said, *fresh]))

    def _open_engine(self, weights: Weights, precision: str) -> Engine:
        return runtime.open_engine(weights, device=self._options.device, precision=precision)

    def _open(
        self, weights: Weights, kind: str, precision: str | None = None, early: Future[Engine] | None = None
    ) -> Engine:
        """Open a network, or take the one that is being opened already, and tell of it."""
        engine = (
            early.result() if early is not None else self._open_engine(weights, precision or self._options.precision)
        )
        if engine.contract.kind != kind:
            raise WeightsError(
                f"{weights.path} holds a network of kind {engine.contract.kind} ({engine.contract.architecture}), "
                f"where one of kind {kind} is needed."
            )
        with self._lock:
            self._engines.append(engine)
            self._told.append(0)
        self._describe(f"{kind}: {weights.name} ({weights.path}, SHA-256 {weights.sha256[:12]}), {engine.describe()}")
        return engine


def _views(engine: Engine) -> int:
    """Return how many views a detector looks at in one pass; a processor runs them one by one in any case."""
    if engine.device == "cpu" or not isinstance(engine, PictureEngine):
        return 8
    return engine.room(LARGE, DEVICE_VIEWS)


def _as_parse(engine: Engine) -> Parse:
    def parse(crop: NDArray[np.float32]) -> NDArray[Any]:
        scores = engine(to_network(crop[None], engine.contract))[0]
        if not np.isfinite(scores).all():
            raise RestorerError("The face parser gave numbers that are not finite: try --precision fp32.")
        classes: NDArray[Any] = scores[0].argmax(axis=0)
        return classes

    return parse
