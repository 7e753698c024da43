"""Learned perceptual image patch similarity."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from restorer.errors import WeightsError
from restorer.evaluation.metric import Judge, Metric, Pixels, Tools, by_size, library, planes

TRUNK = "vgg16"
"""Name of the trunk's weights in the table; the linear weights on top come with the library."""

METRIC = Metric(
    "lpips",
    "LPIPS",
    higher_is_better=False,
    decimals=4,
    least_side=32,
    recipe="VGG-16 trunk, version 0.1, RGB in [-1, 1], at the pictures' own size, float32",
    source="Zhang et al., CVPR 2018; computed by lpips, trunk from torchvision; VGG as in the GFP-GAN authors' scripts",
)


def open_lpips(tools: Tools) -> Judge:
    """Return the judge.

    Raises:
        Unavailable: lpips is not installed, or the trunk's weights are not to be had.
        WeightsError: The trunk's file is no VGG-16.
    """
    library("lpips", "lpips")
    network = _network(tools)
    device = tools.torch_device()
    network.to(device)

    def lpips(restored: Sequence[Pixels], truth: Sequence[Pixels]) -> list[float | None]:
        import torch

        values: list[float | None] = [None] * len(restored)
        with torch.inference_mode():
            for places in by_size(restored):
                first, second = (
                    planes([pictures[place] for place in places], torch.float32).to(device) / 127.5 - 1
                    for pictures in (restored, truth)
                )
                for place, value in zip(places, network(first, second).flatten().tolist(), strict=True):
                    values[place] = float(value)
        return values

    return lpips


def _network(tools: Tools) -> Any:  # noqa: ANN401 - an untyped library's
    """Build the network with an empty trunk, so that the library downloads nothing, and fill it."""
    from restorer.checkpoints.reading import first_line, read

    weights = tools.weights(TRUNK)
    library_module = library("lpips", "lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's word on how the library asks for an empty trunk
        network = library_module.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    trunk = {key: value for key, value in read(weights.path).state.items() if key.startswith("features.")}
    # The library cuts torchvision's layers into slices and keeps their numbers.
    names = {key.split(".", 1)[1]: key for key in network.net.state_dict()}
    try:
        network.net.load_state_dict({names[key.removeprefix("features.")]: value for key, value in trunk.items()})
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{weights.path} is no VGG-16 ({first_line(error)}): get it anew.") from error
    return network.eval()
