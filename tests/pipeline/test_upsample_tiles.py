"""Tiles against the whole picture, with random networks of Real-ESRGAN's official shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from restorer.pipeline.upsample import CONTEXT, upsample_background
from restorer.runtime import open_engine
from tests.networks_at_hand import compact, rrdb, save_pth, weights_of, with_contrast

pytestmark = pytest.mark.usefixtures("torch_rng")


@pytest.mark.parametrize(
    "make",
    [
        lambda: compact(4, features=64, convolutions=32),
        pytest.param(lambda: rrdb(4, shuffle_factor=2, filters=64, blocks=23), marks=pytest.mark.slow),
        pytest.param(lambda: rrdb(4, filters=64, blocks=23), marks=pytest.mark.slow),
    ],
    ids=["general-x4v3", "x2plus", "x4plus"],
)
def test_tiles_equal_the_whole_within_the_stated_tolerance(tmp_path: Path, make: object) -> None:
    """What lies beyond a tile's context changes no pixel by as much as a hundredth of a level, so rounding decides."""
    from skimage import data

    photo = np.ascontiguousarray(data.astronaut()[90:178, 150:222])
    module: nn.Module = with_contrast(make(), torch.from_numpy(photo).permute(2, 0, 1)[None] / 255)  # type: ignore[operator]
    engine = open_engine(
        weights_of(save_pth(tmp_path / "network.pth", module)), device="cpu", precision="fp32", backend="torch"
    )
    size = (photo.shape[1] * engine.contract.upscale, photo.shape[0] * engine.contract.upscale)
    whole = upsample_background(photo, *size, engine, tile=0).pixels
    tile = 5 * CONTEXT  # the smallest that has all of it
    tiled = upsample_background(photo, *size, engine, tile=tile)
    assert tiled.tile == tile and whole.std() > 8
    difference = np.abs(tiled.pixels.astype(int) - whole)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.002
