"""What the face networks share: leaky ReLU and the residual block."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.networks.doubling import doubled_convolution, resize

__all__ = ["LEAK", "ResidualBlock", "leaky", "resize"]

LEAK = 0.2
"""Slope of every leaky ReLU for negative values."""


def leaky(features: Tensor) -> Tensor:
    """Apply the leaky ReLU that all networks here use."""
    return F.leaky_relu(features, LEAK)


class ResidualBlock(nn.Module):
    """3×3, resize by two, 3×3, plus the resized input through a 1×1."""

    def __init__(self, in_channels: int, out_channels: int, *, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return N×out×(factor·H)×(factor·W)."""
        inner = leaky(self.conv1(features))
        out: Tensor
        if self.factor == 2:
            # a 1×1 and resizing may change places: fewer pixels for the 1×1
            out = leaky(doubled_convolution(inner, self.conv2.weight, self.conv2.bias)) + resize(self.skip(features), 2)
        else:
            out = leaky(self.conv2(resize(inner, self.factor))) + self.skip(resize(features, self.factor))
        return out
