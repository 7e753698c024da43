"""Colour jitter, against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from restorer.training.damage.colour import (
    RELEASED_COLOUR,
    ColourSettings,
    brightness,
    contrast,
    hue,
    jitter,
    saturation,
)
from restorer.training.damage.draws import Draws
from tests.training.damage.pictures import draws, texture


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        (brightness, functional.adjust_brightness, (0.5, 1.4)),
        (contrast, functional.adjust_contrast, (0.6, 1.5)),
        (saturation, functional.adjust_saturation, (0.0, 1.5)),
        (hue, functional.adjust_hue, (-0.1, 0.07)),
    ],
)
def test_each_change_is_torchvisions(ours: object, theirs: object, values: tuple[float, float]) -> None:
    images = texture(2)
    changed = ours(images, np.array(values))
    for row, value in enumerate(values):
        expected = theirs(images[row] / 255, value) * 255
        assert (changed[row] - expected).abs().max() < 0.6  # its grey has weights of four digits


def test_a_hue_turned_once_round_is_the_same() -> None:
    images = texture(1)
    assert torch.allclose(hue(images, 1.0), images, atol=1e-2)
    assert torch.allclose(hue(hue(images, 0.3), -0.3), images, atol=1e-2)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(hue(grey, 0.2), grey)


def test_changes_come_as_often_as_asked_for_and_stay_in_their_bounds() -> None:
    images = torch.full((400, 3, 2, 2), 128.0)
    shifted = jitter(images, ColourSettings(shift=0.3), draws(400)) - images
    touched = shifted.abs().amax(dim=(1, 2, 3)) > 0
    assert touched.float().mean() == pytest.approx(0.3, abs=0.06)
    assert shifted.abs().max() <= 20
    spread = shifted[touched][:, :, 0, 0].std(dim=0)
    assert spread == pytest.approx([20 / 3**0.5] * 3, rel=0.15)  # of a uniform distribution
    assert torch.equal(jitter(images, ColourSettings(), draws(400)), images)


def test_an_image_depends_on_its_generator_alone() -> None:
    images = texture(8)
    together = jitter(images, RELEASED_COLOUR, draws(8))
    for row in range(8):
        alone = jitter(images[row : row + 1], RELEASED_COLOUR, Draws([np.random.default_rng([0, row])]))
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(together, images)
