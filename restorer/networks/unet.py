"""A plain U-Net: what a face network of the same size does without a prior, for comparison.

It has the residual blocks of GFP-GAN's own encoder (Wang et al., CVPR 2021, section 3.2), concatenated skips and no
codes, no style, no transforms: an image goes in, the difference to the restored one comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.contract import NetworkContract
from restorer.networks.layers import LEAK, ResidualBlock

CONTRACT = NetworkContract(
    architecture="plain-unet",
    kind="face",
    mean=(127.5,) * 3,
    scale=1 / 127.5,
    input_size=512,
    precisions=("bf16", "fp32"),
)
"""RGB in [−1, 1], in and out."""


@dataclass(frozen=True)
class UNetSizes:
    """Sizes of a plain U-Net."""

    out_size: int
    """Side of the image in pixels."""
    channels: tuple[int, ...]
    """Channels of the feature maps from the coarsest to the widest, each side twice the one before."""
    patch: int = 1
    """Side of the square of pixels folded into the channels before the first and after the last layer."""

    @property
    def smallest(self) -> int:
        """Side of the coarsest feature map."""
        return int(self.out_size // self.patch // 2 ** (len(self.channels) - 1))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], *, out_size: int = 512) -> UNetSizes:
        """Deduce the sizes from a checkpoint's shapes; a convolution leaves no trace of ``out_size``.

        Raises:
            KeyError: if a tensor that every plain U-Net has is missing.
        """
        first = state["first.weight"]
        channels = [first.shape[0]]
        for scale in range(len({key.split(".")[1] for key in state if key.startswith("down.")})):
            channels.append(state[f"down.{scale}.conv2.weight"].shape[0])
        return cls(out_size, tuple(reversed(channels)), math.isqrt(first.shape[1] // 3))


class PlainUNet(nn.Module):
    """Degraded face in, restored face out; RGB N×3×S×S float in [−1, 1], not clipped; deterministic; fp32 or bf16."""

    contract = CONTRACT

    def __init__(self, sizes: UNetSizes) -> None:
        super().__init__()
        self.sizes = sizes
        if sizes.smallest < 1 or sizes.smallest * sizes.patch * 2 ** (len(sizes.channels) - 1) != sizes.out_size:
            raise ValueError(f"{sizes} do not fit together: the image must be halved once for each channel but one")
        widths, image = sizes.channels, 3 * sizes.patch**2
        steps = range(len(widths) - 1)
        self.first = nn.Conv2d(image, widths[-1], 3, padding=1)
        self.down = nn.ModuleList(ResidualBlock(widths[i + 1], widths[i], factor=0.5) for i in reversed(steps))
        self.middle = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.up = nn.ModuleList(ResidualBlock(2 * widths[i], widths[i + 1], factor=2) for i in steps)
        self.last = nn.Conv2d(2 * widths[-1], image, 3, padding=1)

    def initialise(self) -> PlainUNet:
        """Draw new weights so that features keep their size and the untrained network returns its input."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=LEAK)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        for block in (*self.down, *self.up):
            for branch in (block.get_submodule("conv2"), block.get_submodule("skip")):  # a sum of two branches
                branch.get_parameter("weight").data.mul_(math.sqrt(0.5))
        nn.init.normal_(self.last.weight, std=1e-3)
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Restore N×3×S×S RGB in [−1, 1]; the result has the same shape and is not clipped."""
        folded = F.pixel_unshuffle(image, self.sizes.patch) if self.sizes.patch > 1 else image
        features = F.leaky_relu(self.first(folded), LEAK)
        skips = [features]
        for block in self.down:
            features = block(features)
            skips.append(features)
        features = F.leaky_relu(self.middle(features), LEAK)
        for block in self.up:
            features = block(torch.cat([features, skips.pop()], dim=1))
        change: Tensor = self.last(torch.cat([features, skips.pop()], dim=1))
        return image + (F.pixel_shuffle(change, self.sizes.patch) if self.sizes.patch > 1 else change)

    def forward_with_pyramid(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Restore; the list is empty, because a plain U-Net draws no smaller images."""
        return self(image), []
