"""Discriminators for training."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, cat, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches rather than the whole picture, which overfits less on few people.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, section 3.2.2;
    spectral normalisation as in Miyato et al., ICLR 2018. It sees the degraded input beside the picture, so that a
    sharp but different face does not pass.
    """

    def __init__(self, width: int = 32, depth: int = 4, in_channels: int = 6, patch: int = 2) -> None:
        super().__init__()
        self.patch = patch
        widths = [min(width * 2**level, 8 * width) for level in range(depth)]
        self.first = spectral_norm(nn.Conv2d(in_channels * patch**2, widths[0], 3, padding=1))
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(low, high, 4, stride=2, padding=1)) for low, high in pairwise(widths)
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor, degraded: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge N×3×H×W RGB in [−1, 1].

        Returns:
            Scores N×1×h×w, above zero for real, and the features of every layer (for feature matching).
        """
        features = F.leaky_relu(self.first(F.pixel_unshuffle(cat([image, degraded], dim=1), self.patch)), 0.2)
        layers = [features]
        for layer in self.down:
            features = F.leaky_relu(layer(features), 0.2)
            layers.append(features)
        return self.last(features), layers
