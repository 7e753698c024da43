"""Measure what restored faces keep of the photograph: colour, and as much fine detail as their surroundings have.

    python benchmarks/kept_in_faces.py scans/*.jpg --model lite
    python benchmarks/kept_in_faces.py scans/*.jpg --clean      # a network that paints faces without any grain

One line a face of at least 64 pixels: `chroma`, how far the mean a*, b* of the face moved; `around`, the standard
deviation in levels of what is finer than a hundredth of the face, in flat patches around it; then the
face's variance of the same divided by that around it, in the photograph, in the result without grain and with grain.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from restorer import RestoreOptions, Restorer  # noqa: E402
from restorer.photo import Photo, read_photo  # noqa: E402
from restorer.photo.colour import to_srgb  # noqa: E402
from restorer.pipeline.colour import to_lab  # noqa: E402
from restorer.pipeline.grain import fine_energy  # noqa: E402
from restorer.pipeline.networks import OpenedNetworks  # noqa: E402
from restorer.pipeline.restore import FaceRestorer  # noqa: E402
from restorer.report import FaceReport  # noqa: E402

LEAST = 64
Box = tuple[int, int, int, int]


class Clean(OpenedNetworks):
    """The real detector, and a face network that blurs: no grain is left."""

    def face_restorer(self) -> FaceRestorer:
        """Return the blurring network."""
        from dataclasses import replace

        from tests.fakes import CONTRACT, FakeEngine

        def blur(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.stack([[cv2.GaussianBlur(plane, (0, 0), 4) for plane in face] for face in batch])

        return FaceRestorer(FakeEngine(blur, replace(CONTRACT, input_size=512)))  # type: ignore[arg-type]


def place_of(face: FaceReport, scale: float, shape: tuple[int, ...]) -> tuple[Box, NDArray[np.float32]]:
    """Return a face's box in the result and an oval in it, where any mask is full."""
    x0, y0, x1, y1 = (round(scale * value) for value in face.box)
    box = max(0, x0), max(0, y0), min(shape[1], x1), min(shape[0], y1)
    width, height = box[2] - box[0], box[3] - box[1]
    oval = np.zeros((height, width), np.float32)
    cv2.ellipse(oval, (width // 2, height // 2), (round(0.4 * width), round(0.42 * height)), 0, 0, 360, 1.0, -1)
    # Around the oval lies the fringe: neither inside nor around.
    return box, np.maximum(oval, np.float32(0.5))


def chroma(photo: Photo, box: Box, oval: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean a*, b* of a face."""
    part = to_lab(to_srgb(photo.pixels[box[1] : box[3], box[0] : box[2]], photo.metadata.icc))
    return np.asarray(part[oval == 1][:, 1:].mean(axis=0), np.float64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--detector", default="auto", help="name in the table of weights, or a file")
    parser.add_argument("--upscale", type=float, default=1.0)
    parser.add_argument("--clean", action="store_true")
    arguments = parser.parse_args()
    kind = Clean if arguments.clean else OpenedNetworks
    common = {"offline": True, "model": arguments.model, "upscale": arguments.upscale, "restore_sharp": True}
    choices = {
        name: RestoreOptions(**common, grain="auto" if name == "grain" else "none", strength=float(name != "before"))
        for name in ("before", "plain", "grain")
    }
    networks = {name: kind(options, detector=arguments.detector) for name, options in choices.items()}
    print(f"{'photograph':28}{'size':>6}{'chroma':>8}{'around':>8}{'before':>8}{'plain':>8}{'grain':>8}")
    for path in arguments.photos:
        photo = read_photo(path)
        results = {n: Restorer(choices[n], engines=networks[n]).restore(photo) for n in choices}
        for number, face in enumerate(results["grain"].report.faces):
            size = min(face.box[2] - face.box[0], face.box[3] - face.box[1])
            if not face.restored or size < LEAST:
                continue
            shown = {name: result.photo for name, result in results.items()}
            box, oval = place_of(face, arguments.upscale, shown["grain"].pixels.shape)
            moved = np.linalg.norm(chroma(shown["grain"], box, oval) - chroma(shown["before"], box, oval))
            energies = {n: fine_energy(p.pixels, box, oval, arguments.upscale) for n, p in shown.items()}
            around = energies["before"][1]
            ratios = "".join(f"{energy[0] / around:8.2f}" for energy in energies.values())
            print(f"{path.name + ' ' + str(number):28}{size:6.0f}{moved:8.2f}{around**0.5:8.2f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
