"""A photograph with drawn "faces" and a network that knows them: detection without weights, with known truth.

A face is a green rectangle on black. The engine looks for green components in the canvas it is given and answers in
RetinaFace's own encoding (written here from its definition, independently of the package): the prior that fits best
gets the offsets and a probability that depends on the component's size, as with the real network.
"""

from __future__ import annotations

import cv2
import numpy as np

from restorer.contract import NetworkContract
from restorer.pipeline.detect_views import LARGE, SMALL

MEAN = (104.0, 117.0, 123.0)
POINTS = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
"""The five points of a drawn face in parts of its box."""


def photo(width: int, height: int, boxes, dtype=np.uint8):
    """Draw faces (x, y, w, h in whole pixels), RGB."""
    pixels = np.zeros((height, width, 3), dtype=dtype)
    for x, y, w, h in boxes:
        pixels[y : y + h, x : x + w, 1] = np.iinfo(dtype).max
    return pixels


def corners(x: int, y: int, w: int, h: int):
    """Return a drawn face's box with pixel centres at integers: its edges lie half a pixel outside its pixels."""
    return np.array([x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5])


class DrawnFaceEngine:
    """Stands in for a RetinaFace engine and counts what it is asked."""

    contract = NetworkContract("drawn", "detector", "bgr", mean=MEAN, size_multiple=32)

    def __init__(self, score=lambda size: 0.999 if size >= 16 else (0.1 if size >= 5 else 0.0)):
        self.score = score
        self.looks: dict[int, int] = {}
        self.batches: list[int] = []

    def __call__(self, batch):
        assert batch.dtype == np.float32
        assert batch.shape[1] == 3
        assert batch.shape[2] % 32 == batch.shape[3] % 32 == 0
        side = LARGE if max(batch.shape[2:]) > SMALL else SMALL
        assert side == LARGE or batch.shape[2:] == (SMALL, SMALL)  # of a small canvas all is shown
        self.looks[side] = self.looks.get(side, 0) + len(batch)
        self.batches.append(len(batch))
        answers = [self._answer(canvas) for canvas in batch]
        return tuple(np.stack(parts).astype(np.float32) for parts in zip(*answers, strict=True))

    def probability(self, face, size):
        """Return how sure the engine is of a component, from its pixels (3, h, w) and its size."""
        return self.score(size)

    def _answer(self, canvas):
        green = canvas[1] + MEAN[1]
        # The free part of a canvas is the mean, 117; anything near it is no face.
        mask = (green > 127.5).astype(np.uint8)
        shape = canvas.shape[1:]
        count = sum((shape[0] // step) * (shape[1] // step) * 2 for step in (8, 16, 32))
        boxes, classes, points = np.zeros((count, 4)), np.zeros((count, 2)), np.zeros((count, 10))
        classes[:, 0] = 1
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for x, y, w, h, _ in stats[1:]:
            prior_row, cx, cy, size = best_prior(x + w / 2, y + h / 2, max(w, h), shape)
            classes[prior_row, 1] = self.probability(canvas[:, y : y + h, x : x + w], max(w, h))
            boxes[prior_row] = [
                (x + w / 2 - cx) / size / 0.1,
                (y + h / 2 - cy) / size / 0.1,
                np.log(w / size) / 0.2,
                np.log(h / size) / 0.2,
            ]
            spots = POINTS * [w, h] + [x, y]
            points[prior_row] = ((spots - [cx, cy]) / size / 0.1).reshape(10)
        return boxes, classes, points


def best_prior(x, y, size, shape):
    """Return row, centre and side of the prior of the nearest size whose cell holds the point."""
    start = 0
    options = []
    for step, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        rows, columns = shape[0] // step, shape[1] // step
        column, row = min(int(x // step), columns - 1), min(int(y // step), rows - 1)
        for index, prior in enumerate(sizes):
            place = start + (row * columns + column) * 2 + index
            options.append((abs(np.log(prior / size)), place, (column + 0.5) * step, (row + 0.5) * step, prior))
        start += rows * columns * 2
    return min(options)[1:]
