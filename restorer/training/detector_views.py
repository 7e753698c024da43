"""Compose the detector's training views: single photographs, mosaics, crowds of pasted faces and scenes without any.

The photographs at hand show one person each, so views with many and small faces are composed. The teacher judges the
composed view, which makes anything usable as material: halves of faces, upside-down ones, shuffled patches.

Coordinates are measured from the image's edge, as in :mod:`restorer.training.detector_sources`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.training.detector_scenery import scenery
from restorer.training.detector_sources import MIRRORED_POINTS, Pixels, Source

Matrix = NDArray[np.float64]
FloatArray = NDArray[np.float32]

BORDERS = (cv2.BORDER_REFLECT_101, cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT)


@dataclass(frozen=True)
class View:
    """A training image with the faces known from its photographs."""

    pixels: Pixels
    """RGB uint8 S×S×3."""
    boxes: FloatArray
    """(N, 4) x0, y0, x1, y1 of faces that lie at least to four fifths inside and are not covered."""
    points: FloatArray
    """(N, 10) five points as x, y pairs."""


@dataclass(frozen=True)
class Placed:
    """A photograph warped into a rectangle of the view."""

    pixels: Pixels
    boxes: FloatArray
    points: FloatArray
    """(N, 5, 2)."""


def similarity(
    centre: NDArray[np.float32],
    target: tuple[float, float],
    scale: float,
    angle: float = 0.0,
    *,
    mirror: bool = False,
    stretch: float = 1.0,
) -> Matrix:
    """Return the 2×3 matrix that stretches x, mirrors, turns by ``angle``, scales and takes ``centre`` to ``target``.

    Angles are in radians.
    """
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.diag((-stretch if mirror else stretch, 1.0))
    return np.column_stack((linear, np.asarray(target, np.float64) - linear @ np.asarray(centre, np.float64)))


def transform_faces(boxes: FloatArray, points: FloatArray, matrix: Matrix) -> tuple[FloatArray, FloatArray]:
    """Carry faces through a matrix of :func:`similarity`.

    A box is treated as the frame of an ellipse, so that turning does not inflate it; mirroring swaps left and right
    points.

    Args:
        boxes: (N, 4) boxes.
        points: (N, 5, 2) points.
        matrix: 2×3.

    Returns:
        Boxes and points in the new coordinates.
    """
    linear, shift = matrix[:, :2], matrix[:, 2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ linear.T + shift
    halves = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (linear.T**2))
    moved = points @ linear.T + shift
    if np.linalg.det(linear) < 0:
        moved = moved[:, MIRRORED_POINTS]
    return np.concatenate((centres - halves, centres + halves), axis=1).astype(np.float32), moved.astype(np.float32)


def place(source: Source, matrix: Matrix, width: int, height: int, border: int, fill: tuple[int, ...]) -> Placed:
    """Warp a photograph into a rectangle, starting from the level nearest above the wanted scale."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    level = int(np.clip(np.floor(-np.log2(max(scale, 1e-6))), 0, len(source.levels) - 1))
    pixels = source.levels[level]
    full_height, full_width = source.levels[0].shape[:2]
    linear = matrix[:, :2] * (full_width / pixels.shape[1], full_height / pixels.shape[0])
    # OpenCV counts from the first pixel's centre, not from the edge.
    from_level = np.column_stack((linear, matrix[:, 2] + linear.sum(axis=1) / 2 - 0.5))
    warped = cv2.warpAffine(
        pixels, from_level, (width, height), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=fill
    )
    boxes, points = transform_faces(source.boxes, source.points, matrix)
    inside = np.clip(boxes, 0, (width, height, width, height))
    share = _areas(inside) / np.maximum(_areas(boxes), 1e-6)
    return Placed(np.asarray(warped, np.uint8), boxes[share >= 0.8], points[share >= 0.8])


def _areas(boxes: FloatArray) -> FloatArray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)


class ViewComposer:
    """Composes views of a given size from photographs, repeatably for a given generator."""

    def __init__(
        self, sources: Sequence[Source], aside: Sequence[Source] = (), *, aside_share: float = 0.0, cut: float = 0.0
    ) -> None:
        """Keep the photographs; those with faces are drawn on where a face is wanted.

        Args:
            sources: The photographs.
            aside: Photographs of faces turned aside.
            aside_share: Share of the wanted faces that are taken from these, where there are any.
            cut: Share of the wanted faces that may lie across the edge of their view or cell.
        """
        self.sources = sources
        self.with_faces = [source for source in sources if len(source.boxes)]
        self.aside = [source for source in aside if len(source.boxes)]
        self.aside_share, self.cut = aside_share if self.aside else 0.0, cut

    def compose(self, size: int, rng: np.random.Generator) -> View:
        """Return one view of ``size``×``size`` pixels: one photograph, a mosaic, a crowd or a scene without people."""
        kind = rng.choice(4, p=(0.19, 0.56, 0.17, 0.08))
        view = (self.single, self.mosaic, self.crowd, self.deserted)[int(kind)](size, rng)
        return View(_distract(view.pixels, rng), view.boxes, view.points)

    def single(self, size: int, rng: np.random.Generator) -> View:
        """One photograph with a face of 14 px to nine tenths of the view, anywhere in it."""
        side = float(np.exp(rng.uniform(np.log(14), np.log(0.9 * size))))
        placed = self._piece(size, size, side, rng)
        return View(placed.pixels, placed.boxes, placed.points.reshape(-1, 10))

    def mosaic(self, size: int, rng: np.random.Generator) -> View:
        """A grid of 2×2 to 6×6 photographs; some cells show no face."""
        count = int(rng.choice((2, 3, 4, 5, 6), p=(0.3, 0.3, 0.2, 0.12, 0.08)))
        edges = [_edges(size, count, rng), _edges(size, count, rng)]
        pixels = np.empty((size, size, 3), np.uint8)
        boxes, points = [np.zeros((0, 4), np.float32)], [np.zeros((0, 5, 2), np.float32)]
        for top, bottom in zip(edges[0][:-1], edges[0][1:], strict=True):
            for left, right in zip(edges[1][:-1], edges[1][1:], strict=True):
                cell = min(right - left, bottom - top)
                placed = self._cell(right - left, bottom - top, cell * rng.uniform(0.3, 0.85), rng)
                pixels[top:bottom, left:right] = placed.pixels
                boxes.append(placed.boxes + np.array((left, top, left, top), np.float32))
                points.append(placed.points + np.array((left, top), np.float32))
        return View(pixels, np.concatenate(boxes), np.concatenate(points).reshape(-1, 10))

    def crowd(self, size: int, rng: np.random.Generator) -> View:
        """Faces of similar size pasted with soft oval edges onto a background, rear ones first."""
        background = self._background(size, rng)
        pixels = background.astype(np.float32)
        side = float(np.exp(rng.uniform(np.log(11), np.log(size / 4))))
        boxes, points = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
        for _ in range(int(rng.integers(2, max(4, min(30, round(2 * size / side)))))):
            width = int(side * rng.uniform(0.75, 1.35) * 2.2)
            placed = self._piece(width, width, width / 2.2, rng, centred=True)
            left, top = (int(value) for value in rng.uniform(-0.2 * width, size - 0.8 * width, 2))
            _blend(pixels, placed.pixels, left, top)
            patch = np.array((left, top, left + width, top + width), np.float32)
            clear = _covered(boxes, patch) < 0.15
            shown = np.clip(patch, 0, size)
            middle = (placed.boxes[:, :2] + placed.boxes[:, 2:]) / 2 - width / 2
            kept = (np.hypot(*middle.T) < width / 5) & (_areas(shown[None]) > 0.95 * width * width)
            boxes = np.concatenate((boxes[clear], placed.boxes[kept] + patch[[0, 1, 0, 1]]))
            points = np.concatenate((points[clear], placed.points[kept] + patch[:2]))
        return View(pixels.astype(np.uint8), boxes, points.reshape(-1, 10))

    def deserted(self, size: int, rng: np.random.Generator) -> View:
        """A drawn scene in which nobody is."""
        return View(scenery(size, size, rng), np.zeros((0, 4), np.float32), np.zeros((0, 10), np.float32))

    def _piece(
        self, width: int, height: int, side: float, rng: np.random.Generator, *, centred: bool = False
    ) -> Placed:
        """A photograph placed so that one of its faces has a box of about ``side`` pixels within the rectangle."""
        faces = self.aside if self.aside_share and rng.random() < self.aside_share else self.with_faces
        source = faces[int(rng.integers(len(faces)))]
        box = source.boxes[int(rng.integers(len(source.boxes)))]
        scale = side / float(np.sqrt(_areas(box[None])[0]))
        wide = rng.random() < 0.12
        angle = np.radians(rng.uniform(-90, 90) if wide else np.clip(rng.normal(0, 9), -22, 22))
        inside = 0.05 if self.cut and rng.random() < self.cut else 0.45  # parts of the face, from its middle
        margin = 0.5 if centred else min(0.5, inside * side / min(width, height))
        target = (rng.uniform(margin, 1 - margin) * width, rng.uniform(margin, 1 - margin) * height)
        centre = (box[:2] + box[2:]) / 2
        stretch = float(np.exp(rng.normal(0, 0.06)))
        matrix = similarity(centre, target, scale, float(angle), mirror=bool(rng.random() < 0.5), stretch=stretch)
        fill = tuple(int(value) for value in rng.integers(0, 256, 3))
        return place(source, matrix, width, height, BORDERS[int(rng.choice(3, p=(0.4, 0.3, 0.3)))], fill)

    def _cell(self, width: int, height: int, side: float, rng: np.random.Generator) -> Placed:
        kind = rng.random()
        if kind < 0.78:
            return self._piece(width, height, side, rng)
        pixels = self._detail(width, height, rng) if kind < 0.87 else _nobody(width, height, rng)
        return Placed(pixels, np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32))

    def _detail(self, width: int, height: int, rng: np.random.Generator) -> Pixels:
        """A random part of a photograph at a random scale and angle: collars, hands, flags, halves of faces."""
        source = self.sources[int(rng.integers(len(self.sources)))]
        full_height, full_width = source.levels[0].shape[:2]
        centre = (rng.uniform(0.05, 0.95, 2) * (full_width, full_height)).astype(np.float32)
        scale = float(np.exp(rng.uniform(np.log(0.1), np.log(1.5))))
        matrix = similarity(centre, (width / 2, height / 2), scale, float(rng.uniform(-np.pi, np.pi)))
        return place(source, matrix, width, height, cv2.BORDER_REFLECT_101, (0, 0, 0)).pixels

    def _background(self, size: int, rng: np.random.Generator) -> Pixels:
        kind = rng.random()
        if kind < 0.5:
            return _shuffle(self._detail(size, size, rng), rng)
        return self._detail(size, size, rng) if kind < 0.75 else _nobody(size, size, rng)


def _edges(size: int, count: int, rng: np.random.Generator) -> list[int]:
    """Cell borders 0 … size with jittered widths."""
    widths = np.cumsum(rng.uniform(0.75, 1.25, count))
    return [0, *(round(size * edge / widths[-1]) for edge in widths)]


def _covered(boxes: FloatArray, patch: FloatArray) -> FloatArray:
    """Share of each box that a patch covers."""
    both = np.concatenate((np.maximum(boxes[:, :2], patch[:2]), np.minimum(boxes[:, 2:], patch[2:])), axis=1)
    sides = np.clip(both[:, 2:] - both[:, :2], 0, None)
    return np.asarray(sides.prod(axis=1) / np.maximum(_areas(boxes), 1e-6), np.float32)


def _blend(canvas: FloatArray, patch: Pixels, left: int, top: int) -> None:
    """Mix a square patch into the canvas with a soft oval mask that leaves its head and collar."""
    width = patch.shape[0]
    y, x = np.mgrid[0:width, 0:width].astype(np.float32) / width - 0.5
    mask = np.clip((0.5 - np.hypot(x * 1.25, y * 1.05)) * 10, 0, 1)[..., None]
    height, size = canvas.shape[0], canvas.shape[1]
    inner = (slice(max(0, -top), min(width, height - top)), slice(max(0, -left), min(width, size - left)))
    outer = (slice(max(0, top), min(height, top + width)), slice(max(0, left), min(size, left + width)))
    canvas[outer] += (patch[inner] - canvas[outer]) * mask[inner]


def _shuffle(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Shuffle square patches, which leaves skin, hair and cloth but no face."""
    side = int(rng.choice((8, 16, 32)))
    size = pixels.shape[0] // side
    tiles = (
        pixels[: size * side, : size * side]
        .reshape(size, side, size, side, 3)
        .swapaxes(1, 2)
        .reshape(-1, side, side, 3)
    )
    mixed = tiles[rng.permutation(len(tiles))].reshape(size, size, side, side, 3).swapaxes(1, 2)
    result: Pixels = pixels.copy()
    result[: size * side, : size * side] = mixed.reshape(size * side, size * side, 3)
    return result


def _nobody(width: int, height: int, rng: np.random.Generator) -> Pixels:
    return scenery(width, height, rng) if rng.random() < 0.6 else _texture(width, height, rng)


def _texture(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Smooth noise of a random coarseness between two colours, or plain stripes."""
    low, high = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    if rng.random() < 0.3:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 40)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)) / 2 + 0.5
    else:
        coarse = float(np.exp(rng.uniform(0, np.log(30))))
        shape = (max(2, round(height / coarse)), max(2, round(width / coarse)))
        wave = cv2.resize(rng.random(shape, np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(low + (high - low) * wave[..., None], 0, 255), np.uint8)


def _distract(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw blocks, discs and letters, which hide parts of faces or resemble them."""
    if rng.random() < 0.6:
        return pixels
    result: Pixels = pixels.copy()
    size = pixels.shape[0]
    for _ in range(int(rng.integers(1, 6))):
        x, y = (int(value) for value in rng.uniform(0, size, 2))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        extent = int(np.exp(rng.uniform(np.log(4), np.log(size / 5))))
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(result, (x, y), (x + extent, y + int(extent * rng.uniform(0.3, 2))), colour, -1)
        elif kind == 1:
            axes = (extent // 2 + 1, int(extent * rng.uniform(0.3, 0.8)) + 1)
            cv2.ellipse(result, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, colour, int(rng.choice((-1, 1, 3))))
        else:
            word = "".join(chr(int(code)) for code in rng.integers(48, 122, int(rng.integers(1, 9))))
            cv2.putText(result, word, (x, y), cv2.FONT_HERSHEY_SIMPLEX, extent / 25, colour, int(rng.integers(1, 4)))
    return result
