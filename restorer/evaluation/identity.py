"""Identity: the angle between ArcFace's features of the restored face and of the truth, the papers' "Deg."."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from restorer.evaluation.metric import Judge, Metric, Pixels, Tools, by_size

METRIC = Metric(
    "deg",
    "Deg.",
    higher_is_better=False,
    decimals=2,
    unit="°",
    least_side=64,
    recipe="ArcFace IR-SE-50 on RGB in [-1, 1], 112×112, cut from the aligned crop by the similarity between the two "
    "templates of five points, Lanczos; float32 network, angle in float64. The GFP-GAN authors' scripts use a "
    "ResNet-18 on grey 128×128, so compare methods with each other, not with the paper",
    source="Deng et al., CVPR 2019; network and weights of facexlib",
)


def open_identity(tools: Tools) -> Judge:
    """Return the judge.

    Raises:
        Unavailable: The weights are not to be had.
    """
    from restorer import runtime
    from restorer.pipeline.identity import WEIGHTS, Identity

    engine = runtime.open_engine(tools.weights(WEIGHTS), device=tools.device, precision=tools.precision)
    return judge_of(Identity(engine))


def judge_of(network: object) -> Judge:
    """Make a judge of an :class:`restorer.pipeline.identity.Identity`."""
    from restorer.pipeline.identity import Identity

    assert isinstance(network, Identity)

    def deg(restored: Sequence[Pixels], truth: Sequence[Pixels]) -> list[float | None]:
        values: list[float | None] = [None] * len(restored)
        for places in by_size(restored):
            if restored[places[0]].shape[0] != restored[places[0]].shape[1]:
                continue  # no aligned crop
            first, second = (
                np.stack([pictures[place] for place in places]).astype(np.float32) for pictures in (restored, truth)
            )
            for place, value in zip(places, network.angles(first, second), strict=True):
                values[place] = value
        return values

    return deg
