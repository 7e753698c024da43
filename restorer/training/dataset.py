"""Aligned faces for training: a zip or folder with a manifest, held in memory, degraded afresh for every visit."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from restorer.errors import PhotoError
from restorer.faces import Point
from restorer.training.batch import Batch
from restorer.training.components import component_boxes
from restorer.training.damage import blind
from restorer.training.damage.colour import ColourSettings, jitter, luma
from restorer.training.damage.draws import Draws
from restorer.training.damage.old import OldSettings, age
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
    """Read all aligned faces of a zip or folder into memory; larger ones are reduced to the size asked for.

    Args:
        source: A zip or folder with a ``manifest.json``, as ``restorer train prepare`` writes it.
        size: Side of the faces in pixels.

    Raises:
        PhotoError: if the source is missing, truncated, without a manifest, or holds a file that is too small.
    """
    try:
        faces = [_face(row, data, source, size) for row, data in _entries(source)]
    except FileNotFoundError as error:
        raise PhotoError(
            f"{error.filename or source} is missing: give a zip or folder of aligned faces with a {MANIFEST}, as "
            "`restorer train prepare` makes it."
        ) from error
    except _UNREADABLE as error:
        raise PhotoError(
            f"{source} cannot be read as a set of aligned faces ({_reason(error)}): it may be truncated."
        ) from error
    if not faces:
        raise PhotoError(f"{source} lists no faces in its {MANIFEST}.")
    return faces


_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, LookupError, TypeError, ValueError)
"""What a damaged archive, manifest or picture makes the libraries raise."""


def _reason(error: Exception) -> str:
    if not isinstance(error, KeyError):
        return str(error)
    text = str(error.args[0])  # zipfile's is a sentence, a dictionary's the key
    return text if " " in text else f"a row of its {MANIFEST} has no {text!r}"


def _face(row: dict[str, object], data: bytes, source: Path, size: int) -> AlignedCrop:
    name = str(row["file"])
    pixels = np.array(Image.open(BytesIO(data)).convert("RGB"))
    points = np.asarray(row["points"], dtype=np.float32)
    side = pixels.shape[0]
    if pixels.shape[1] != side or side < size:
        raise PhotoError(
            f"{name} in {source} is {pixels.shape[1]}×{side} pixels, not {size}×{size}: prepare the faces again."
        )
    if points.shape != (len(Point), 2) or not np.isfinite(points).all():
        raise ValueError(f"{name} has no five points")
    if side > size:
        pixels = np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
        points = (points + np.float32(0.5)) * np.float32(size / side) - np.float32(0.5)  # centres are at integers
    return AlignedCrop(name, pixels, points)


@dataclass(frozen=True)
class SampleSettings:
    """How one training pair is drawn from a face."""

    degradation: DegradationSettings = DegradationSettings()
    clean: float = 0.1
    """Share of inputs left undegraded, so that a good face is not redrawn."""
    grey: float = 0.1
    """Share of pairs whose input and truth are both grey, so that a grey face stays grey."""
    colour: ColourSettings = ColourSettings()
    """Change of the degraded input's colours."""
    old: float = 0.0
    """Share of the degraded pairs that are old photographs instead: the truth has their tone without their damage."""
    age: OldSettings = OldSettings()
    """What old photographs are like."""
    on_device: bool = False
    """Degrade whole batches on the training's device, not each face on the CPU: the same draws, but other noise."""


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
    return component_weights(torch.from_numpy(points)[None], size)[0, 0].numpy()


def component_weights(points: Tensor, size: int) -> Tensor:
    """Return the maps N×1×size×size for points (N, 5, 2); see :func:`component_weight`."""
    left, right = points[:, Point.LEFT_EYE], points[:, Point.RIGHT_EYE]
    eye_distance = torch.linalg.vector_norm(right - left, dim=1)
    steps = torch.arange(size, device=points.device, dtype=torch.float32)

    def blob(centre: Tensor, sigma: float) -> Tensor:
        # A Gaussian is the product of one along each side.
        across, down = (((steps - centre[:, axis, None]) / (sigma * eye_distance[:, None])) ** 2 for axis in (0, 1))
        return torch.exp(-across / 2)[:, None, :] * torch.exp(-down / 2)[:, :, None]

    mouth = (points[:, Point.LEFT_MOUTH] + points[:, Point.RIGHT_MOUTH]) / 2
    weight = 0.5 + blob(points.mean(dim=1), 0.9)
    for centre, sigma in ((left, 0.25), (right, 0.25), (mouth, 0.35)):
        weight = weight + 2 * blob(centre, sigma)
    return (weight / weight.mean(dim=(1, 2), keepdim=True))[:, None]


@dataclass(frozen=True)
class _View:
    """A face as one pair shows it, and what is to happen to it."""

    truth: NDArray[np.uint8]
    points: NDArray[np.float32]
    fate: Literal["clean", "old", "degraded"]
    grey: bool
    """The truth is grey, so the input is, too."""
    rng: np.random.Generator
    """For what is still to be drawn."""


def _view(face: AlignedCrop, settings: SampleSettings, rng: np.random.Generator) -> _View:
    truth, points = face.pixels, face.points
    if rng.random() < 0.5:
        truth = truth[:, ::-1]
        points = points[MIRRORED] * np.array([-1, 1], np.float32) + np.array([truth.shape[1] - 1, 0], np.float32)
    truth = np.ascontiguousarray(truth)
    if rng.random() < settings.grey:
        truth = cv2.merge([cv2.cvtColor(truth, cv2.COLOR_RGB2GRAY)] * 3).astype(np.uint8)
    grey = bool((truth[..., 0] == truth[..., 2]).all())
    if rng.random() < settings.clean:
        return _View(truth, points, "clean", grey, rng)
    # Nothing more is drawn where it is not needed, so that runs without old photographs stay as they were.
    old = settings.old > 0 and rng.random() < settings.old
    return _View(truth, points, "old" if old else "degraded", grey, rng)


def draw_pair(face: AlignedCrop, settings: SampleSettings, rng: np.random.Generator) -> Pair:
    """Draw one training pair; the face itself is left as it is."""
    view = _view(face, settings, rng)
    degraded = truth = view.truth
    if view.fate == "old":
        degraded, truth = (_to_pixels(part) for part in age(_to_images([truth]), settings.age, Draws([rng])))
    elif view.fate == "degraded":
        degraded = degrade(truth, settings.degradation, rng)
        if settings.colour.active:
            degraded = _to_pixels(jitter(_to_images([degraded]), settings.colour, Draws([rng])))
        if view.grey:
            degraded = cv2.merge([cv2.cvtColor(degraded, cv2.COLOR_RGB2GRAY)] * 3).astype(np.uint8)
    size = truth.shape[0]
    return Pair(degraded, truth, component_weight(view.points, size), component_boxes(view.points, size))


def _to_images(pixels: Sequence[NDArray[np.uint8]], device: torch.device | str = "cpu") -> Tensor:
    """Return RGB pictures as N×3×H×W in 0..255."""
    return torch.from_numpy(np.stack(pixels)).to(device).permute(0, 3, 1, 2).float()


def _to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Return a batch of one as an H×W×3 picture."""
    return np.ascontiguousarray(image[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def _numbered(faces: list[AlignedCrop], seed: int, number: int) -> tuple[AlignedCrop, np.random.Generator]:
    """Return the face and the randomness of the run's pair of this number."""
    visit, place = divmod(number, len(faces))
    order = np.random.default_rng([seed, 0, visit]).permutation(len(faces))
    return faces[order[place]], np.random.default_rng([seed, 1, number])


def draw_numbered(faces: list[AlignedCrop], settings: SampleSettings, seed: int, number: int) -> Pair:
    """Draw the run's pair of this number; it depends on nothing but the seed and the number, so a run can resume.

    Each round visits every face once, in an order of its own.
    """
    face, rng = _numbered(faces, seed, number)
    return draw_pair(face, settings, rng)


def draw_batch(
    faces: list[AlignedCrop],
    settings: SampleSettings,
    seed: int,
    numbers: Sequence[int],
    device: torch.device | str = "cpu",
) -> Batch:
    """Draw the run's pairs of these numbers onto a device; see :func:`draw_numbered`."""
    if not settings.on_device:
        return stack([draw_numbered(faces, settings, seed, number) for number in numbers]).to(torch.device(device))
    drawn = [_numbered(faces, seed, number) for number in numbers]
    return _degrade_on_device([_view(face, settings, rng) for face, rng in drawn], settings, device)


def _degrade_on_device(views: Sequence[_View], settings: SampleSettings, device: torch.device | str) -> Batch:
    truth = _to_images([view.truth for view in views], device)
    degraded, draws = truth.clone(), Draws([view.rng for view in views], device)

    def rows(fate: str) -> list[int]:
        return [row for row, view in enumerate(views) if view.fate == fate]

    if some := rows("degraded"):
        part = draws.subset(some)
        changed = jitter(blind.degrade(truth[some], settings.degradation, part), settings.colour, part).round()
        grey = [row for row, place in enumerate(some) if views[place].grey]
        changed[grey] = luma(changed[grey]).round().expand(-1, 3, -1, -1)
        degraded[some] = changed
    if some := rows("old"):
        degraded[some], truth[some] = age(truth[some], settings.age, draws.subset(some))
    points = np.stack([view.points for view in views])
    size = truth.shape[-1]
    return Batch(
        degraded.div_(127.5).sub_(1),
        truth.div_(127.5).sub_(1),
        component_weights(torch.from_numpy(points).to(truth.device), size),
        torch.from_numpy(component_boxes(points, size)).to(truth.device),
    )


def stack(pairs: Sequence[Pair]) -> Batch:
    """Return pairs as tensors; the images are channels-last views of their pixels."""

    def images(name: str) -> Tensor:
        return _to_images([getattr(pair, name) for pair in pairs]).div_(127.5).sub_(1)

    weight = torch.from_numpy(np.stack([pair.weight for pair in pairs]))[:, None]
    boxes = torch.from_numpy(np.stack([pair.boxes for pair in pairs]))
    return Batch(images("degraded"), images("truth"), weight, boxes)
