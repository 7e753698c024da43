"""Losses of face restoration, each a function of tensors in [−1, 1], N×3×H×W unless said."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)


def weighted_l1(output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of weight·|output − truth|; ``weight`` is N×1×H×W with mean 1."""
    return (weight * (output - truth).abs()).mean()


def pyramid_l1(pyramid: Sequence[Tensor], truth: Tensor) -> Tensor:
    """Return the mean over scales of the L1 to the truth reduced to each scale (GFP-GAN, section 3.2)."""
    losses = [F.l1_loss(image, F.interpolate(truth, size=image.shape[-2:], mode="area")) for image in pyramid]
    return sum(losses[1:], losses[0]) / len(losses)


def gradient_l1(output: Tensor, truth: Tensor, weight: Tensor, scales: int = 3) -> Tensor:
    """Return the weighted L1 between neighbour differences, summed over halved scales.

    A blurred edge costs little in L1 but much here; without perceptual weights this is what asks for edges.
    """
    total = output.new_zeros(())
    difference = output - truth
    for scale in range(scales):
        if scale:
            difference, weight = F.avg_pool2d(difference, 2), F.avg_pool2d(weight, 2)
        horizontal = weight[..., 1:] * difference.diff(dim=-1).abs()
        vertical = weight[..., 1:, :] * difference.diff(dim=-2).abs()
        total = total + (horizontal.mean() + vertical.mean()) / 2
    return total


def discriminator_logistic(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's logistic loss (StyleGAN2; GFP-GAN, equation 3)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_logistic(fake: Tensor) -> Tensor:
    """Return the generator's non-saturating logistic loss."""
    return F.softplus(-fake).mean()


def feature_matching(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Return the mean L1 between a discriminator's features of output and truth (GPEN, section 3.3)."""
    losses = [F.l1_loss(a, b.detach()) for a, b in zip(fake, real, strict=True)]
    return sum(losses[1:], losses[0]) / len(losses)
