"""A small discriminator for one component of a face: an eye or a mouth.

Source: Wang et al., CVPR 2021, section 3.4; the paper gives no layout. This one judges overlapping patches,
as an eye's rim and its iris are each right or wrong by themselves, and gives its features at every resolution.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from restorer.networks.layers import LEAK, leaky


class ComponentDiscriminator(nn.Module):
    """Judges N×3×S×S RGB in [−1, 1], S divisible by 4."""

    def __init__(self, width: int = 64, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(low, high, 3, stride=2, padding=1) for low, high in pairwise(widths))
        self.same = nn.ModuleList(nn.Conv2d(high, high, 3, padding=1) for high in widths[1:])
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)
        for layer in (self.first, *self.down, *self.same):
            nn.init.kaiming_normal_(layer.weight, a=LEAK)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge.

        Returns:
            Scores N×1×S/4×S/4, above zero for real, and the features at each resolution, the widest first.
        """
        features = leaky(self.first(image))
        layers = [features]
        for down, same in zip(self.down, self.same, strict=True):
            features = leaky(same(leaky(down(features))))
            layers.append(features)
        return self.last(features), layers
