"""What a step of training gets: degraded faces, their truth, and where eyes and mouth are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Faces of one step, or of one process's part of it. Images are RGB N×3×H×W in [−1, 1]."""

    degraded: Tensor
    """What the network gets."""
    truth: Tensor
    """What it should give."""
    weight: Tensor
    """N×1×H×W, how much each pixel counts; 1 on average."""
    boxes: Tensor
    """N×3×4: left eye, right eye and mouth as x0, y0, x1, y1 in pixels whose centres are at integers."""
    step: int = 0
    """Optimiser steps before this one, for what a loss does only every few steps, as lazy regularisation."""

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.degraded)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("degraded", "truth", "weight", "boxes")}
        return Batch(**tensors, step=self.step)
