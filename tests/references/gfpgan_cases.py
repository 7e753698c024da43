"""The GFP-GAN networks whose upstream outputs are stored: small, and each different in every size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restorer.networks.gfpgan import GFPGANSizes

FOLDER = Path(__file__).parent
KEYS = FOLDER / "gfpgan_clean_512_keys.json"
"""Name and shape of every tensor of the full-size network, as upstream declares them."""


@dataclass(frozen=True)
class GFPGANCase:
    """One upstream network and the photograph(s) it was given."""

    name: str
    seed: int
    """Seed of the weights and of the input."""
    batch: int
    out_size: int
    style_dim: int
    channel_multiplier: int
    narrow: float
    mlp_layers: int
    sft_half: bool
    code_per_layer: bool

    @property
    def path(self) -> Path:
        """The stored reference."""
        return FOLDER / f"gfpgan_{self.name}.npz"

    @property
    def sizes(self) -> GFPGANSizes:
        """The same network in this project's terms."""
        sizes = GFPGANSizes.official(
            self.out_size,
            self.style_dim,
            self.channel_multiplier,
            self.narrow,
            mlp_layers=self.mlp_layers,
            sft_half=self.sft_half,
        )
        return replace(sizes, code_per_layer=self.code_per_layer)

    @property
    def upstream(self) -> dict[str, object]:
        """Arguments of upstream's constructor."""
        return {
            "out_size": self.out_size,
            "num_style_feat": self.style_dim,
            "channel_multiplier": self.channel_multiplier,
            "narrow": self.narrow,
            "num_mlp": self.mlp_layers,
            "sft_half": self.sft_half,
            "different_w": self.code_per_layer,
            "input_is_latent": True,  # the U-Net's codes are W+ codes
            "fix_decoder": False,
        }


CASES = (
    GFPGANCase("32", 1, 2, 32, 32, 2, 1 / 16, mlp_layers=2, sft_half=True, code_per_layer=True),
    GFPGANCase("64_full_sft", 2, 2, 64, 24, 1, 1 / 32, mlp_layers=1, sft_half=False, code_per_layer=True),
    GFPGANCase("128_one_code", 3, 1, 128, 40, 2, 3 / 64, mlp_layers=3, sft_half=True, code_per_layer=False),
)
FULL_SIZE = GFPGANCase("512", 4, 1, 512, 512, 2, 1, mlp_layers=8, sft_half=True, code_per_layer=True)
"""The released clean checkpoints' sizes."""


def to_network(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn N×3×H×W pixels into the network's input in [−1, 1]."""
    values: NDArray[np.float32] = (pixels.astype(np.float32) - 127.5) / np.float32(127.5)
    return values
