"""Aligned faces for training: a zip or folder with a manifest, held in memory, degraded afresh for every visit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from restorer.errors import PhotoError
from restorer.faces import Point
from restorer.training.batch import Batch
from restorer.training.components import component_boxes
from restorer.training.degradations import DegradationSettings, degrade

MANIFEST = "manifest.json"
MIRRORED = [Point.RIGHT_EYE, Point.LEFT_EYE, Point.NOSE, Point.RIGHT_MOUTH, Point.LEFT_MOUTH]
"""Where each point comes from when the picture is mirrored."""


@dataclass(frozen=True)
class AlignedCrop:
    """One sharp aligned face."""

    name: str
    pixels: NDArray[np.uint8]
    """size×size×3 RGB."""
    points: NDArray[np.float32]
    """Five points in crop pixels, (5, 2)."""


def _entries(source: Path) -> Iterator[tuple[dict[str, object], bytes]]:
    """Yield each manifest row with its file's bytes."""
    if source.is_dir():
        for row in json.loads((source / MANIFEST).read_text(encoding="utf-8")):
            yield row, (source / str(row["file"])).read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for row in json.loads(archive.read(MANIFEST)):
            yield row, archive.read(str(row["file"]))


def load_faces(source: Path, size: int = 512) -> list[AlignedCrop]:
    """Read all aligned faces of a zip or folder into memory.

    Raises:
        PhotoError: if the source is missing, truncated, without a manifest, or holds a file of another size.
    """
    faces = []
    try:
        for row, data in _entries(source):
            name = str(row["file"])
            pixels = np.array(Image.open(BytesIO(data)).convert("RGB"))
            if pixels.shape != (size, size, 3):
                raise PhotoError(
                    f"{name} in {source} is {pixels.shape[1]}×{pixels.shape[0]} pixels, not {size}×{size}: "
                    "prepare the faces again."
                )
            faces.append(AlignedCrop(name, pixels, np.asarray(row["points"], dtype=np.float32)))
    except FileNotFoundError as error:
        raise PhotoError(
            f"{error.filename or source} is missing: give a zip or folder of aligned faces with a {MANIFEST}."
        ) from error
    except (zipfile.BadZipFile, UnidentifiedImageError, KeyError, json.JSONDecodeError, OSError) as error:
        raise PhotoError(
            f"{source} cannot be read as a set of aligned faces ({error}): it may be truncated."
        ) from error
    if not faces:
        raise PhotoError(f"{source} lists no faces in its {MANIFEST}.")
    return faces


@dataclass(frozen=True)
class SampleSettings:
    """How one training pair is drawn from a face."""

    degradation: DegradationSettings = DegradationSettings()
    clean: float = 0.1
    """Share of inputs left undegraded, so that a good face is not redrawn."""
    grey: float = 0.1
    """Share of pairs whose input and truth are both grey, so that a grey face stays grey."""


@dataclass(frozen=True)
class Pair:
    """A degraded face, its truth and where it matters most."""

    degraded: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    weight: NDArray[np.float32]
    """size×size, 1 on average over the face, larger on eyes and mouth."""
    boxes: NDArray[np.float32]
    """(3, 4), see :func:`component_boxes`."""


def component_weight(points: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return a size×size map of how much each pixel counts: eyes and mouth most, the crop's rim least.

    The paper weighs the components by discriminators of their own (section 3.4); a reconstruction loss needs a map.
    """
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    eye_distance = float(np.linalg.norm(points[Point.RIGHT_EYE] - points[Point.LEFT_EYE]))

    def blob(centre: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
        squared = (xs - centre[0]) ** 2 + (ys - centre[1]) ** 2
        return np.asarray(np.exp(-squared / np.float32(2 * sigma**2)), dtype=np.float32)

    mouth = (points[Point.LEFT_MOUTH] + points[Point.RIGHT_MOUTH]) / 2
    weight = 0.5 + blob(points.mean(axis=0), 0.9 * eye_distance)
    for centre, sigma in ((points[Point.LEFT_EYE], 0.25), (points[Point.RIGHT_EYE], 0.25), (mouth, 0.35)):
        weight += 2 * blob(centre, sigma * eye_distance)
    return np.asarray(weight / weight.mean(), dtype=np.float32)


def draw_pair(face: AlignedCrop, settings: SampleSettings, rng: np.random.Generator) -> Pair:
    """Draw one training pair; the face itself is left as it is."""
    truth, points = face.pixels, face.points
    if rng.random() < 0.5:
        truth = truth[:, ::-1]
        points = points[MIRRORED] * np.array([-1, 1], np.float32) + np.array([truth.shape[1] - 1, 0], np.float32)
    truth = np.ascontiguousarray(truth)
    if rng.random() < settings.grey:
        luma = cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY)
        truth = cv2.merge([luma, luma, luma]).astype(np.uint8)
    is_grey = bool((truth[..., 0] == truth[..., 2]).all())
    degraded = truth if rng.random() < settings.clean else degrade(truth, settings.degradation, rng)
    if is_grey:
        degraded = cv2.merge([cv2.cvtColor(degraded, cv2.COLOR_RGB2GRAY)] * 3).astype(np.uint8)
    size = truth.shape[0]
    return Pair(degraded, truth, component_weight(points, size), component_boxes(points, size))


def draw_numbered(faces: list[AlignedCrop], settings: SampleSettings, seed: int, number: int) -> Pair:
    """Draw the run's pair of this number; it depends on nothing but the seed and the number, so a run can resume.

    Each round visits every face once, in an order of its own.
    """
    visit, place = divmod(number, len(faces))
    order = np.random.default_rng([seed, 0, visit]).permutation(len(faces))
    return draw_pair(faces[order[place]], settings, np.random.default_rng([seed, 1, number]))


def draw_batch(
    faces: list[AlignedCrop],
    settings: SampleSettings,
    seed: int,
    numbers: Sequence[int],
    device: torch.device | str = "cpu",
) -> Batch:
    """Draw the run's pairs of these numbers onto a device; see :func:`draw_numbered`."""
    return stack([draw_numbered(faces, settings, seed, number) for number in numbers]).to(torch.device(device))


def stack(pairs: Sequence[Pair]) -> Batch:
    """Return pairs as tensors; the images are channels-last views of their pixels."""

    def images(name: str) -> Tensor:
        pixels = torch.from_numpy(np.stack([getattr(pair, name) for pair in pairs]))
        return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    weight = torch.from_numpy(np.stack([pair.weight for pair in pairs]))[:, None]
    boxes = torch.from_numpy(np.stack([pair.boxes for pair in pairs]))
    return Batch(images("degraded"), images("truth"), weight, boxes)
