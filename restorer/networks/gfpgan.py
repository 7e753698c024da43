"""GFP-GAN: a degradation-removal U-Net that steers a StyleGAN2 prior through spatial feature transforms.

Source: Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior", CVPR 2021, sections 3.1
to 3.4. Parameter names and shapes are those of the official *clean* checkpoints (1.2, 1.3, 1.4).

Two additions of this project, both off in the official networks, make a network that a CPU can train and run:
``patch`` folds patch×patch pixels into channels, so that the widest layers work at 512/patch pixels, and ``residual``
adds the input to the output, so that an untrained network already returns the photograph it was given.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.contract import NetworkContract
from restorer.networks.layers import LEAK, ResidualBlock, leaky
from restorer.networks.sizes import SMALLEST, GFPGANSizes
from restorer.networks.stylegan2 import ModulatedConv2d, StyleGAN2Prior

__all__ = ["CONTRACT", "GFPGAN", "LEAK", "GFPGANSizes", "ModulatedConv2d", "ResidualBlock", "StyleGAN2Prior"]

CONTRACT = NetworkContract(
    architecture="gfpgan", kind="face", mean=(127.5,) * 3, scale=1 / 127.5, input_size=512, precisions=("bf16", "fp32")
)
"""RGB in [−1, 1], in and out. fp16 is missing on purpose: its range overflows in the prior's features."""


def _condition(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1),
        nn.LeakyReLU(LEAK),
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
    )


class GFPGAN(nn.Module):
    """The whole network: degraded face in, restored face out (section 3.1, figure 2).

    Contract: RGB N×3×out_size×out_size float in [−1, 1] in and (not clipped) out; deterministic; fp32 or bf16.
    """

    contract = CONTRACT

    def __init__(self, sizes: GFPGANSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or GFPGANSizes.official()
        if sizes.inner_size * sizes.patch != sizes.out_size or len(sizes.unet_channels) != len(sizes.prior_channels):
            raise ValueError(f"{sizes} do not fit together: the channel lists need one entry for each side from 4 up")
        unet, prior, rgb = sizes.unet_channels, sizes.prior_channels, sizes.image_channels
        self.conv_body_first = nn.Conv2d(rgb, unet[-1], 1)
        self.conv_body_down = nn.ModuleList(
            ResidualBlock(unet[scale], unet[scale - 1], factor=0.5) for scale in range(sizes.scales, 0, -1)
        )
        self.final_conv = nn.Conv2d(unet[0], unet[0], 3, padding=1)
        self.final_linear = nn.Linear(
            unet[0] * SMALLEST**2, (sizes.codes if sizes.code_per_layer else 1) * sizes.style_dim
        )
        self.conv_body_up = nn.ModuleList()
        self.toRGB = nn.ModuleList()
        self.condition_scale = nn.ModuleList()
        self.condition_shift = nn.ModuleList()
        for scale in range(sizes.scales):
            width = unet[scale + 1]
            changed = prior[scale + 1] // 2 if sizes.sft_half else prior[scale + 1]
            self.conv_body_up.append(ResidualBlock(unet[scale], width, factor=2))
            self.toRGB.append(nn.Conv2d(width, rgb, 1))
            if sizes.sft:
                self.condition_scale.append(_condition(width, changed))
                self.condition_shift.append(_condition(width, changed))
        self.stylegan_decoder = StyleGAN2Prior(sizes)

    def initialise(self) -> GFPGAN:
        """Draw new weights for a training run so that features keep their size from layer to layer; return the network.

        torch's own default shrinks them sixfold a layer. The transforms start as α ≈ 1 and β as large as the features;
        a residual network starts near the identity, the best place to start from when a run is short.
        """
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d) and not name.startswith("toRGB"):
                nn.init.kaiming_normal_(layer.weight, a=LEAK)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        for block in (*self.conv_body_down, *self.conv_body_up):  # each a sum of two branches of equal size,
            nn.init.kaiming_normal_(block.skip.weight, nonlinearity="linear")
            gain = math.sqrt(0.5) if block.factor < 1 else 0.5  # and upwards its input is a sum, too
            for branch in (block.conv2, block.skip):
                branch.weight.data.mul_(gain)
        for scale in self.condition_scale:
            last = scale.get_submodule("2")
            last.get_parameter("weight").data.mul_(0.1)
            nn.init.ones_(last.get_parameter("bias"))
        if self.sizes.residual:
            prior = self.stylegan_decoder
            for to_rgb in (prior.to_rgb1, *prior.to_rgbs):
                nn.init.normal_(to_rgb.modulated_conv.weight, std=1e-3)
        return self

    def encode(self, image: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]], list[Tensor]]:
        """Run the U-Net (section 3.2).

        Args:
            image: N×3×out_size×out_size in [−1, 1].

        Returns:
            Codes N×codes×style_dim, a (scale, shift) pair for each scale (none without spatial modulation), and the
            decoder's features at each scale.
        """
        if self.sizes.patch > 1:
            image = F.pixel_unshuffle(image, self.sizes.patch)
        features = leaky(self.conv_body_first(image))
        skips = []
        for block in self.conv_body_down:
            features = block(features)
            skips.append(features)
        features = leaky(self.final_conv(features))
        codes = self.final_linear(features.flatten(1)).unflatten(1, (-1, self.sizes.style_dim))
        if not self.sizes.code_per_layer:
            codes = codes.expand(-1, self.sizes.codes, -1)
        conditions, decoded = [], []
        for scale, block in enumerate(self.conv_body_up):
            features = block(features + skips[-1 - scale])
            decoded.append(features)
            if self.sizes.sft:
                conditions.append((self.condition_scale[scale](features), self.condition_shift[scale](features)))
        return codes, conditions, decoded

    def unfold(self, image: Tensor) -> Tensor:
        """Turn an image folded by ``patch`` (N×3·patch²×H×W) back into N×3×patch·H×patch·W."""
        return F.pixel_shuffle(image, self.sizes.patch) if self.sizes.patch > 1 else image

    def forward(self, image: Tensor) -> Tensor:
        """Restore N×3×out_size×out_size RGB in [−1, 1]; the result has the same shape and is not clipped."""
        codes, conditions, _ = self.encode(image)
        out = self.unfold(self.stylegan_decoder(codes, conditions))
        return out + image if self.sizes.residual else out

    def forward_with_pyramid(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Restore and also return the U-Net's image at each scale from 8×8·patch up (pyramid loss, section 3.2)."""
        codes, conditions, decoded = self.encode(image)
        out = self.unfold(self.stylegan_decoder(codes, conditions))
        pyramid = [self.unfold(layer(features)) for layer, features in zip(self.toRGB, decoded, strict=True)]
        return (out + image if self.sizes.residual else out), pyramid
