"""The small detector's network against facexlib's, the program its checkpoints were published with."""

from __future__ import annotations

import pytest
import torch

from restorer.networks.retinaface import RetinaFaceMobileNet
from tests.networks_at_hand import retinaface

pytestmark = pytest.mark.usefixtures("torch_rng")


@pytest.mark.parametrize("phase", ["test", "train"])
@pytest.mark.parametrize("size", [(64, 64), (33, 70), (17, 129)])
def test_the_same_numbers(size: tuple[int, int], phase: str) -> None:
    theirs = retinaface()
    theirs.phase = phase
    ours = RetinaFaceMobileNet(phase=phase).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.rand(2, 3, *size) * 255 - 110
    with torch.inference_mode():
        for mine, upstreams in zip(ours(images), theirs(images), strict=True):
            assert torch.equal(mine, upstreams)


def test_the_features_on_the_way_have_upstreams_names() -> None:
    """What a teacher is asked for in training: ``body``'s stages in order, ``fpn``'s levels, the contexts."""
    theirs = retinaface()
    ours = RetinaFaceMobileNet().eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        for network in (ours, theirs):
            network.levels = network.fpn(list(network.body(image).values()))
            network.contexts = [getattr(network, f"ssh{level + 1}")(network.levels[level]) for level in range(3)]
        for mine, upstreams in zip([*ours.levels, *ours.contexts], [*theirs.levels, *theirs.contexts], strict=True):
            assert torch.equal(mine, upstreams)
