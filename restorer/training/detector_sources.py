"""The detector's training photographs: read from zip archives into memory, their faces labelled by the teacher.

A teacher answers best where faces are neither tiny nor huge, so each photograph is shown to it at several scales and
mirrored, and a face's label is the mean of the answers at the scales that suit it.

All coordinates here are the network's: measured from the image's edge, so that the first pixel's centre is 0.5. The
published detectors count this way (a mirrored x is the width − x), and it scales without offsets.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from restorer.errors import OutputError, PhotoError, UsageError
from restorer.training.detector_losses import Outputs, box_overlap, decode_boxes, decode_points, priors

Pixels = NDArray[np.uint8]
Network = Callable[[Tensor], Outputs]

MEAN_BGR = (104.0, 117.0, 123.0)
"""Subtracted from blue, green and red in 0..255 (RetinaFace reference code)."""
MIRRORED_POINTS = (1, 0, 2, 4, 3)
"""Rows of the five points that a mirror image puts in the order of :class:`restorer.faces.Point`."""
SUITED = (36.0, 110.0)
"""Box sides in pixels between which the teacher's points are best (above 150 it errs more)."""


@dataclass(frozen=True)
class Source:
    """A photograph with its faces, in pixels of its first level."""

    levels: tuple[Pixels, ...]
    """RGB uint8 H×W×3, each level half as large as the one before."""
    boxes: NDArray[np.float32]
    """(N, 4) x0, y0, x1, y1."""
    points: NDArray[np.float32]
    """(N, 5, 2) x, y."""


def read_archive(path: Path) -> Iterator[Pixels]:
    """Yield every image of a zip archive as RGB uint8, in the order of the names.

    Raises:
        PhotoError: The archive or an image in it cannot be read.
    """
    name = ""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith((".avif", ".png", ".jpg", ".jpeg", ".webp")):
                    with Image.open(io.BytesIO(archive.read(name))) as image:
                        yield np.asarray(image.convert("RGB"))
    except (zipfile.BadZipFile, UnidentifiedImageError, OSError, zlib.error) as error:
        within = f"{name} in {path}" if name else str(path)
        raise PhotoError(
            f"{within} cannot be read ({error}): it may be truncated; give a whole zip archive."
        ) from error


def halvings(pixels: Pixels, smallest: int = 48) -> tuple[Pixels, ...]:
    """Return the image and its repeated halvings down to a shorter side of ``smallest``."""
    levels = [np.ascontiguousarray(pixels)]
    while min(levels[-1].shape[:2]) >= 2 * smallest:
        height, width = levels[-1].shape[:2]
        halved = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(halved, np.uint8))
    return tuple(levels)


def network_input(views: Sequence[Pixels], device: torch.device) -> Tensor:
    """Turn equal-sized RGB uint8 images into the network's input: NCHW float32, BGR minus mean, channels last."""
    batch = torch.from_numpy(np.stack(views)[..., ::-1].copy()).to(device).permute(0, 3, 1, 2).float()
    mean = torch.tensor(MEAN_BGR, device=device).view(1, 3, 1, 1)
    return (batch - mean).contiguous(memory_format=torch.channels_last)


def find_faces(network: Network, pixels: Pixels, device: torch.device, threshold: float = 0.5) -> NDArray[np.float32]:
    """Run a network on one image and keep the best of each cluster of answers.

    Args:
        network: Maps an NCHW input to :class:`Outputs`.
        pixels: RGB uint8 H×W×3; sides are padded to multiples of 32.
        device: Where the network lives.
        threshold: Least score.

    Returns:
        (N, 15) score, box, five points in pixels of the image, best first; overlaps above 0.4 are suppressed.
    """
    height, width = pixels.shape[:2]
    padded = cv2.copyMakeBorder(pixels, 0, -height % 32, 0, -width % 32, cv2.BORDER_CONSTANT, value=MEAN_BGR[::-1])
    with torch.inference_mode():
        outputs = network(network_input([np.asarray(padded, np.uint8)], device))
        scores = torch.sigmoid(outputs.logits[0])
        keep = scores > threshold
        anchors = priors(padded.shape[0], padded.shape[1], device=device)[keep]
        boxes = decode_boxes(outputs.boxes[0][keep], anchors)
        points = decode_points(outputs.points[0][keep], anchors)
        rows = torch.cat((scores[keep, None], boxes, points), dim=1).cpu()
    return suppress(rows[rows[:, 0].argsort(descending=True)].numpy())


def suppress(rows: NDArray[np.float32], overlap: float = 0.4) -> NDArray[np.float32]:
    """Drop rows (score, box, …; best first) whose box overlaps that of a better one by more than ``overlap``."""
    table = box_overlap(torch.from_numpy(rows[:, 1:5]), torch.from_numpy(rows[:, 1:5])).numpy()
    kept: list[int] = []
    for index in range(len(rows)):
        if not (table[index, kept] > overlap).any():
            kept.append(index)
    return np.asarray(rows[kept], np.float32)


def mirror_rows(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Mirror faces (score, box, points) found in a mirrored image of this width back onto the image itself."""
    result: NDArray[np.float32] = rows.copy()
    result[:, 1], result[:, 3] = width - rows[:, 3], width - rows[:, 1]
    points = rows[:, 5:].reshape(-1, 5, 2)[:, MIRRORED_POINTS]
    points[..., 0] = width - points[..., 0]
    result[:, 5:] = points.reshape(-1, 10)
    return result


def label_faces(
    teacher: Network, pixels: Pixels, device: torch.device, sides: Sequence[int] = (288, 200, 144, 100)
) -> NDArray[np.float32]:
    """Find the faces of a photograph with the teacher at several scales, as it is and mirrored.

    Args:
        teacher: Maps an NCHW input to :class:`Outputs`.
        pixels: RGB uint8 H×W×3.
        device: Where the teacher lives.
        sides: Longer sides, in pixels, to which the photograph is scaled; larger than itself is left out.

    Returns:
        (N, 15) score, box, points in pixels of the photograph, for faces that some scale found with score 0.9.
    """
    longest = max(pixels.shape[:2])
    answers = []
    for side in sorted({min(side, longest) for side in sides}):
        scale = side / longest
        small = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        mirrored = np.asarray(small[:, ::-1], np.uint8)
        both = (
            find_faces(teacher, small, device),
            mirror_rows(find_faces(teacher, mirrored, device), small.shape[1]),
        )
        for rows in both:
            fit = np.array([_suitability(row) for row in rows], np.float32)
            rows[:, 1:] /= scale
            answers.append(np.column_stack((fit, rows)))
    return _merge(np.concatenate(answers))


def _suitability(row: NDArray[np.float32]) -> float:
    """Weight of an answer: its score where the box's side lies in ``SUITED``, falling off steeply outside."""
    side = float(min(row[3] - row[1], row[4] - row[2]))
    outside = max(SUITED[0] / max(side, 1.0), side / SUITED[1], 1.0)
    return float(row[0]) * min(outside, 100.0) ** -4


def _merge(answers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Merge answers (weight, score, box, points) of all scales: weighted mean of those that overlap."""
    rest = answers[answers[:, 0].argsort()[::-1]]
    merged = []
    while len(rest):
        overlap = box_overlap(torch.from_numpy(rest[:1, 2:6].copy()), torch.from_numpy(rest[:, 2:6].copy())).numpy()[0]
        same = overlap > 0.4
        same[0] = True
        group = rest[same]
        if group[:, 1].max() >= 0.9:
            merged.append(np.concatenate((group[:, 1].max(keepdims=True), _mean(group))))
        rest = rest[~same]
    return np.array(merged, np.float32).reshape(-1, 15)


def _mean(group: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.average(group[:, 2:], axis=0, weights=group[:, 0]), np.float32)


def load_sources(
    archives: Sequence[Path], teacher: Network, device: torch.device, cache: Path, notify: Callable[[str], None]
) -> list[Source]:
    """Read archives into memory and label their faces, or take the labels from an earlier run's cache.

    Args:
        archives: Zip archives of photographs.
        teacher: Labels the faces.
        device: Where the teacher lives.
        cache: ``.npz`` file with one table of faces per photograph; written if it is not there.
        notify: Receives a line on what is done.

    Returns:
        The photographs, archives in the order given.

    Raises:
        UsageError: No photograph shows a face, or the cache is of other photographs.
        PhotoError: An archive cannot be read.
        OutputError: The cache cannot be written.
    """
    images = [pixels for archive in archives for pixels in read_archive(archive)]
    sources = labelled(images, teacher, device, cache, notify)
    if not any(len(source.boxes) for source in sources):
        raise UsageError("The teacher finds no face on any of the photographs: give others, or another teacher.")
    return sources


def labelled(
    images: Sequence[Pixels], teacher: Network, device: torch.device, cache: Path, notify: Callable[[str], None]
) -> list[Source]:
    """Label pictures' faces, or take the labels from an earlier run's cache; see :func:`load_sources`."""
    if cache.exists():
        tables = _read_labels(cache, len(images))
    else:
        notify(f"labelling {len(images)} photographs")
        tables = [label_faces(teacher, pixels, device) for pixels in images]
        _write_labels(cache, tables)
    notify(f"{len(images)} photographs with {sum(map(len, tables))} faces")
    return [
        Source(halvings(pixels), table[:, 1:5], table[:, 5:].reshape(-1, 5, 2))
        for pixels, table in zip(images, tables, strict=True)
    ]


def _read_labels(cache: Path, photographs: int) -> list[NDArray[np.float32]]:
    try:
        with np.load(cache) as stored:
            tables = [stored[name] for name in sorted(stored.files)]
    except (zipfile.BadZipFile, ValueError, OSError, zlib.error) as error:
        raise UsageError(f"The labels {cache} are damaged ({error}): remove them to label anew.") from error
    if len(tables) != photographs:
        raise UsageError(
            f"The labels {cache} are of {len(tables)} photographs, not of these {photographs}: give the same archives "
            "or a new folder."
        )
    return tables


def _write_labels(cache: Path, tables: list[NDArray[np.float32]]) -> None:
    """Write labels whole or not at all."""
    part = cache.with_name(f"{cache.name}.part")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            named: dict[str, Any] = {f"{index:05d}": table for index, table in enumerate(tables)}
            np.savez_compressed(file, **named)
        part.replace(cache)
    except OSError as error:
        raise OutputError(f"The labels {cache} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
