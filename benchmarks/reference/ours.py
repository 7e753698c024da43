"""Run a task with this project and print what it took as one JSON line; the counterpart of `upstream.py`.

The detector's weights are random here, so that it finds nothing. It is run for its time, view for view; a small
detector that does find the faces has answered in its place once, in a run before, and so decided what is looked at.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does before it loads NumPy

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from concurrent.futures import Future

    from restorer.options import RestoreOptions
    from restorer.pipeline.networks import OpenedNetworks
    from restorer.runtime import Engine


class Spent:
    """Seconds by the clock and of the processor (all threads together), taken again and again."""

    def __init__(self) -> None:
        """Begin with none."""
        self._taken: list[tuple[float, float]] = []

    def __enter__(self) -> None:
        """Start."""
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._taken.append((time.perf_counter() - self._start[0], time.process_time() - self._start[1]))

    def said(self) -> dict[str, object]:
        """Return both lists for the JSON line."""
        return {"seconds": [wall for wall, _ in self._taken], "processor": [used for _, used in self._taken]}


class Answers:
    """What a small detector that does find the faces says to each view in turn: written down once, then told again."""

    def __init__(self, file: Path, detector: str) -> None:
        """Read the file, or open the detector to write it."""
        from restorer.contract import NetworkContract
        from restorer.runtime import open_engine
        from restorer.weights import WeightStore

        self._file, self._asked = file, 0
        self._told: list[tuple[NDArray[np.float32], ...]] = []
        self._engine: Engine | None = None
        if not file.exists():
            self._engine = open_engine(WeightStore(offline=True).detector(detector), device="cpu")
            self.contract = self._engine.contract
            return
        with np.load(file) as kept:
            self.contract = NetworkContract.from_dict(json.loads(str(kept["contract"])))
            self._told = [tuple(kept[f"{n}.{k}"] for k in range(3)) for n in range(int(kept["count"]))]

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return the next answer."""
        if self._engine is not None:
            self._told.append(self._engine(batch))
        self._asked += 1
        return self._told[self._asked - 1]

    def keep(self) -> None:
        """Write down what was answered; in another run, see that the same was asked."""
        if self._engine is None:
            if self._asked != len(self._told):
                raise SystemExit(f"{self._asked} views, but {self._file} has answers to {len(self._told)}: remove it")
            return
        told = {f"{n}.{k}": array for n, answer in enumerate(self._told) for k, array in enumerate(answer)}
        np.savez(self._file, contract=json.dumps(self.contract.to_dict()), count=len(self._told), **told)


class Paid:
    """An engine that runs one network for its time and gives another's answers."""

    def __init__(self, costly: Any, answers: Answers) -> None:  # noqa: ANN401 - an engine
        self._costly, self._answers = costly, answers
        self.contract = answers.contract

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network, return the answer."""
        self._costly(batch)
        return self._answers(batch)


def options(arguments: argparse.Namespace) -> RestoreOptions:
    """Return the options of the reference's run."""
    from restorer.options import RestoreOptions

    return RestoreOptions(
        model=str(arguments.weights / "GFPGANv1.4.pth"),
        device="cpu",
        precision=arguments.precision,
        offline=True,
        restore_sharp=True,  # the reference restores every face, too
        restore_drawn=True,
    )


def networks(
    arguments: argparse.Namespace, answers: Answers | None = None, early: Future[Engine] | None = None
) -> OpenedNetworks:
    """Return the networks of the reference's run: random GFP-GAN and RetinaFace of the official shapes."""
    from restorer.pipeline.detect import Detector
    from restorer.pipeline.networks import OpenedNetworks
    from restorer.runtime import open_engine
    from restorer.weights import WeightStore

    class Timed(OpenedNetworks):
        @functools.cache  # noqa: B019 - as long as the process
        def find(self) -> Callable[..., Any]:
            store = WeightStore(offline=True)
            costly = open_engine(store.detector(str(arguments.weights / "detection_Resnet50_Final.pth")), device="cpu")
            assert answers is not None
            find = Detector(Paid(costly, answers), self._options.det_threshold)
            self._confirm = find.glance
            return find

    return Timed(options(arguments), early=early)


def network(arguments: argparse.Namespace) -> dict[str, object]:
    """Time GFP-GAN on one face; keep the output for comparison."""
    engine = networks(arguments).face_restorer().engine
    crop = np.load(arguments.crop)
    engine(crop)
    spent = Spent()
    for _ in range(arguments.repeat):
        with spent:
            out = engine(crop)[0]
    np.save(arguments.output, out)
    return {**spent.said(), "precision": engine.precision, "backend": engine.backend}


def whole(arguments: argparse.Namespace) -> dict[str, object]:
    """Restore one photograph, file to file, as the command does; the caller times the process."""
    from restorer.runtime.allocator import share_arenas
    from restorer.runtime.early import begin_to_open
    from restorer.weights import WeightStore

    share_arenas()
    early = begin_to_open(WeightStore(offline=True), options(arguments))
    from restorer.api import Restorer
    from restorer.inputs import Input
    from restorer.outputs import Job

    answers = Answers(arguments.answers, arguments.detector)
    opened = networks(arguments, answers, early)
    photo = arguments.photo
    job = Job(Input(str(photo), Path(photo.name), photo), output=arguments.output, comparison=None, format="PNG")
    (report,) = Restorer(options(arguments), engines=opened).run([job])
    if report.error is not None:
        raise report.error
    answers.keep()
    return {"faces": report.restored_faces, "steps": dict(report.seconds), "torch": "torch" in sys.modules}


def paste(arguments: argparse.Namespace) -> dict[str, object]:
    """Time the paste-back alone: crops as restored faces, masks drawn from the points."""
    from restorer.faces import Face, RestoredFace
    from restorer.photo import read_photo
    from restorer.pipeline.align import align
    from restorer.pipeline.mask import face_mask
    from restorer.pipeline.paste import paste as paste_faces
    from restorer.pipeline.upsample import enlarge

    pixels = read_photo(arguments.photo).pixels
    rows = [np.array(row, dtype=np.float32) for row in json.loads(arguments.faces.read_text())]
    spent = Spent()
    for _ in range(arguments.repeat):
        faces = [Face(tuple(map(float, row[:4])), float(row[4]), row[5:].reshape(5, 2)) for row in rows]
        aligned = [align(pixels, face) for face in faces]
        restored = [RestoredFace(face, face.crop) for face in aligned]
        canvas = enlarge(pixels, 2)
        with spent:
            masks = [face_mask(face, scale=2) for face in aligned]
            paste_faces(canvas, restored, masks, scale=2, in_place=True, interpolated=True)  # as the pipeline does
    return spent.said()


def background(arguments: argparse.Namespace) -> dict[str, object]:
    """Time Real-ESRGAN x2plus."""
    from restorer.photo import read_photo
    from restorer.pipeline.upsample import Background
    from restorer.runtime import open_engine
    from restorer.weights import WeightStore

    # backgrounds go by name; the engine takes any file
    file = WeightStore(offline=True).detector(str(arguments.weights / "RealESRGAN_x2plus.pth"))
    engine = open_engine(file, device="cpu", precision=arguments.precision)
    enlarge = Background(engine)
    pixels = read_photo(arguments.photo).pixels
    width, height = pixels.shape[1] * 2, pixels.shape[0] * 2
    spent = Spent()
    for _ in range(arguments.repeat):
        with spent:
            enlarge(pixels, width, height)
    return {**spent.said(), "precision": engine.precision}


TASKS = {"network": network, "whole": whole, "paste": paste, "background": background}


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True, help="taken from the process's affinity")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--crop", type=Path)
    parser.add_argument("--answers", type=Path, help="what the detector says: written where it does not exist yet")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()

    from restorer.cli.boundary import end_process

    print(json.dumps(TASKS[arguments.task](arguments)))
    end_process(0)  # as the command does


if __name__ == "__main__":
    main()
