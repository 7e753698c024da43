"""Show views of a photograph to the detector's network, and tell what it saw of a face that is known already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract
from restorer.pipeline.detect_geometry import plausible
from restorer.pipeline.detect_views import View, network_input, turn_back
from restorer.pipeline.retinaface_decode import Detections, FloatArray, decode, overlaps

SAME_FACE = 0.4
"""Intersection over union above which two boxes are one face (RetinaFace's own value)."""
SAME_VIEW_OF_FACE = 0.6
"""Intersection over union above which a candidate's points join the weighted mean of the keeper's."""


class DetectorEngine(Protocol):
    """The part of a runtime's engine that detection needs.

    Called with an NCHW float32 batch it returns three float32 arrays: box offsets (N, A, 4), class *probabilities*
    (N, A, 2), softmaxed with the face in column 1 (as facexlib's RetinaFace gives in its test phase, not the logits of
    its train phase), and point offsets (N, A, 10).
    """

    @property
    def contract(self) -> NetworkContract:
        """What the network expects."""
        ...

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run a batch."""
        ...


class Looker:
    """The network behind :class:`restorer.pipeline.detect.Detector`; holds no state between photographs."""

    def __init__(self, engine: DetectorEngine, batch: int) -> None:
        """Take a RetinaFace engine; ``batch`` views go through it at once."""
        self._engine = engine
        self._batch = batch

    @property
    def upright_score(self) -> float:
        """The score from which the network is sure that a face stands upright."""
        return self._engine.contract.upright_score

    def __call__(
        self, pixels: NDArray[np.generic], views: Sequence[View], *, least: float, turns: int = 0
    ) -> list[Detections]:
        """Run views that share one canvas size, a batch at a time, turned by quarters; candidates in canvas pixels."""
        results = []
        for start in range(0, len(views), self._batch):
            part = views[start : start + self._batch]
            batch = np.rot90(network_input(pixels, part, self._engine.contract), turns, axes=(2, 3))
            height, width = batch.shape[2:]
            boxes, probabilities, points = self._engine(np.ascontiguousarray(batch))
            for outputs in zip(boxes, probabilities, points, strict=True):
                found = decode(outputs[0], outputs[1], outputs[2], (height, width), least)
                results.append(turn_back(found, turns, (height, width)))
        return results

    def closest(
        self,
        pixels: NDArray[np.generic],
        views: Sequence[View],
        boxes: FloatArray,
        least: float,
        *,
        turns: int = 0,
        blended: bool = True,
    ) -> list[Detections]:
        """Look for known faces (boxes (N, 4) in the photograph), each in a view of its own.

        Returns:
            For each the same face as seen there, one row, or none; ``blended`` takes the mean of the points of all
            priors that see it, otherwise those of the surest.
        """
        faces = []
        for box, view, seen in zip(boxes, views, self(pixels, views, least=least, turns=turns), strict=True):
            placed = view.detections_to_photo(seen[plausible(seen)])
            union, _ = overlaps(box, placed.boxes)
            same = placed[union >= SAME_FACE]
            if len(same):
                same = blend(same) if blended else same[np.array([np.argmax(same.scores)])]
            faces.append(same)
        return faces


def blend(found: Detections) -> Detections:
    """Return one detection: the surest one's box and score, and the mean of the points of all that see the same face.

    Neighbouring priors see the same face with independent errors; their mean, weighted by score, is 10% nearer.
    """
    best = int(np.argmax(found.scores))
    union, _ = overlaps(found.boxes[best], found.boxes)
    near = (union > SAME_VIEW_OF_FACE) & (found.scores >= found.scores[best] / 2)
    near[best] = True
    points = np.average(found.points[near], axis=0, weights=found.scores[near]).astype(np.float32)
    return Detections(found.boxes[best : best + 1], found.scores[best : best + 1], points[None])
