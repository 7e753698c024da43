"""Every image's draws are its own."""

from __future__ import annotations

import numpy as np
import torch

from restorer.training.damage.draws import Draws
from tests.training.damage.pictures import draws


def test_an_image_draws_the_same_whatever_its_neighbours() -> None:
    together, alone = draws(5), Draws([np.random.default_rng([0, 3])])
    for name, bounds in (("uniform", (2, 5)), ("log_uniform", (1, 9)), ("integers", (0, 7))):
        assert getattr(together, name)(*bounds)[3] == getattr(alone, name)(*bounds)[0]
    assert torch.equal(together.normal(1, 8, 9)[3], alone.normal(1, 8, 9)[0])
    assert torch.equal(together.noise(4, 4)[3], alone.noise(4, 4)[0])


def test_a_subset_goes_on_with_the_same_generators() -> None:
    whole, reference = draws(4), draws(4)
    part = whole.subset([1, 3])
    first = part.uniform(0, 1)
    assert np.array_equal(first, reference.uniform(0, 1)[[1, 3]])
    noise = part.normal(16)
    assert torch.equal(noise, reference.normal(16)[[1, 3]])
    # the whole's noise of an image that has drawn goes on, too
    assert torch.equal(whole.normal(16)[1], reference.normal(16)[1])


def test_draws_keep_to_their_bounds_and_probabilities() -> None:
    many = draws(2000)
    drawn = many.log_uniform(1, 16)
    assert drawn.min() >= 1 and drawn.max() <= 16
    assert abs(np.mean(drawn < 4) - 0.5) < 0.04
    assert set(many.integers(0, 7)) == set(range(8))
    assert abs(len(many.chosen(0.3)) / 2000 - 0.3) < 0.04
    assert len(many.chosen(0)) == 0 and len(many.chosen(1)) == 2000


def test_noise_of_unlike_sizes_fills_each_size_and_no_more() -> None:
    sizes = np.array([[10, 20], [30, 8]])
    field = draws(2).normal_within(sizes, 3, 30, 20)
    for row, (height, width) in enumerate(sizes):
        inside = field[row, :, :height, :width]
        assert (inside != 0).all() and field[row].abs().sum() == inside.abs().sum()
    alone = Draws([np.random.default_rng([0, 1])]).normal_within(sizes[1:], 3, 64, 64)
    assert torch.equal(alone[0, :, :30, :8], field[1, :, :30, :8])
