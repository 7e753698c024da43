"""Faces in every quarter turn, found by a detector that sees upright ones only, by a mark of three colours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorer.faces import Face
from restorer.options import RestoreOptions
from restorer.pipeline.detect_turned import in_all_turns
from restorer.pipeline.networks import OpenedNetworks

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
"""Of the five points."""
MARK = ((-8, -6), (8, -6), (0, 2), (-6, 10), (6, 10))


def marked(turns: int, centre: tuple[int, int] = (40, 60), size: tuple[int, int] = (150, 110)) -> NDArray[np.uint8]:
    """Return a picture with a face's five points, the whole turned by quarters."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for (x, y), colour in zip(MARK, COLOURS, strict=True):
        pixels[centre[1] + y, centre[0] + x] = colour
    return np.ascontiguousarray(np.rot90(pixels, turns))


def points_of(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return np.array([np.argwhere((pixels == colour).all(axis=2))[0][::-1] for colour in COLOURS], np.float32)


def upright_only(lying: float = 0.0) -> Any:
    """Find the mark, surely where it stands upright, with a score of ``lying`` and points as if upright elsewhere."""

    def find(pixels: NDArray[Any]) -> list[Face]:
        points = points_of(pixels)
        upright = points[4, 1] > points[0, 1] and points[1, 0] > points[0, 0]
        if not upright and not lying:
            return []
        x0, y0 = points.min(axis=0) - 4
        x1, y1 = points.max(axis=0) + 4
        guessed = points if upright else np.array(MARK, np.float32) + points.mean(axis=0)
        return [Face((float(x0), float(y0), float(x1), float(y1)), 0.98 if upright else lying, guessed)]

    return find


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("lying", [0.0, 0.97])
def test_a_face_is_found_as_it_lies(turns: int, lying: float) -> None:
    pixels = marked(turns)
    (face,) = in_all_turns(upright_only(lying))(pixels)
    np.testing.assert_array_equal(face.landmarks, points_of(pixels))
    low, high = points_of(pixels).min(axis=0), points_of(pixels).max(axis=0)
    np.testing.assert_array_equal(face.box, [*(low - 4), *(high + 4)])
    assert face.score == 0.98


def test_no_face() -> None:
    assert in_all_turns(lambda pixels: [])(marked(0)) == []


def test_the_option_puts_it_around_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    from restorer.pipeline import networks

    seen: list[tuple[int, ...]] = []

    class Blind:
        def __init__(self, engine: object, threshold: float, *, batch: int = 8) -> None:
            pass

        def __call__(self, pixels: NDArray[Any]) -> list[Face]:
            seen.append(pixels.shape)
            return []

        glance = __call__

    monkeypatch.setattr(networks, "Detector", Blind)
    monkeypatch.setattr(OpenedNetworks, "_open", lambda *args: SimpleNamespace(device="cpu"))
    for choice, looks in (("auto", 1), ("all", 4)):
        seen.clear()
        OpenedNetworks(RestoreOptions(offline=True, rotations=choice)).find()(marked(0))
        assert len(seen) == looks
