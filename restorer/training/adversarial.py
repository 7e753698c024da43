"""The adversarial loss on the whole face: logistic, with lazy R1, and GPEN's matching of features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from restorer.networks.discriminators import PatchDiscriminator
from restorer.networks.stylegan2_discriminator import StyleGAN2Discriminator
from restorer.training import losses
from restorer.training.batch import Batch
from restorer.training.equalised import equalised_groups
from restorer.training.objective import Objective, looking_only


def r1_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Return E‖∇D‖², the mean over images of the squared gradient of their scores.

    Source: Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018, section 4.1; StyleGAN2
    takes γ/2 of it with γ = 10.

    Args:
        scores: The discriminator's, any shape with N first.
        images: N×C×H×W, what they were computed from, with gradients.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


class AdversarialLoss(Objective):
    """One discriminator for whole faces.

    Terms of the generator: ``adversarial`` and, where asked for, ``feature_matching`` (GPEN, section 3.3). Terms of the
    discriminator: ``discriminator`` and, every ``r1_every`` steps, ``r1`` already multiplied by γ/2 and by that number
    (lazy regularisation: StyleGAN2, section 3.1).
    """

    def __init__(
        self,
        discriminator: nn.Module,
        *,
        r1: float = 10.0,
        r1_every: int = 16,
        feature_matching: bool = False,
        bf16: bool = False,
    ) -> None:
        """Take a discriminator.

        Args:
            discriminator: Gives scores and features of an image; a :class:`PatchDiscriminator` sees the degraded face
                beside it.
            r1: γ; 0: no R1.
            r1_every: Steps from one R1 to the next.
            feature_matching: Compute the term of that name.
            bf16: Autocast to bfloat16, but for R1, whose squares need more digits.
        """
        super().__init__()
        self.discriminators["face"] = discriminator
        self.r1, self.r1_every = r1, r1_every
        self.feature_matching, self.bf16 = feature_matching, bf16

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the parameters with their rates, equalised for StyleGAN2's discriminator; see :class:`Objective`."""
        network = self.discriminators["face"]
        return equalised_groups(network, rate) if isinstance(network, StyleGAN2Discriminator) else super().groups(rate)

    def generator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return ``adversarial`` and maybe ``feature_matching``; see :class:`Objective`."""
        with looking_only(self.discriminators):
            scores, features = self._judge(output, batch)
            terms = {"adversarial": losses.generator_logistic(scores.float())}
            if self.feature_matching:
                with torch.no_grad():
                    _, wanted = self._judge(truth, batch)
                terms["feature_matching"] = losses.feature_matching(features, wanted).float()
        return terms

    def discriminator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return ``discriminator`` and maybe ``r1``; see :class:`Objective`."""
        # one context for both, which casts each bias once: gradients then add up as they did in version 0.1
        with torch.autocast(truth.device.type, torch.bfloat16, enabled=self.bf16):
            real, _ = self._judge(truth, batch)
            fake, _ = self._judge(output, batch)
        terms = {"discriminator": losses.discriminator_logistic(real.float(), fake.float())}
        if self.r1 and batch.step % self.r1_every == 0:
            seen = truth.detach().requires_grad_(True)
            scores, _ = self._judge(seen, batch, exact=True)
            terms["r1"] = self.r1 / 2 * self.r1_every * r1_penalty(scores, seen)
        return terms

    def _judge(self, image: Tensor, batch: Batch, *, exact: bool = False) -> tuple[Tensor, list[Tensor]]:
        network = self.discriminators["face"]
        pair = (image, batch.degraded) if isinstance(network, PatchDiscriminator) else (image,)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16 and not exact):
            scores, features = network(*pair)
        return scores, features
