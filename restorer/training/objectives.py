"""Which losses with networks of their own a recipe asks for."""

from __future__ import annotations

import torch
from torch import nn

from restorer.networks.discriminators import PatchDiscriminator
from restorer.networks.stylegan2_discriminator import DiscriminatorSizes, StyleGAN2Discriminator
from restorer.training.adversarial import AdversarialLoss
from restorer.training.component_loss import ComponentLoss
from restorer.training.identity_loss import IdentityLoss
from restorer.training.objective import Objective
from restorer.training.perceptual import PerceptualLoss
from restorer.training.settings import RestorationSettings


def build_objectives(settings: RestorationSettings, device: torch.device, *, bf16: bool) -> dict[str, Objective]:
    """Return the objectives of a recipe, their weights drawn from torch's generator.

    Args:
        settings: The recipe.
        device: Where their networks shall live.
        bf16: Let them autocast to bfloat16.

    Returns:
        By the name under which their networks are saved. That on the whole face is always there, so that a run that
        takes it up later does not depend on when it was built.

    Raises:
        WeightsError: A loss needs published weights that cannot be had; the message names both.
    """
    factor = settings.losses
    found: dict[str, Objective] = {
        "adversarial": AdversarialLoss(
            _face_discriminator(settings),
            r1=settings.r1,
            r1_every=settings.r1_every,
            feature_matching=factor.feature_matching > 0,
            bf16=bf16,
        )
    }
    if factor.component or factor.component_style:
        found["component"] = ComponentLoss(settings.out_size, bf16=bf16)
    if factor.perceptual or factor.style:
        found["perceptual"] = PerceptualLoss.open(style=factor.style > 0, bf16=bf16)
    if factor.identity:
        found["identity"] = IdentityLoss.open(bf16=bf16)
    return {name: objective.to(device) for name, objective in found.items()}


def _face_discriminator(settings: RestorationSettings) -> nn.Module:
    if settings.discriminator == "stylegan2":
        return StyleGAN2Discriminator(
            DiscriminatorSizes.official(settings.out_size, narrow=settings.discriminator_width)
        )
    return PatchDiscriminator()
