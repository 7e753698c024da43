"""Run a task with this project and print what it took as one JSON line; the counterpart of `upstream.py`.

The detector's weights are random here, so that it finds nothing. It is run for its time, view for view, and a small
detector that does find the faces answers in its place and decides which views are looked at; its time counts, too.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


class Paid:
    """An engine that runs one network for its time and another for its answers."""

    def __init__(self, costly: Any, telling: Any) -> None:  # noqa: ANN401 - two engines
        self._costly, self._telling = costly, telling
        self.contract = telling.contract

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run both, return the second's answer."""
        self._costly(batch)
        answer: tuple[NDArray[np.float32], ...] = self._telling(batch)
        return answer


def networks(arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - OpenedNetworks, imported late
    """Return the networks of the reference's run: random GFP-GAN and RetinaFace of the official shapes."""
    from restorer.options import RestoreOptions
    from restorer.pipeline.detect import Detector
    from restorer.pipeline.networks import OpenedNetworks
    from restorer.runtime import open_engine
    from restorer.weights import WeightStore

    class Timed(OpenedNetworks):
        @functools.cache  # noqa: B019 - as long as the process
        def find(self) -> Callable[..., Any]:
            store = WeightStore(offline=True)
            costly = open_engine(store.detector(str(arguments.weights / "detection_Resnet50_Final.pth")), device="cpu")
            telling = open_engine(store.detector(arguments.detector), device="cpu")
            find = Detector(Paid(costly, telling), options.det_threshold)
            self._confirm = find.glance
            return find

    options = RestoreOptions(
        model=str(arguments.weights / "GFPGANv1.4.pth"),
        device="cpu",
        precision=arguments.precision,
        offline=True,
        restore_sharp=True,  # the reference restores every face, too
        restore_drawn=True,
    )
    return Timed(options)


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
    """Restore one photograph, file to file; the caller times the process."""
    from restorer.api import Restorer
    from restorer.inputs import Input
    from restorer.outputs import Job

    opened = networks(arguments)
    photo = arguments.photo
    job = Job(Input(str(photo), Path(photo.name), photo), output=arguments.output, comparison=None, format="PNG")
    (report,) = Restorer(opened._options, engines=opened).run([job])
    if report.error is not None:
        raise report.error
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
            paste_faces(canvas, restored, masks, scale=2, in_place=True)  # as the pipeline does
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
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeat", type=int, default=1)
    arguments = parser.parse_args()
    print(json.dumps(TASKS[arguments.task](arguments)))


if __name__ == "__main__":
    main()
