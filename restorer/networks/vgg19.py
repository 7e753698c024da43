"""VGG-19 up to its last convolution, for the perceptual loss; parameter names are torchvision's.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
table 1, column E.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of the convolutions between two poolings."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's statistics of RGB in [0, 1], with which the published weights were trained."""
LAYERS = {
    f"conv{block}_{number}": 2 * (sum(count for _, count in BLOCKS[: block - 1]) + number - 1) + block - 1
    for block, (_, count) in enumerate(BLOCKS, start=1)
    for number in range(1, count + 1)
}
"""Name of each convolution to its number in torchvision's ``features``, which counts ReLUs and poolings, too."""


class VGG19(nn.Module):
    """Gives the features of named convolutions before their activation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict()
        channels = 3
        for name, place in LAYERS.items():
            width = BLOCKS[int(name[4]) - 1][0]
            self.features[str(place)] = nn.Conv2d(channels, width, 3, padding=1)
            channels = width
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        """Look at images.

        Args:
            image: N×3×H×W RGB in [−1, 1], at least 16 pixels a side.
            wanted: Names such as ``conv3_4``; nothing beyond the last of them is computed.

        Returns:
            Features by name, in the network's order.
        """
        features, found = ((image + 1) / 2 - self.mean) / self.deviation, dict[str, Tensor]()
        for name, place in LAYERS.items():
            if name.endswith("_1") and name != "conv1_1":
                features = F.max_pool2d(features, 2)
            features = self.features[str(place)](features)
            if name in wanted:
                found[name] = features
                if len(found) == len(wanted):
                    break
            features = F.relu(features)
        return found
