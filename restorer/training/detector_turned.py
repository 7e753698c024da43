"""Training photographs of faces that look aside, made from those that look at the viewer, labelled by the teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from restorer.training.detector_scenery import scenery
from restorer.training.detector_sources import Network, Pixels, Source, labelled
from restorer.training.detector_views import BORDERS, place, similarity
from restorer.training.turning import turned

SIDE = 256
"""Side of the pictures in pixels."""
FACE = 106.0
"""Side of the face's box in them, in pixels, before it turns."""
DEGREES = (30.0, 85.0)
"""Least and greatest turn, either way; what the teacher does not see afterwards is not asked for."""
TIMES = 2
"""Pictures of each face."""
SEED = 7


def turned_sources(
    sources: Sequence[Source], teacher: Network, device: torch.device, cache: Path, notify: Callable[[str], None]
) -> list[Source]:
    """Turn every face of some photographs aside and let the teacher label what it sees.

    Args:
        sources: The photographs.
        teacher: Labels the faces.
        device: Where the teacher lives.
        cache: ``.npz`` file with the labels; written if it is not there.
        notify: Receives a line on what is done.

    Returns:
        The pictures, the same for the same photographs; those in which the teacher sees no face have none.

    Raises:
        UsageError: The cache is of other photographs.
        OutputError: The cache cannot be written.
    """
    notify("turning faces aside")
    return labelled(list(_pictures(sources)), teacher, device, cache, notify)


def _pictures(sources: Sequence[Source]) -> Iterator[Pixels]:
    for number, source in enumerate(sources):
        for face, (box, points) in enumerate(zip(source.boxes, source.points, strict=True)):
            for time in range(TIMES):
                rng = np.random.default_rng([SEED, number, face, time])
                scale = FACE / float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
                eyes = points[1] - points[0]
                upright = -float(np.arctan2(eyes[1], eyes[0]))
                matrix = similarity((box[:2] + box[2:]) / 2, (SIDE / 2, SIDE / 2), scale, upright)
                pixels = place(source, matrix, SIDE, SIDE, BORDERS[0], (0, 0, 0)).pixels
                centred = points @ matrix[:, :2].T + matrix[:, 2] - 0.5  # from edges to pixel centres
                degrees = float(rng.uniform(*DEGREES) * rng.choice((-1, 1)))
                yield turned(pixels, centred.astype(np.float32), degrees, _behind(pixels, rng))[0]


def _behind(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return what is seen around the head: the picture blurred, which is a neck and shoulders, or a drawn scene."""
    if rng.random() < 0.6:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(5, 20))), np.uint8)
    return scenery(SIDE, SIDE, rng)
