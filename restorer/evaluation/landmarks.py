"""Landmark distance: how far the five points of the face moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.evaluation.metric import Judge, Metric, Pixels, Tools
from restorer.faces import Face

THRESHOLD = 0.5
"""Least confidence of a face: every picture is known to hold one."""

METRIC = Metric(
    "lmd",
    "LMD",
    higher_is_better=False,
    decimals=2,
    unit="px",
    least_side=32,
    recipe="mean distance of five points (eyes, nose, corners of the mouth) in pixels of the picture, as RetinaFace "
    f"finds them in both, confidence {THRESHOLD} or more, the largest face; no value where none is found. Papers that "
    "use 68 or 98 points give other numbers",
    source="RetinaFace of Deng et al., CVPR 2020, through facexlib's network or the bundled one",
)

Find = Callable[[NDArray[Any]], list[Face]]


def open_landmarks(tools: Tools) -> Judge:
    """Return the judge.

    Raises:
        Unavailable: No detector is to be had.
    """
    from restorer.options import RestoreOptions
    from restorer.pipeline.networks import OpenedNetworks

    weights = tools.detector_weights()
    options = RestoreOptions(det_threshold=THRESHOLD, device=tools.device, offline=tools.offline)
    named = weights.name if weights.row is not None else str(weights.path)
    return judge_of(OpenedNetworks(options, store=tools.store, detector=named).find())


def judge_of(find: Find) -> Judge:
    """Make a judge of a detector. The points of a truth are found once and kept."""
    known: dict[bytes, NDArray[np.float32] | None] = {}

    def distance(restored: Pixels, truth: Pixels) -> float | None:
        key = blake2b(truth.tobytes()).digest()
        if key not in known:
            known[key] = _points(find(truth))
        before, after = known[key], _points(find(restored))
        if before is None or after is None:
            return None
        return float(np.linalg.norm(before.astype(np.float64) - after, axis=1).mean())

    def lmd(restored: Sequence[Pixels], truth: Sequence[Pixels]) -> list[float | None]:
        return [distance(*pair) for pair in zip(restored, truth, strict=True)]

    return lmd


def _points(faces: Sequence[Face]) -> NDArray[np.float32] | None:
    """Return the largest face's points."""
    return max(faces, key=lambda face: face.width * face.height).landmarks if faces else None
