"""Facial components: left eye, right eye and mouth, each with a small discriminator of its own and a loss of style.

Source: Wang et al., CVPR 2021, section 3.4 and equation 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from restorer.networks.component_discriminator import ComponentDiscriminator
from restorer.training import losses
from restorer.training.batch import Batch
from restorer.training.objective import Objective, looking_only
from restorer.training.roi_align import roi_align

EYE_CELLS, MOUTH_CELLS = 80, 120
"""Sides of the cut-out eyes and mouth for a face of 512 pixels, as in the released training options."""


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrices N×C×C of N×C×H×W features: mean products of two channels, divided by the channels.

    They tell which features occur together but not where: a texture's style. Always float32, for the sums are long.
    """
    flat = features.float().flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def style_l1(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Return the L1 between Gram matrices, averaged over layers; gradients reach ``fake`` alone."""
    terms = [(gram(a) - gram(b.detach())).abs().mean() for a, b in zip(fake, real, strict=True)]
    return torch.stack(terms).mean()


class ComponentLoss(Objective):
    """Three discriminators that see nothing but an eye or the mouth.

    Terms of the generator, each a sum over the components: ``component`` (vanilla GAN loss, non-saturating) and
    ``component_style``. Term of the discriminators: ``component_discriminator``.
    """

    def __init__(self, out_size: int, *, width: int = 64, bf16: bool = False) -> None:
        """Draw the discriminators.

        Args:
            out_size: Side of the faces in pixels; the components are cut out at a size to match.
            width: Channels of the discriminators' first layer.
            bf16: Autocast to bfloat16.
        """
        super().__init__()
        self.bf16 = bf16
        eye, mouth = (max(8, round(cells * out_size / 512 / 4) * 4) for cells in (EYE_CELLS, MOUTH_CELLS))
        self.cells = {"left_eye": eye, "right_eye": eye, "mouth": mouth}
        """Side of each cut-out component; the order is that of the boxes."""
        for name in self.cells:
            self.discriminators[name] = ComponentDiscriminator(width)

    def generator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return ``component`` and ``component_style``; see :class:`Objective`."""
        adversarial, style = [], []
        with looking_only(self.discriminators):
            for name in self.cells:
                scores, features = self._judge(name, output, batch)
                with torch.no_grad():
                    _, wanted = self._judge(name, truth, batch)
                adversarial.append(losses.generator_logistic(scores.float()))
                style.append(style_l1(features, wanted))
        return {"component": torch.stack(adversarial).sum(), "component_style": torch.stack(style).sum()}

    def discriminator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return ``component_discriminator``; see :class:`Objective`."""
        terms = []
        for name in self.cells:
            real, _ = self._judge(name, truth, batch)
            fake, _ = self._judge(name, output, batch)
            terms.append(losses.discriminator_logistic(real.float(), fake.float()))
        return {"component_discriminator": torch.stack(terms).sum()}

    def _judge(self, name: str, image: Tensor, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        place = list(self.cells).index(name)
        part = roi_align(image, batch.boxes[:, place : place + 1], self.cells[name])[:, 0]
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            scores, features = self.discriminators[name](part)
        return scores, features
