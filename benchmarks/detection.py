"""Compare this project's face detection with facexlib's `detect_faces` on whole photographs, with the same weights.

    python benchmarks/detection.py photos/ detection_Resnet50_Final.pth --sheet found/
    python benchmarks/detection.py photos/ teacher.pth --detector detector-lite --blur 2 --jpeg 30

The second judges another detector by these weights' faces, here on photographs that it alone sees blurred and coded.
The reference is facexlib run on the photograph at full, half and quarter size: the union of what it finds there.
Printed are, per photograph and in all,

- recall: the part of the reference's faces that is found (intersection over union above 0.4);
- extra: faces found that the reference has not, and how many of them facexlib sees in no view even with score 0.5;
- points: the mean distance of the five points to facexlib's in the view (of five, down to a sixteenth) in which the
  face is nearest to 112 pixels, in eye distances, median over the faces; and for comparison the distance between
  facexlib and itself on the photograph cut by a few pixels: the noise of its points, the least to be expected;
- the number of network looks by the longer side of what was looked at, and the time.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from facexlib.detection.retinaface import RetinaFace
from numpy.typing import NDArray

from restorer.checkpoints import load_checkpoint
from restorer.contract import NetworkContract
from restorer.faces import Face
from restorer.photo import SUFFIXES, read_photo
from restorer.pipeline.detect import Detector
from restorer.runtime import Engine, open_engine
from restorer.weights import WeightStore

DIVISORS = (1, 2, 4, 8, 16)
UNION_DIVISORS = (1, 2, 4)
NEAREST = 112.0
"""Pixels of the box at which facexlib's points are taken."""
CUT = 5
"""Pixels cut off left and top to see how far facexlib's points depend on where its grid of priors lies."""
SAME = 0.4
"""Intersection over union above which two boxes are one face."""


@dataclass(frozen=True)
class Seen:
    """One of facexlib's detections, mapped to the photograph (pixel centres at integers)."""

    box: NDArray[np.float64]
    score: float
    points: NDArray[np.float64]
    divisor: int
    size: float
    """Longer side of the box in pixels of the view."""


@dataclass
class Tally:
    """Sums over photographs."""

    wanted: int = 0
    hit: int = 0
    found: int = 0
    extra: int = 0
    unseen: int = 0
    errors: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    looks: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Add another's sums."""
        for name in ("wanted", "hit", "found", "extra", "unseen", "errors", "noise", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for side, count in other.looks.items():
            self.looks[side] = self.looks.get(side, 0) + count

    def __str__(self) -> str:
        looks = " ".join(f"{count}×{side}²" for side, count in sorted(self.looks.items()))
        return (
            f"recall {self.hit}/{self.wanted} found {self.found} extra {self.extra} (unseen {self.unseen}) "
            f"points {_median(self.errors)} (facexlib's own noise {_median(self.noise)}) "
            f"looks {looks} {self.seconds * 1000:.0f} ms"
        )


class CountingEngine:
    """An engine that counts the views it is shown, by their longer side."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.looks: dict[int, int] = {}

    @property
    def contract(self) -> NetworkContract:
        """The engine's contract."""
        return self._engine.contract

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Count and run a batch."""
        side = max(batch.shape[2:])
        self.looks[side] = self.looks.get(side, 0) + len(batch)
        return self._engine(batch)


def facexlib_network(weights: Path) -> RetinaFace:
    """Return facexlib's own network with a checkpoint's weights."""
    checkpoint = load_checkpoint(weights)
    layout = "resnet50" if checkpoint.contract.architecture.endswith("resnet50") else "mobile0.25"
    network = RetinaFace(network_name=layout, phase="test", device=torch.device("cpu"))
    network.load_state_dict(checkpoint.module.state_dict())
    return network.eval()


def facexlib_views(network: RetinaFace, pixels: NDArray[np.uint8], offset: int = 0) -> list[Seen]:
    """Return all that facexlib sees with score 0.5 in every view; ``offset`` pixels of each view are cut off."""
    height, width = pixels.shape[:2]
    seen = []
    for divisor in DIVISORS:
        size = (max(1, round(width / divisor)), max(1, round(height / divisor)))
        view = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[offset:, offset:, ::-1]
        if min(view.shape[:2]) < 8:
            continue
        with torch.inference_mode():
            rows = network.detect_faces(np.ascontiguousarray(view), conf_threshold=0.5)
        scale = np.array([size[0] / width, size[1] / height])
        for row in np.asarray(rows, dtype=np.float64):
            places = (np.concatenate([row[:4], row[5:]]).reshape(7, 2) + offset) / scale - 0.5
            size_seen = max(row[2] - row[0], row[3] - row[1])
            seen.append(Seen(places[:2].reshape(4), float(row[4]), places[2:], divisor, size_seen))
    return seen


def union(seen: list[Seen], threshold: float, min_size: float) -> list[Seen]:
    """Return the reference's faces, each once, the surest view of each."""
    faces: list[Seen] = []
    for face in sorted(seen, key=lambda face: -face.score):
        wanted = face.divisor in UNION_DIVISORS and face.score >= threshold
        large = min(face.box[2] - face.box[0], face.box[3] - face.box[1]) >= min_size
        if wanted and large and all(overlap(face.box, other.box) <= SAME for other in faces):
            faces.append(face)
    return faces


def overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return intersection over union of two boxes."""
    sides = np.maximum(0, np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]))
    areas = np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2])
    return float(np.prod(sides) / (areas - np.prod(sides)))


def nearest_view(face: Seen, seen: list[Seen]) -> Seen:
    """Return the same face in the view in which it is nearest to 112 pixels."""
    same = [other for other in seen if overlap(face.box, other.box) > SAME]
    return min(same, key=lambda other: abs(np.log(other.size / NEAREST)), default=face)


def distance(points: NDArray[np.floating], reference: Seen) -> float:
    """Return the mean distance of five points in eye distances of the reference."""
    eyes = np.linalg.norm(reference.points[1] - reference.points[0])
    return float(np.linalg.norm(points - reference.points, axis=1).mean() / max(eyes, 1.0))


def compare(pixels: NDArray[np.uint8], faces: list[Face], network: RetinaFace, arguments: argparse.Namespace) -> Tally:
    """Compare the faces found in one photograph with facexlib's."""
    seen = facexlib_views(network, pixels)
    moved = facexlib_views(network, pixels, CUT)
    tally = Tally(found=len(faces))
    matched = set()
    for wanted in union(seen, arguments.threshold, arguments.min_size):
        tally.wanted += 1
        near = nearest_view(wanted, seen)
        # The same face in the same view, once more with its grid of priors elsewhere.
        again = [face for face in moved if face.divisor == near.divisor and overlap(face.box, near.box) > SAME]
        tally.noise += [distance(face.points, near) for face in again[:1]]
        overlaps = [overlap(wanted.box, np.array(face.box)) for face in faces]
        if overlaps and max(overlaps) > SAME:
            best = int(np.argmax(overlaps))
            matched.add(best)
            tally.hit += 1
            tally.errors.append(distance(faces[best].landmarks, near))
    for number, face in enumerate(faces):
        if number not in matched and face.size >= arguments.min_size:
            tally.extra += 1
            tally.unseen += all(overlap(np.array(face.box), other.box) <= SAME for other in seen)
    return tally


def draw(pixels: NDArray[np.uint8], faces: list[Face], side: int = 1600) -> NDArray[np.uint8]:
    """Return the photograph, at most ``side`` long, with boxes, scores and points."""
    scale = min(1.0, side / max(pixels.shape))
    picture = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for face in faces:
        x0, y0, x1, y1 = (round(value * scale) for value in face.box)
        cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 255, 0), 1)
        cv2.putText(picture, f"{face.score:.2f}", (x0, y0 - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1)
        for x, y in face.landmarks:
            cv2.circle(picture, (round(float(x) * scale), round(float(y) * scale)), 2, (255, 0, 255), -1)
    return np.asarray(picture, dtype=np.uint8)


def damaged(pixels: NDArray[np.uint8], blur: float, quality: int | None) -> NDArray[np.uint8]:
    """Return a photograph blurred with a Gaussian, then coded as JPEG."""
    if blur:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), blur), np.uint8)
    if quality is not None:
        coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        pixels = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)
    return pixels


def _median(values: list[float]) -> str:
    return f"{np.median(values):.3f}" if values else "-"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photographs")
    parser.add_argument("weights", type=Path, help="a RetinaFace checkpoint")
    parser.add_argument("--detector", help="a name or file: judge this detector  [default: the same weights]")
    parser.add_argument("--blur", type=float, default=0, help="what is judged sees the photographs blurred so (sigma)")
    parser.add_argument("--jpeg", type=int, help="... and coded as JPEG of this quality")
    parser.add_argument("--threshold", type=float, default=0.9, help="least score of a face, here and there")
    parser.add_argument("--min-size", type=float, default=24.0, help="least side of a box in pixels of the photograph")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, help="folder for the photographs with the faces found drawn in")
    return parser.parse_args()


def main() -> None:
    """Print one line per photograph and one for all."""
    arguments = _arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    network = facexlib_network(arguments.weights)
    judged = arguments.detector or str(arguments.weights.resolve())
    engine = open_engine(WeightStore(offline=True).detector(judged), device=arguments.device)
    total = Tally()
    for path in sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in SUFFIXES):
        photo = read_photo(path).pixels
        pixels = (photo // 257 if photo.dtype == np.uint16 else photo).astype(np.uint8)
        counter = CountingEngine(engine)
        detector = Detector(counter, arguments.threshold)
        given = damaged(pixels, arguments.blur, arguments.jpeg)
        detector(given)  # the first call compiles the network
        counter.looks.clear()
        start = time.perf_counter()
        faces = detector(given)
        seconds = time.perf_counter() - start
        tally = compare(pixels, faces, network, arguments)
        tally.seconds, tally.looks = seconds, counter.looks
        total.add(tally)
        print(f"{path.name} {pixels.shape[1]}×{pixels.shape[0]}: {tally}", flush=True)
        if arguments.sheet:
            arguments.sheet.mkdir(parents=True, exist_ok=True)
            picture = draw(pixels, faces)
            cv2.imwrite(str(arguments.sheet / f"{path.stem}.png"), picture[:, :, ::-1])
    print(f"all: {total}")


if __name__ == "__main__":
    main()
