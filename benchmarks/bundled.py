"""Measure the bundled face network on aligned faces: degraded input against restored, with fixed seeds.

    python benchmarks/bundled.py val-512.zip --model lite --sheet sheets/

The faces are a zip or folder of aligned 512×512 crops with a manifest.json, as `restorer train` reads them. Every
figure is a mean over the faces (PSNR at most 60 dB each); `grad` is the gradient energy of the luma in the central
320², divided by the truth's, `edges` the correlation of its Sobel magnitude with the truth's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from restorer.faces import AlignedFace, Face
from restorer.pipeline.restore import FaceRestorer
from restorer.runtime import open_engine
from restorer.training.dataset import AlignedCrop, load_faces
from restorer.training.degradations import PRESETS, DegradationSettings, degrade
from restorer.weights import WeightStore

STRENGTHS = {
    "mild": DegradationSettings(sigma=(0.1, 3), downscale=(0.8, 2.5), noise=(0, 7), quality=(85, 100)),
    "medium": DegradationSettings(sigma=(3, 6), downscale=(2.5, 5), noise=(7, 13), quality=(70, 90)),
    "heavy": DegradationSettings(sigma=(6, 10), downscale=(5, 8), noise=(13, 20), quality=(60, 75)),
}
CENTRE = slice(96, 416)
CAP = 60.0
"""Highest PSNR of one face in dB: identical pictures have an infinite one, which no mean bears."""


def luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the central 320² of the luma as float64."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[CENTRE, CENTRE].astype(np.float64)


def energy(image: NDArray[np.uint8]) -> float:
    """Return the sum of squared neighbour differences of the luma."""
    y = luma(image)
    return float((np.diff(y, axis=0) ** 2).sum() + (np.diff(y, axis=1) ** 2).sum())


def sobel(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the Sobel magnitude of the luma, flattened."""
    y = luma(image)
    return np.hypot(cv2.Sobel(y, cv2.CV_64F, 1, 0), cv2.Sobel(y, cv2.CV_64F, 0, 1)).ravel()


def judge(image: NDArray[np.uint8], truth: NDArray[np.uint8]) -> list[float]:
    """Return PSNR, SSIM, gradient energy ratio and edge correlation."""
    return [
        min(CAP, peak_signal_noise_ratio(truth, image, data_range=255)) if (image != truth).any() else CAP,
        structural_similarity(truth, image, channel_axis=2, data_range=255),
        energy(image) / energy(truth),
        float(np.corrcoef(sobel(image), sobel(truth))[0, 1]),
    ]


def restore(network: FaceRestorer, face: AlignedCrop, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Restore one aligned crop."""
    known = Face((0.0, 0.0, *map(float, image.shape[1::-1])), face.points, 1.0)
    (restored,) = network([AlignedFace(known, image.astype(np.float32), np.eye(2, 3))])
    return np.clip(np.rint(restored.pixels), 0, 255).astype(np.uint8)


def measure(
    faces: list[AlignedCrop], network: FaceRestorer, settings: DegradationSettings | None, sheet: Path | None
) -> tuple[list[float], list[float]]:
    """Return the mean figures of input and restored; ``settings`` None: nothing is degraded."""
    before, after = [], []
    for number, face in enumerate(faces):
        rng = np.random.default_rng([0, number])
        degraded = degrade(face.pixels, settings, rng) if settings else face.pixels
        restored = restore(network, face, degraded)
        before.append(judge(degraded, face.pixels))
        after.append(judge(restored, face.pixels))
        if sheet:
            row = np.concatenate([degraded, restored, face.pixels], axis=1)
            cv2.imwrite(str(sheet / f"{Path(face.name).stem}.png"), row[..., ::-1])
    return list(np.mean(before, axis=0)), list(np.mean(after, axis=0))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--count", type=int, default=None, help="only the first N faces")
    parser.add_argument("--sheet", type=Path, help="folder for degraded | restored | truth of the released preset")
    arguments = parser.parse_args()
    faces = load_faces(arguments.faces)[: arguments.count]
    store = WeightStore(offline=True)
    engine = open_engine(store.face_model(arguments.model), device="cpu", precision=arguments.precision)
    network = FaceRestorer(engine)
    if arguments.sheet:
        arguments.sheet.mkdir(parents=True, exist_ok=True)
    print(f"{len(faces)} faces, {arguments.model}, {engine.backend} {engine.precision}")
    print(f"{'degradation':12}{'':10}{'PSNR':>8}{'SSIM':>8}{'grad':>8}{'edges':>8}")
    for name, settings in {"released": PRESETS["released"], **STRENGTHS, "none": None}.items():
        sheet = arguments.sheet if name == "released" else None
        for label, figures in zip(("input", "restored"), measure(faces, network, settings, sheet), strict=True):
            print(f"{name:12}{label:10}" + "".join(f"{figure:8.3f}" for figure in figures))


if __name__ == "__main__":
    main()
