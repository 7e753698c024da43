"""The perceptual loss: the difference of what VGG-19 sees in two faces, and of the style of what it sees.

Source: Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016; layers and
their weights are those of GFP-GAN's training options (Wang et al., CVPR 2021, section 3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from restorer.networks.vgg19 import VGG19
from restorer.training.batch import Batch
from restorer.training.component_loss import gram
from restorer.training.objective import Objective
from restorer.training.published import fill

if TYPE_CHECKING:
    from restorer.weights import WeightStore

LAYER_WEIGHTS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Weight of each convolution's features, before the activation."""
WEIGHTS = "vgg19"
"""Name of the published weights in the table."""


class PerceptualLoss(Objective):
    """Terms: ``perceptual``, the weighted sum of L1s between features, and ``style``, the same of Gram matrices."""

    def __init__(self, network: VGG19, *, style: bool = True, bf16: bool = False) -> None:
        """Take a network.

        Args:
            network: With its published weights.
            style: Compute the term of that name.
            bf16: Autocast to bfloat16.
        """
        super().__init__()
        self.frozen = (network,)
        self.style, self.bf16 = style, bf16

    @classmethod
    def open(cls, store: WeightStore | None = None, *, style: bool = True, bf16: bool = False) -> PerceptualLoss:
        """Return the loss with the published weights, downloaded if they are absent.

        Raises:
            WeightsError: They cannot be had.
        """
        network = fill(VGG19(), WEIGHTS, "perceptual", store, prefix="features.")
        assert isinstance(network, VGG19)
        return cls(network, style=style, bf16=bf16)

    def generator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return ``perceptual`` and maybe ``style``; see :class:`Objective`."""
        with torch.autocast(output.device.type, torch.bfloat16, enabled=self.bf16):
            found = self.frozen[0](output, LAYER_WEIGHTS)
            with torch.no_grad():
                wanted = self.frozen[0](truth, LAYER_WEIGHTS)
        terms = {"perceptual": output.new_zeros(())}
        if self.style:
            terms["style"] = output.new_zeros(())
        for name, weight in LAYER_WEIGHTS.items():
            a, b = found[name].float(), wanted[name].float()
            terms["perceptual"] = terms["perceptual"] + weight * (a - b).abs().mean()
            if self.style:
                terms["style"] = terms["style"] + weight * (gram(a) - gram(b)).abs().mean()
        return terms
