"""Find the faces of a photograph with RetinaFace, at every size and at a bounded cost.

RetinaFace is sure and its points are sharp where a face's box is roughly 100 to 190 pixels of the network's input; on
smaller and larger faces the points drift (MobileNet-0.25, against 60 faces with known points, median error in eye
distances: 12% at 31 pixels, 6% at 83, 4% at 125 to 145, 5.5% at 260). So the search is in three steps:

1. *Search.* A whole view and a coarse one for faces that fill the photograph, with a low threshold. Then finer levels
   in tiles, but only tiles in which the level before saw a weak trace of small faces; a plain portrait costs one to
   three tiles, a crowd all of them, and never more than MAX_TILES a level.
2. *Close look.* Every candidate that was not seen at a good size is cut out and looked at with its box at 128 pixels, a
   small face enlarged, a large one reduced. What this look does not confirm is dropped; box and points are its own.
   Where it is not quite as sure as that network is of upright faces (``NetworkContract.upright_score``), the face may
   lie on its side or upside down, at which RetinaFace finds the box but guesses the points: then three more looks at
   quarter turns decide.
3. *Second look.* Every face that was found is seen once more, in a view that has nothing in common with the one it was
   found in but the face; the two share in its points and its score (see ``detect_second``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restorer.faces import Face
from restorer.pipeline.detect_geometry import plausible, without_nested
from restorer.pipeline.detect_look import SAME_FACE, DetectorEngine, Looker, blend
from restorer.pipeline.detect_second import second_looks
from restorer.pipeline.detect_views import LARGE, SMALL, View, close_look, tile_count, tiles, view_of
from restorer.pipeline.retinaface_decode import Detections, FloatArray, join, suppress

CANDIDATE_SCORE = 0.35
"""Least score of a candidate in the search; the close look then decides with the caller's threshold. From 0.2
there were no more faces on seven group photographs, sharp and blurred, 24 old scans and 36 tilted and turned ones with
MobileNet, and up to twice the looks; from 0.5 three of the tilted ones were lost."""
SEEN_SCORE = 0.2
"""Least score with which a look at a candidate confirms it."""
TRACE_SCORE = 0.02
"""Least score of a trace that makes the search look closer (MobileNet gives it to 98% of 12-pixel faces, 82% at 10)."""
TRACE_SIZE = 32
"""Traces are boxes smaller than this in network pixels: larger faces are seen well enough to be candidates."""
GOOD_SIZES = (100, 190)
"""Sizes of a box's longer side in network pixels at which points are sharp without a close look."""
BEST_SIZE = 128
"""The longer side of the box in a close look, in network pixels."""
LEVEL_STEP = 1.85
"""Scale of a finer level over the one before: two tiles across cover what one did, less their overlap."""
LEAST_STEP = 1.25
"""A finer level that gains less than this factor is not worth its tiles."""
MAX_TILES = 16
"""Most tiles at one level; it bounds the finest scale on large photographs."""
BASE_AREA = 640 * 330
"""Least pixels of the first view at network scale: a panorama is first seen in a few tiles, not as a thin strip."""
MIN_BOX = 8.0
"""Candidates smaller than this in pixels of the photograph hold nothing that could be restored."""
EDGE = 4.0
"""A box nearer than this in network pixels to a tile's inner edge may be cut off there."""
UNSURE_SCORE = 0.7
"""Candidates that got less at every upright look are no lying faces either: three more looks would be wasted."""
MAX_CLOSE_LOOKS = 256
"""Most close looks at one photograph, the surest candidates first; a bound for textures that look like crowds."""
MAX_TURNED = 48
"""Most candidates that are looked at in quarter turns, the surest first."""


@dataclass(frozen=True)
class _Candidates:
    found: Detections
    """In the photograph's pixels."""
    seen: FloatArray
    """(N,): size of the box in network pixels when it was seen."""
    cut: NDArray[np.bool_]
    """(N,): whether the box may be cut off at a tile's inner edge."""


class Detector:
    """Finds faces; holds no state between photographs."""

    def __init__(self, engine: DetectorEngine, threshold: float, *, batch: int = 8) -> None:
        """Take a RetinaFace engine and the least score of a face, 0 to 1; ``batch`` views go through it at once."""
        self._look = Looker(engine, batch)
        self._threshold = threshold
        self._upright = engine.contract.upright_score

    def __call__(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> list[Face]:
        """Find the faces of one photograph.

        Args:
            pixels: H×W×3 RGB, uint8 or uint16 (grey as three equal channels).

        Returns:
            The faces from left to right (by the centre of the box, then top to bottom), boxes cut at the photograph's
            edges, points as the network gave them.

        Raises:
            ValueError: The array is no H×W×3 photograph in uint8 or uint16.
            OutOfMemoryError: From the engine.
        """
        if not _holds_pixels(pixels):
            return []
        found = self._settle(pixels, self._search(pixels))
        found = found[found.scores >= self._threshold]
        found = found[np.array([group[0] for group in suppress(found.boxes, found.scores, SAME_FACE)], dtype=np.intp)]
        found, settled = second_looks(self._look, pixels, found, self._seen_score)
        kept = found.scores >= self._threshold
        found, settled = found[kept], settled[kept]
        kept = without_nested(found)
        return _faces(found[kept], width=pixels.shape[1], height=pixels.shape[0], settled=settled[kept])

    def glance(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> list[Face]:
        """Find the faces of a picture that shows them upright and at a good size already: one look at the whole of it.

        Where that look is not as sure as the network is of upright faces, looks at its quarter turns follow, and what
        one of them saw counts if it is clearly surer. Takes, returns and raises what a call does.
        """
        if not _holds_pixels(pixels):
            return []
        height, width = pixels.shape[:2]
        view = view_of((0, 0, width, height), min(1.0, SMALL / max(width, height)), SMALL)
        best = self._glance(pixels, view, 0)
        if best.scores.max(initial=0) < self._upright:
            for turns in (1, 2, 3):
                best = self._surer(best, self._glance(pixels, view, turns))
        return _faces(best[without_nested(best)], width=width, height=height)

    def _glance(self, pixels: NDArray[np.generic], view: View, turns: int) -> Detections:
        (seen,) = self._look(pixels, [view], least=self._threshold, turns=turns)
        placed = view.detections_to_photo(seen[plausible(seen)])
        return join([blend(placed[group]) for group in suppress(placed.boxes, placed.scores, SAME_FACE)])

    @property
    def _candidate_score(self) -> float:
        return min(CANDIDATE_SCORE, self._threshold)

    @property
    def _seen_score(self) -> float:
        return min(SEEN_SCORE, self._threshold)

    def _search(self, pixels: NDArray[np.generic]) -> _Candidates:
        height, width = pixels.shape[:2]
        if max(height, width) <= SMALL:
            return self._level(pixels, [view_of((0, 0, width, height), 1.0, SMALL)])[0]
        coarse = view_of((0, 0, width, height), SMALL / max(height, width), SMALL)
        results = [self._level(pixels, [coarse])[0]]
        scale: float | None = first_scale(width, height)
        traces = None
        while scale is not None:
            views = tiles(width, height, scale)
            if traces is not None:
                views = [view for view in views if _holds_any(view, traces)]
            found, traces = self._level(pixels, views)
            results.append(found)
            scale = finer_scale(width, height, scale) if len(traces) else None
        return _Candidates(
            join([result.found for result in results]),
            np.concatenate([result.seen for result in results]),
            np.concatenate([result.cut for result in results]),
        )

    def _level(self, pixels: NDArray[np.generic], views: Sequence[View]) -> tuple[_Candidates, FloatArray]:
        """Look at views; return candidates and where traces (M, 2) of faces too small for this level lie."""
        kept, seen, cut, traces = [], [], [], [np.zeros((0, 2), dtype=np.float32)]
        least = min(TRACE_SCORE, self._candidate_score)
        for view, found in zip(views, self._look(pixels, views, least=least), strict=True):
            sure = found.scores >= self._candidate_score
            candidates = found[sure]
            placed = view.detections_to_photo(candidates)
            fits = plausible(candidates) & (placed.sizes >= MIN_BOX)
            kept.append(placed[fits])
            seen.append(candidates.sizes[fits])
            cut.append(_cut_off(view, candidates.boxes[fits], pixels.shape[1], pixels.shape[0]))
            small = found[~sure & (found.sizes < TRACE_SIZE)]
            traces.append(view.to_photo(_unexplained(small, candidates)))
        return _Candidates(join(kept), np.concatenate(seen), np.concatenate(cut)), np.concatenate(traces)

    def _settle(self, pixels: NDArray[np.generic], candidates: _Candidates) -> Detections:
        """Make one face of each group of overlapping candidates; look closely where none was seen at a good size."""
        found = candidates.found
        # A tent over octaves around the best size: the candidate seen at the best scale speaks for its group.
        fitness = np.exp(-(np.log2(np.maximum(candidates.seen, 1) / BEST_SIZE) ** 2) / 2) * np.where(
            candidates.cut, 0.1, 1
        )
        good = ~candidates.cut & (candidates.seen >= GOOD_SIZES[0]) & (candidates.seen <= GOOD_SIZES[1])
        settled, unclear, peaks = [], [], []
        for group in suppress(found.boxes, found.scores * fitness, SAME_FACE):
            if good[group[0]] and found.scores[group[0]] >= max(self._threshold, self._upright):
                settled.append(blend(found[group[good[group]]]))
            else:
                unclear.append(group[0])
                peaks.append(found.scores[group].max())
        return join([*settled, self._close_looks(pixels, found[np.array(unclear, dtype=np.intp)], np.array(peaks))])

    def _close_looks(self, pixels: NDArray[np.generic], found: Detections, peaks: NDArray[np.float32]) -> Detections:
        """Confirm candidates at the best size, or drop them; a face's score is the highest it got at any size."""
        height, width = pixels.shape[:2]
        first = np.argsort(-peaks, kind="stable")[:MAX_CLOSE_LOOKS]
        found, peaks = found[first], peaks[first]
        views = [close_look(box, BEST_SIZE, width, height) for box in found.boxes]
        best = self._look.closest(pixels, views, found.boxes, self._seen_score)
        sure = [face.scores.max(initial=0) for face in best]
        unsure = [
            row for row, score in enumerate(sure) if score < self._upright and max(score, peaks[row]) >= UNSURE_SCORE
        ]
        unsure = unsure[:MAX_TURNED]
        for turns in (1, 2, 3):
            turned = self._look.closest(
                pixels, [views[row] for row in unsure], found.boxes[unsure], self._seen_score, turns=turns
            )
            for row, face in zip(unsure, turned, strict=True):
                best[row] = self._surer(best[row], face)
        return join(
            [
                Detections(face.boxes, np.maximum(face.scores, peak), face.points)
                for face, peak in zip(best, peaks, strict=True)
            ]
        )

    def _surer(self, face: Detections, turned: Detections) -> Detections:
        """Return what a turned look saw if it is clearly surer than what was seen before."""
        gain = 1 - self._upright
        return turned if turned.scores.max(initial=0) >= max(self._upright, face.scores.max(initial=0) + gain) else face


def _holds_pixels(pixels: NDArray[np.generic]) -> bool:
    """Return whether there is anything to see; ValueError for what is no photograph."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"A photograph is H×W×3 uint8 or uint16, not {pixels.shape} {pixels.dtype}.")
    return pixels.size > 0


def first_scale(width: int, height: int) -> float:
    """Return the scale of the first whole view: one tile for ordinary shapes, a few for panoramas, never enlarged."""
    scale = min(1.0, max(LARGE / max(width, height), math.sqrt(BASE_AREA / (width * height))))
    return _within_tiles(width, height, scale)


def finer_scale(width: int, height: int, scale: float) -> float | None:
    """Return the next finer level's scale, or None where tiles or the photograph's own pixels do not allow one."""
    finer = _within_tiles(width, height, min(1.0, scale * LEVEL_STEP))
    return finer if finer >= scale * LEAST_STEP else None


def _within_tiles(width: int, height: int, scale: float) -> float:
    while tile_count(width * scale) * tile_count(height * scale) > MAX_TILES:
        scale *= 0.98
    return scale


def _holds_any(view: View, points: FloatArray) -> bool:
    x0, y0, x1, y1 = view.window
    inside = (points[:, 0] >= x0) & (points[:, 0] < x1) & (points[:, 1] >= y0) & (points[:, 1] < y1)
    return bool(inside.any())


def _unexplained(traces: Detections, candidates: Detections) -> FloatArray:
    """Return the centres (M, 2) of traces that lie in no candidate's box: a candidate gets its close look anyway."""
    centres = traces.centres
    after: NDArray[np.bool_] = centres[:, None] >= candidates.boxes[None, :, :2]
    before: NDArray[np.bool_] = centres[:, None] <= candidates.boxes[None, :, 2:]
    unseen: FloatArray = centres[~np.any(np.all(after & before, axis=2), axis=1)]
    return unseen


def _cut_off(view: View, boxes: FloatArray, width: int, height: int) -> NDArray[np.bool_]:
    """Tell for boxes (N, 4) in canvas pixels whether they reach an edge of the view that is not the photograph's."""
    x0, y0, x1, y1 = view.window
    inner = np.array([x0 > 0, y0 > 0, x1 < width, y1 < height])
    room = np.stack([boxes[:, 0], boxes[:, 1], view.width - boxes[:, 2], view.height - boxes[:, 3]], axis=1)
    return np.asarray(((room < EDGE) & inner).any(axis=1))


def _faces(found: Detections, width: int, height: int, settled: NDArray[np.bool_] | None = None) -> list[Face]:
    boxes = np.clip(found.boxes, 0, np.array([width, height, width, height], dtype=np.float32) - 1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    faces = []
    for row in np.lexsort((centres[:, 1], centres[:, 0])):
        x0, y0, x1, y1 = boxes[row].tolist()
        sure = settled is not None and bool(settled[row])
        faces.append(Face((x0, y0, x1, y1), float(found.scores[row]), found.points[row], sure))
    return faces
