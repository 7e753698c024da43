"""Scenes without people: repeatable, varied, and full of things."""

import numpy as np
import pytest

from restorer.training.detector_scenery import scenery


@pytest.mark.parametrize("size", [(256, 256), (31, 97), (97, 31), (8, 8)])
def test_a_scene_fills_its_picture(size):
    picture = scenery(*size, np.random.default_rng(1))
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.uint8


def test_the_generator_decides_and_nothing_else():
    first, again, other = (scenery(128, 96, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_scenes_differ_in_colour_and_detail_and_hold_edges():
    scenes = [scenery(128, 128, np.random.default_rng(seed)) for seed in range(40)]
    means = np.array([scene.mean(axis=(0, 1)) for scene in scenes])
    assert (means.std(axis=0) > 25).all()  # levels
    steps = np.array([np.abs(np.diff(scene.astype(int), axis=1)).max() for scene in scenes])
    assert (steps > 20).mean() > 0.8  # most scenes hold a thing with an edge
