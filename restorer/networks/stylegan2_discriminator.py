"""StyleGAN2's discriminator: residual blocks down to 4×4 and a look at how much the images of a batch differ.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 4.1 and figure 7
(residual discriminator); "Progressive Growing of GANs", ICLR 2018, section 3 (deviation over the minibatch). It is the
adversary of the prior and, as in GFP-GAN (section 3.3), of the whole restored face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.networks.layers import leaky
from restorer.networks.sizes import SMALLEST, stylegan2_channels


@dataclass(frozen=True)
class DiscriminatorSizes:
    """Sizes of a StyleGAN2 discriminator."""

    image_size: int
    """Side of the image in pixels."""
    channels: tuple[int, ...]
    """Channels of the feature maps at 4, 8, 16, … image_size / patch."""
    patch: int = 1
    """Side of the square of pixels folded into the channels before the first layer."""
    group: int = 4
    """Images in a row whose deviation is measured together; a batch should be a multiple of it."""

    @classmethod
    def official(
        cls, image_size: int = 512, channel_multiplier: float = 1, narrow: float = 1, *, patch: int = 1
    ) -> DiscriminatorSizes:
        """Return StyleGAN2's widths, those of GFP-GAN's released training options by default."""
        channels = stylegan2_channels(image_size // patch, channel_multiplier)
        return cls(image_size, tuple(max(1, int(width * narrow)) for width in channels), patch)


def minibatch_deviation(features: Tensor, group: int) -> Tensor:
    """Return, as N×1×H×W, the deviation over each group of images, averaged over channels and places.

    Groups are images in a row, so that a batch cut into runs of whole groups measures the same on several devices.
    Where ``group`` does not divide the batch, the largest number below it that does is taken.
    """
    count, _, height, width = features.shape
    group = max(size for size in range(1, min(group, count) + 1) if count % size == 0)
    # at least float32: squares of bf16 differences lose too many digits
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    grouped = wide.reshape(count // group, group, *features.shape[1:])
    # a small number under the root: a batch of equal images has no derivative there otherwise
    deviation: Tensor = (grouped.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat_interleave(group)[:, None, None, None].expand(-1, 1, height, width).to(features.dtype)


class Halve(nn.Module):
    """Halve the sides after StyleGAN2's blur, [1, 3, 3, 1]/8 in both directions, so that fine detail does not alias."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", line[:, None] * line, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×H/2×W/2."""
        channels = features.shape[1]
        kernel = self.kernel.to(features.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(features, kernel, stride=2, padding=1, groups=channels)


def _scaled(features: Tensor) -> Tensor:
    """Apply leaky ReLU with a gain that keeps the features' size."""
    return leaky(features) * math.sqrt(2)


class DiscriminatorBlock(nn.Module):
    """3×3, 3×3 at half the side, plus the halved input through a 1×1, divided by √2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.halve = Halve()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map N×in×H×W to N×out×H/2×W/2."""
        inner = _scaled(self.conv2(self.halve(_scaled(self.conv1(features)))))
        out: Tensor = (inner + self.skip(self.halve(features))) / math.sqrt(2)
        return out


class StyleGAN2Discriminator(nn.Module):
    """Judges whole images, RGB N×3×S×S float in [−1, 1]."""

    def __init__(self, sizes: DiscriminatorSizes) -> None:
        super().__init__()
        self.sizes = sizes
        widths, scales = sizes.channels, len(sizes.channels) - 1
        if scales < 0 or SMALLEST * 2**scales * sizes.patch != sizes.image_size:
            raise ValueError(f"{sizes} do not fit together: the channels need one entry for each side from 4 up")
        self.first = nn.Conv2d(3 * sizes.patch**2, widths[-1], 1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(widths[i], widths[i - 1]) for i in range(scales, 0, -1))
        self.last_conv = nn.Conv2d(widths[0] + 1, widths[0], 3, padding=1)
        self.last_linear = nn.Linear(widths[0] * SMALLEST**2, widths[0])
        self.score = nn.Linear(widths[0], 1)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):  # variance one; the activations' gain is in the forward pass
                nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge N×3×S×S images.

        Returns:
            Scores N×1, above zero for real, and the features at each side from the widest to 4×4 (feature matching).
        """
        if self.sizes.patch > 1:
            image = F.pixel_unshuffle(image, self.sizes.patch)
        features = _scaled(self.first(image))
        layers = [features]
        for block in self.blocks:
            features = block(features)
            layers.append(features)
        features = torch.cat([features, minibatch_deviation(features, self.sizes.group)], dim=1)
        features = _scaled(self.last_conv(features))
        features = _scaled(self.last_linear(features.flatten(1)))
        return self.score(features), layers
