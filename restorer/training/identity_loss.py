"""The identity loss: how differently a network that recognises people describes the restored face and the true one.

Source: Wang et al., CVPR 2021, section 3.4 and equation 6; network and size are those of GFP-GAN's training options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.networks.arcface18 import SIDE, ArcFace18
from restorer.training.batch import Batch
from restorer.training.objective import Objective
from restorer.training.published import fill

if TYPE_CHECKING:
    from restorer.weights import WeightStore

WEIGHTS = "arcface-resnet18"
"""Name of the published weights in the table."""
LUMA = (0.2989, 0.5870, 0.1140)
"""Shares of red, green and blue in grey (ITU-R BT.601, as rounded upstream)."""


def grey_face(image: Tensor) -> Tensor:
    """Turn N×3×S×S RGB into N×1×128×128 grey, bilinearly with half-pixel centres as upstream does."""
    shares = image.new_tensor(LUMA).view(1, 3, 1, 1)
    grey = (image * shares).sum(dim=1, keepdim=True)
    return F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


class IdentityLoss(Objective):
    """Term: ``identity``, the L1 between ArcFace's descriptions."""

    def __init__(self, network: ArcFace18, *, bf16: bool = False) -> None:
        """Take a network with its published weights, in evaluation mode."""
        super().__init__()
        self.frozen = (network,)
        self.bf16 = bf16

    @classmethod
    def open(cls, store: WeightStore | None = None, *, bf16: bool = False) -> IdentityLoss:
        """Return the loss with the published weights, downloaded if they are absent.

        Raises:
            WeightsError: They cannot be had.
        """
        network = fill(ArcFace18(), WEIGHTS, "identity", store)
        assert isinstance(network, ArcFace18)
        return cls(network, bf16=bf16)

    def generator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return ``identity``; see :class:`Objective`."""
        with torch.autocast(output.device.type, torch.bfloat16, enabled=self.bf16):
            found = self.frozen[0](grey_face(output))
            with torch.no_grad():
                wanted = self.frozen[0](grey_face(truth))
        return {"identity": F.l1_loss(found.float(), wanted.float())}
