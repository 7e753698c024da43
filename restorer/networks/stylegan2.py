"""StyleGAN2's generator, the prior of GFP-GAN, with a spatial feature transform between the two layers of each scale.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 2.2 (modulation and
demodulation); Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior", CVPR 2021,
section 3.4 (the transform). Parameter names and shapes are those of the official *clean* GFP-GAN checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.networks.doubling import doubled_convolution, resize
from restorer.networks.layers import LEAK, leaky
from restorer.networks.sizes import SMALLEST, GFPGANSizes


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by a style (StyleGAN2, section 2.2).

    Scaling the input by the style and the output by the demodulation gives the same numbers as modulating the weight,
    but leaves one weight for the whole batch.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, style_dim: int, *, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.padding = kernel // 2
        self.weight = nn.Parameter(
            torch.randn(1, out_channels, in_channels, kernel, kernel) / kernel / in_channels**0.5
        )
        self.modulation = nn.Linear(style_dim, in_channels)
        nn.init.ones_(self.modulation.bias)  # a style of zero passes the features unchanged

    def forward(self, features: Tensor, code: Tensor, *, double: bool = False) -> Tensor:
        """Map N×in×H×W features and N×style_dim codes to N×out×H×W; ``double``: of features (3×3) doubled first."""
        style = self.modulation(code)
        weight = self.weight[0]
        features = features * style.reshape(*style.shape, 1, 1).to(features.dtype)
        out = doubled_convolution(features, weight) if double else F.conv2d(features, weight, padding=self.padding)
        if self.demodulate:
            # float32: squares of bf16 styles lose the digits that keep the output's variance at one
            energy = style.float().square() @ weight.float().square().sum(dim=(2, 3)).t()
            scale = (energy + 1e-8).pow(-0.5)
            out = out * scale.reshape(*scale.shape, 1, 1).to(out.dtype)
        return out


class StyleLayer(nn.Module):
    """Modulated 3×3, noise, bias, leaky ReLU; doubles the side first where asked to."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, *, upsample: bool) -> None:
        super().__init__()
        self.upsample = upsample
        self.modulated_conv = ModulatedConv2d(in_channels, out_channels, 3, style_dim)
        self.weight = nn.Parameter(torch.zeros(1))  # strength of the noise; the checkpoints' name for it
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, features: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """Map N×in×H×W features, N×style_dim codes and 1×1×H'×W' noise to N×out×H'×W'."""
        out = self.modulated_conv(features, code, double=self.upsample) * math.sqrt(2)
        return leaky(out + (self.weight * noise).to(out.dtype) + self.bias.to(out.dtype))


class ToRGB(nn.Module):
    """Modulated 1×1 to an image, added to the doubled image of the scale below."""

    def __init__(self, in_channels: int, image_channels: int, style_dim: int, *, upsample: bool) -> None:
        super().__init__()
        self.upsample = upsample
        self.modulated_conv = ModulatedConv2d(in_channels, image_channels, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, image_channels, 1, 1))

    def forward(self, features: Tensor, code: Tensor, image: Tensor | None = None) -> Tensor:
        """Return the image so far, N×image_channels×H×W."""
        out: Tensor = self.modulated_conv(features, code) + self.bias
        if image is None:
            return out
        return out + (resize(image, 2) if self.upsample else image)


class ConstantInput(nn.Module):
    """The learned 4×4 map every image starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, channels, SMALLEST, SMALLEST))

    def forward(self, batch: int) -> Tensor:
        """Return batch×channels×4×4."""
        return self.weight.expand(batch, -1, -1, -1)


class NormalizeCode(nn.Module):
    """Scale a code to unit mean square."""

    def forward(self, code: Tensor) -> Tensor:
        """Return N×style_dim."""
        return code * torch.rsqrt(code.square().mean(dim=1, keepdim=True) + 1e-8)


def mapping_network(style_dim: int, layers: int) -> nn.Sequential:
    """Return the network that maps latents z to codes w; without layers it only scales them."""
    mapping: list[nn.Module] = [NormalizeCode()]
    for _ in range(layers):
        mapping += [nn.Linear(style_dim, style_dim), nn.LeakyReLU(LEAK)]
    return nn.Sequential(*mapping)


class StyleGAN2Prior(nn.Module):
    """StyleGAN2's synthesis network with a spatial feature transform between the two layers of each scale."""

    def __init__(self, sizes: GFPGANSizes) -> None:
        super().__init__()
        self.sft_half = sizes.sft_half
        channels, dim, rgb = sizes.prior_channels, sizes.style_dim, sizes.image_channels
        self.style_mlp = mapping_network(dim, sizes.mlp_layers)
        self.constant_input = ConstantInput(channels[0])
        self.style_conv1 = StyleLayer(channels[0], channels[0], dim, upsample=False)
        self.to_rgb1 = ToRGB(channels[0], rgb, dim, upsample=False)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise0", torch.randn(1, 1, SMALLEST, SMALLEST))
        for scale in range(sizes.scales):
            low, high = channels[scale], channels[scale + 1]
            self.style_convs.append(StyleLayer(low, high, dim, upsample=True))
            self.style_convs.append(StyleLayer(high, high, dim, upsample=False))
            self.to_rgbs.append(ToRGB(high, rgb, dim, upsample=True))
            side = SMALLEST * 2 ** (scale + 1)
            for index in (2 * scale + 1, 2 * scale + 2):
                self.noises.register_buffer(f"noise{index}", torch.randn(1, 1, side, side))

    def initialise(self) -> StyleGAN2Prior:
        """Draw new weights for training the prior alone, each layer's output of variance one; return the network."""
        for layer in self.style_mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))  # the ReLU's gain included
                nn.init.zeros_(layer.bias)
        for module in self.modules():
            if isinstance(module, ModulatedConv2d):
                nn.init.normal_(module.modulation.weight, std=module.modulation.in_features**-0.5)
        return self

    def fresh_noise(self, count: int) -> list[Tensor]:
        """Draw a noise map for each style layer and each of ``count`` images, as training the prior alone needs it."""
        stored = [self.noises.get_buffer(f"noise{index}") for index in range(1 + len(self.style_convs))]
        return [torch.randn(count, *noise.shape[1:], device=noise.device) for noise in stored]

    def map(self, latent: Tensor) -> Tensor:
        """Map N×style_dim latents z to codes w, as training the prior alone needs it."""
        code: Tensor = self.style_mlp(latent)
        return code

    def _transform(self, features: Tensor, condition: tuple[Tensor, Tensor] | None) -> Tensor:
        """Apply a (scale, shift) pair to the second half of the channels, or to all of them (section 3.4)."""
        if condition is None:
            return features
        alpha, beta = condition
        if not self.sft_half:
            return features * alpha + beta
        passed, changed = torch.split(features, int(features.shape[1]) // 2, dim=1)
        return torch.cat([passed, changed * alpha + beta], dim=1)

    def forward(
        self,
        codes: Tensor,
        conditions: Sequence[tuple[Tensor, Tensor]] | None = None,
        noises: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Draw an image.

        Args:
            codes: N×codes×style_dim.
            conditions: per scale from 8×8 on a pair of scale and shift, N×C×H×W; None: the prior alone.
            noises: one map per style layer; None: the stored ones, so that equal codes give equal images.

        Returns:
            N×image_channels×side×side.
        """
        if noises is None:
            noises = [self.noises.get_buffer(f"noise{index}") for index in range(1 + len(self.style_convs))]
        features = self.style_conv1(self.constant_input(len(codes)), codes[:, 0], noises[0])
        image = self.to_rgb1(features, codes[:, 1])
        for scale, to_rgb in enumerate(self.to_rgbs):
            first = 2 * scale + 1  # index of this scale's first code, and of its first noise
            features = self.style_convs[first - 1](features, codes[:, first], noises[first])
            features = self._transform(features, conditions[scale] if conditions else None)
            features = self.style_convs[first](features, codes[:, first + 1], noises[first + 1])
            image = to_rgb(features, codes[:, first + 2], image)
        out: Tensor = image
        return out
