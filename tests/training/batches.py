"""Small batches for the tests of losses."""

from __future__ import annotations

import torch

from restorer.training.batch import Batch

BOXES = [[0.15, 0.2, 0.45, 0.5], [0.55, 0.2, 0.85, 0.5], [0.3, 0.6, 0.7, 1.0]]
"""Left eye, right eye and mouth as shares of the side."""


def drawn_batch(count: int = 2, size: int = 32) -> Batch:
    """Smooth random faces with boxes in the places of eyes and mouth."""
    coarse = torch.randn(count, 3, 4, 4).clamp(-1, 1)
    truth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    boxes = torch.tensor(BOXES) * size - 0.5
    return Batch(
        degraded=(truth + 0.2 * torch.randn_like(truth)).clamp(-1, 1),
        truth=truth,
        weight=torch.ones(count, 1, size, size),
        boxes=boxes.expand(count, -1, -1),
    )
