"""Measure bundled face networks on aligned faces: degraded input against restored, with fixed seeds.

    python benchmarks/bundled.py val-512.zip --model lite --model benchmarks/lite-unet.safetensors \
        --detector retinaface_mobilenet0.25.pth --sheet sheets/

The faces are a zip or folder of aligned 512×512 crops with a manifest.json, as `restorer train` reads them. Every
network restores the same degraded pictures. Every figure is a mean over the faces:

- PSNR in dB, at most 60 a face: identical pictures have an infinite one, which no mean bears; SSIM;
- HaarPSI and FSIM, by piq, with the recipes of `restorer evaluate`;
- `grad`, the gradient energy of the luma (the sum of squared differences of neighbours) in the central 320², divided by
  the truth's; `edges`, the correlation of its Sobel magnitude there with the truth's: noise has energy, no correlation;
- `points`, with --detector: the mean distance in pixels of the five points that the detector sees in the picture (the
  largest face, score 0.5 or more) from the manifest's, over the faces in which it sees one in every method's picture;
  `seen`: in how many faces it sees one at all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restorer.evaluation.fsim import open_fsim
from restorer.evaluation.haarpsi import open_haarpsi
from restorer.evaluation.metric import Tools
from restorer.faces import AlignedFace, Face
from restorer.options import RestoreOptions
from restorer.pipeline.networks import OpenedNetworks
from restorer.pipeline.restore import FaceRestorer
from restorer.runtime import open_engine
from restorer.training.dataset import AlignedCrop, load_faces
from restorer.training.degradations import PRESETS, DegradationSettings, degrade
from restorer.weights import WeightStore

Pixels = NDArray[np.uint8]
Find = Callable[[NDArray[Any]], list[Face]]

DEGRADATIONS: dict[str, DegradationSettings | None] = {
    "released": PRESETS["released"],
    "mild": DegradationSettings(sigma=(0.1, 3), downscale=(0.8, 2.5), noise=(0, 7), quality=(85, 100)),
    "medium": DegradationSettings(sigma=(3, 6), downscale=(2.5, 5), noise=(7, 13), quality=(70, 90)),
    "heavy": DegradationSettings(sigma=(6, 10), downscale=(5, 8), noise=(13, 20), quality=(60, 75)),
    "none": None,
}
CENTRE = slice(96, 416)
CAP = 60.0
SEEN = 0.5
FIGURES = ("PSNR", "SSIM", "HaarPSI", "FSIM", "grad", "edges")


@dataclass(frozen=True)
class Judged:
    """One method's pictures."""

    figures: NDArray[np.float64]
    """Faces × FIGURES."""
    points: NDArray[np.float64]
    """Distance of the points of each face; NaN where no face is seen."""


class Judges:
    """What a picture is measured by."""

    def __init__(self, find: Find | None) -> None:
        tools = Tools(WeightStore(offline=True), offline=True, device="cpu")
        self.haarpsi, self.fsim, self.find = open_haarpsi(tools), open_fsim(tools), find

    def figures(self, image: Pixels, truth: Pixels) -> list[float]:
        """Return FIGURES of one picture."""
        same = not (image != truth).any()
        (haarpsi,), (fsim,) = self.haarpsi([image], [truth]), self.fsim([image], [truth])
        assert haarpsi is not None and fsim is not None
        return [
            CAP if same else min(CAP, peak_signal_noise_ratio(truth, image, data_range=255)),
            structural_similarity(truth, image, channel_axis=2, data_range=255),
            haarpsi,
            fsim,
            energy(image) / energy(truth),
            float(np.corrcoef(sobel(image), sobel(truth))[0, 1]),
        ]

    def points(self, image: Pixels, face: AlignedCrop) -> float:
        """Return how far the points that are seen lie from the known ones; NaN where no face is seen."""
        faces = self.find(image) if self.find is not None else []
        if not faces:
            return float("nan")
        seen = max(faces, key=lambda found: found.width * found.height).landmarks
        return float(np.linalg.norm(seen - face.points, axis=1).mean())


def luma(image: Pixels) -> NDArray[np.float64]:
    """Return the central 320² of the luma as float64."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[CENTRE, CENTRE].astype(np.float64)


def energy(image: Pixels) -> float:
    """Return the sum of squared neighbour differences of the luma."""
    y = luma(image)
    return float((np.diff(y, axis=0) ** 2).sum() + (np.diff(y, axis=1) ** 2).sum())


def sobel(image: Pixels) -> NDArray[np.float64]:
    """Return the Sobel magnitude of the luma, flattened."""
    y = luma(image)
    return np.hypot(cv2.Sobel(y, cv2.CV_64F, 1, 0), cv2.Sobel(y, cv2.CV_64F, 0, 1)).ravel()


def restore(network: FaceRestorer, face: AlignedCrop, image: Pixels) -> Pixels:
    """Restore one aligned crop."""
    known = Face((0.0, 0.0, *map(float, image.shape[1::-1])), face.points, 1.0)
    (restored,) = network([AlignedFace(known, image.astype(np.float32), np.eye(2, 3))])
    return np.clip(np.rint(restored.pixels), 0, 255).astype(np.uint8)


def measure(
    faces: list[AlignedCrop],
    networks: dict[str, FaceRestorer],
    settings: DegradationSettings | None,
    judges: Judges,
    sheet: Path | None,
) -> dict[str, Judged]:
    """Return the figures of the input and of every network; ``settings`` None: nothing is degraded."""
    figures: dict[str, list[list[float]]] = {name: [] for name in ("input", *networks)}
    points: dict[str, list[float]] = {name: [] for name in figures}
    for number, face in enumerate(faces):
        rng = np.random.default_rng([0, number])
        degraded = degrade(face.pixels, settings, rng) if settings else face.pixels
        pictures = {"input": degraded}
        pictures |= {name: restore(network, face, degraded) for name, network in networks.items()}
        for name, picture in pictures.items():
            figures[name].append(judges.figures(picture, face.pixels))
            points[name].append(judges.points(picture, face))
        if sheet:
            row = np.concatenate([*pictures.values(), face.pixels], axis=1)
            cv2.imwrite(str(sheet / f"{Path(face.name).stem}.png"), row[..., ::-1])
    return {name: Judged(np.array(figures[name]), np.array(points[name])) for name in figures}


def report(degradation: str, judged: dict[str, Judged], detector: bool) -> None:
    """Print a line a method."""
    everywhere = np.all([~np.isnan(one.points) for one in judged.values()], axis=0)
    for name, one in judged.items():
        line = f"{degradation:12}{name:12}" + "".join(f"{figure:9.3f}" for figure in one.figures.mean(axis=0))
        if detector:
            line += f"{one.points[everywhere].mean():9.2f}{(~np.isnan(one.points)).sum():6}"
        print(line, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--model", action="append", help="a name or file, as often as you like  [default: lite]")
    parser.add_argument("--detector", help="a name or file: measures points, too")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--count", type=int, default=None, help="only the first N faces")
    parser.add_argument("--only", nargs="*", choices=DEGRADATIONS, default=list(DEGRADATIONS), help="degradations")
    parser.add_argument("--sheet", type=Path, help="folder for degraded | restored ... | truth, released degradation")
    arguments = parser.parse_args()
    faces = load_faces(arguments.faces)[: arguments.count]
    store = WeightStore(offline=True)
    networks, said = {}, []
    for model in arguments.model or ["lite"]:
        engine = open_engine(store.face_model(model), device="cpu", precision=arguments.precision)
        networks[Path(model).stem] = FaceRestorer(engine)
        said.append(f"{Path(model).stem} ({engine.backend} {engine.precision})")
    find = None
    if arguments.detector:
        options = RestoreOptions(det_threshold=SEEN, device="cpu", offline=True)
        find = OpenedNetworks(options, store=store, detector=arguments.detector).find()
    if arguments.sheet:
        arguments.sheet.mkdir(parents=True, exist_ok=True)
    print(f"{len(faces)} faces, {', '.join(said)}")
    head = "".join(f"{name:>9}" for name in FIGURES)
    print(f"{'degradation':12}{'':12}{head}" + (f"{'points':>9}{'seen':>6}" if find else ""))
    judges = Judges(find)
    for name in arguments.only:
        sheet = arguments.sheet if name == "released" else None
        report(name, measure(faces, networks, DEGRADATIONS[name], judges, sheet), bool(find))


if __name__ == "__main__":
    main()
