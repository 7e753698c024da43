"""Sizes of a GFP-GAN and the widths of StyleGAN2's family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

SMALLEST = 4
"""Side of the coarsest feature map."""


def stylegan2_channels(size: int, channel_multiplier: float) -> tuple[float, ...]:
    """Return StyleGAN2's table of widths at 4, 8, 16, … ``size`` pixels.

    512 channels up to 32×32, from 64×64 on times the multiplier and halved with each doubling of the side.
    """
    sides = [2**power for power in range(2, int(math.log2(size)) + 1)]
    return tuple(512.0 if side <= 32 else 512 * 32 / side * channel_multiplier for side in sides)


@dataclass(frozen=True)
class GFPGANSizes:
    """Sizes of a GFP-GAN: everything that cannot be changed after training."""

    out_size: int
    """Side of the image in pixels."""
    style_dim: int
    """Length of one W+ code."""
    prior_channels: tuple[int, ...]
    """Channels of the prior's feature maps at 4, 8, 16, … out_size / patch."""
    unet_channels: tuple[int, ...]
    """Channels of the U-Net's feature maps at the same sides."""
    mlp_layers: int = 8
    """Layers of the prior's mapping network; kept for the checkpoint's sake, unused on the way of a photograph."""
    sft_half: bool = True
    """Modulate the second half of the prior's channels (CS-SFT, section 3.4) rather than all of them."""
    code_per_layer: bool = True
    """One W+ code for each style layer rather than one for all."""
    patch: int = 1
    """Side of the square of pixels folded into the channels before the first and after the last layer."""
    residual: bool = False
    """Add the input to the output."""
    sft: bool = True
    """Steer the prior by spatial features; without (the paper's ablation, section 4.4), by the codes alone."""

    @classmethod
    def official(
        cls,
        out_size: int = 512,
        style_dim: int = 512,
        channel_multiplier: float = 2,
        narrow: float = 1,
        *,
        mlp_layers: int = 8,
        sft_half: bool = True,
    ) -> GFPGANSizes:
        """Return the official family's sizes; the defaults are those of the released clean checkpoints."""
        full = stylegan2_channels(out_size, channel_multiplier)
        return cls(
            out_size=out_size,
            style_dim=style_dim,
            prior_channels=tuple(int(width * narrow) for width in full),
            unet_channels=tuple(int(width * narrow * 0.5) for width in full),
            mlp_layers=mlp_layers,
            sft_half=sft_half,
        )

    @property
    def scales(self) -> int:
        """Number of doublings from 4×4 to the widest feature map."""
        return len(self.prior_channels) - 1

    @property
    def inner_size(self) -> int:
        """Side of the widest feature map in pixels."""
        return int(SMALLEST * 2**self.scales)

    @property
    def image_channels(self) -> int:
        """Channels of an image folded by ``patch``."""
        return 3 * self.patch**2

    @property
    def codes(self) -> int:
        """Number of W+ codes: 2·log2(side) − 2."""
        return 2 * self.scales + 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GFPGANSizes:
        """Rebuild from :meth:`to_dict`'s values (lists become tuples)."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], *, residual: bool = False) -> GFPGANSizes:
        """Deduce the sizes from a checkpoint's shapes; ``residual`` leaves no trace there and must be told.

        Raises:
            KeyError: if a tensor that every GFP-GAN has is missing.
        """
        scales = len({key.split(".")[1] for key in state if key.startswith("conv_body_down.")})
        prior = [state["stylegan_decoder.constant_input.weight"].shape[1]]
        unet = [state["final_conv.weight"].shape[0]]
        for scale in range(scales):
            layer = f"stylegan_decoder.style_convs.{2 * scale}.modulated_conv.weight"
            prior.append(state[layer].shape[1])
            unet.append(state[f"conv_body_up.{scale}.conv2.weight"].shape[0])
        style_dim = state["stylegan_decoder.style_conv1.modulated_conv.modulation.weight"].shape[1]
        patch = math.isqrt(state["conv_body_first.weight"].shape[1] // 3)
        sft = "condition_scale.0.2.weight" in state
        return cls(
            out_size=SMALLEST * 2**scales * patch,
            style_dim=style_dim,
            prior_channels=tuple(prior),
            unet_channels=tuple(unet),
            mlp_layers=sum(
                1 for key in state if key.startswith("stylegan_decoder.style_mlp.") and key.endswith("weight")
            ),
            sft_half=not sft or state["condition_scale.0.2.weight"].shape[0] != prior[1],
            code_per_layer=state["final_linear.weight"].shape[0] != style_dim,
            patch=patch,
            residual=residual,
            sft=sft,
        )
