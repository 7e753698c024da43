from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restorer.errors import PhotoError
from restorer.evaluation.inputs import InputMaker, cubic, degrade_truth, reduce_and_enlarge
from restorer.evaluation.methods import restore_aligned
from tests.fakes import FakeEngine, FakeNetworks, brighter


def test_degradation_depends_on_name_and_seed_alone(face: NDArray[Any]) -> None:
    first = degrade_truth(face, "a", "paper", 1)
    assert np.array_equal(first, degrade_truth(face, "a", "paper", 1))
    assert first.shape == face.shape and first.dtype == np.uint8
    for stem, seed in (("b", 1), ("a", 2)):
        assert not np.array_equal(first, degrade_truth(face, stem, "paper", seed))


def test_a_case_is_the_same_whatever_its_neighbours(face: NDArray[Any]) -> None:
    pictures = {"x": face, "y": face[::-1].copy()}
    make = InputMaker(pictures.__getitem__, None, "paper", 3, 4)
    alone = make("y")
    make("x")
    assert np.array_equal(make("y").given, alone.given)
    assert alone.truth is pictures["y"] and not np.array_equal(alone.given, alone.degraded)


def test_super_resolution_loses_what_a_small_picture_cannot_hold(face: NDArray[Any]) -> None:
    flat = np.full((64, 64, 3), 77, np.uint8)
    assert np.array_equal(reduce_and_enlarge(flat, 4), flat)
    y, x = np.mgrid[:64, :64]
    checks = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    assert np.ptp(reduce_and_enlarge(checks, 4)) <= 2
    case = InputMaker(lambda stem: face, None, None, 0, 4)("x")
    assert case.degraded is face and np.array_equal(case.given, reduce_and_enlarge(face, 4))


def test_cubic_is_pixel_centre_exact() -> None:
    """A ramp stays the same ramp about the pictures' common middle, away from the edges."""
    ramp = np.repeat(np.arange(32, dtype=np.uint8)[None, :, None] * 8, 32, axis=0).repeat(3, axis=2)
    large = cubic(ramp, 64, 64)[32, 8:-8, 0].astype(float)
    expected = 8 * ((np.arange(64) + 0.5) / 2 - 0.5)[8:-8]
    assert np.abs(large - expected).max() <= 0.5


def test_small_inputs_are_enlarged(face: NDArray[Any]) -> None:
    small = np.asarray(Image.fromarray(face).resize((64, 64)))
    case = InputMaker(lambda stem: face, lambda stem: small, None, 0, 4)("x")
    assert case.given.shape == face.shape and np.array_equal(case.given, cubic(small, 256, 256))


def test_inputs_without_truth(face: NDArray[Any]) -> None:
    case = InputMaker(None, lambda stem: face)("x")
    assert case.truth is None and case.given is face


def test_models_restore_pictures_of_any_square_size(face: NDArray[Any]) -> None:
    networks = FakeNetworks(engine=FakeEngine(brighter))
    flat = np.full((200, 200, 3), 100, np.uint8)
    large, small = restore_aligned([flat, flat[:50, :50]], networks)
    # a tenth of 255 brighter
    assert large.shape == (200, 200, 3) and np.abs(large.astype(int) - 126).max() <= 1
    assert small.shape == (50, 50, 3) and np.abs(small.astype(int) - 126).max() <= 1
    with pytest.raises(PhotoError, match="square"):
        restore_aligned([face[:100]], networks)
