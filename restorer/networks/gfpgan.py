"""GFP-GAN: a degradation-removal U-Net that steers a StyleGAN2 prior through spatial feature transforms.

Source: Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior", CVPR 2021, sections 3.1
to 3.4; Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 2.2 (modulation and
demodulation). Parameter names and shapes are those of the official *clean* checkpoints (1.2, 1.3, 1.4).

Two additions of this project, both off in the official networks, make a network that a CPU can train and run:
``patch`` folds patch×patch pixels into channels, so that the widest layers work at 512/patch pixels, and ``residual``
adds the input to the output, so that an untrained network already returns the photograph it was given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.contract import NetworkContract

LEAK = 0.2
"""Slope of every leaky ReLU for negative values."""
SMALLEST = 4
"""Side of the coarsest feature map."""

CONTRACT = NetworkContract(
    architecture="gfpgan", kind="face", mean=(127.5,) * 3, scale=1 / 127.5, input_size=512, precisions=("bf16", "fp32")
)
"""RGB in [−1, 1], in and out. fp16 is missing on purpose: its range overflows in the prior's features."""


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
        sides = [2**power for power in range(2, int(math.log2(out_size)) + 1)]
        # StyleGAN2's table: 512 channels up to 32², from 64² on halved with each doubling of the side
        full = {side: 512.0 if side <= 32 else 512 * 32 / side * channel_multiplier for side in sides}
        return cls(
            out_size=out_size,
            style_dim=style_dim,
            prior_channels=tuple(int(full[side] * narrow) for side in sides),
            unet_channels=tuple(int(full[side] * narrow * 0.5) for side in sides),
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
        return cls(
            out_size=SMALLEST * 2**scales * patch,
            style_dim=style_dim,
            prior_channels=tuple(prior),
            unet_channels=tuple(unet),
            mlp_layers=sum(
                1 for key in state if key.startswith("stylegan_decoder.style_mlp.") and key.endswith("weight")
            ),
            sft_half=state["condition_scale.0.2.weight"].shape[0] != prior[1],
            code_per_layer=state["final_linear.weight"].shape[0] != style_dim,
            patch=patch,
            residual=residual,
        )


def _leaky(features: Tensor) -> Tensor:
    return F.leaky_relu(features, LEAK)


def _resize(features: Tensor, factor: float) -> Tensor:
    """Scale bilinearly with half-pixel centres."""
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """3×3, resize by two, 3×3, plus the resized input through a 1×1."""

    def __init__(self, in_channels: int, out_channels: int, *, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return N×out×(factor·H)×(factor·W)."""
        inner = _resize(_leaky(self.conv1(features)), self.factor)
        out: Tensor = _leaky(self.conv2(inner)) + self.skip(_resize(features, self.factor))
        return out


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

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        """Map N×in×H×W features and N×style_dim codes to N×out×H×W."""
        style = self.modulation(code)
        weight = self.weight[0]
        out = F.conv2d(features * style[:, :, None, None].to(features.dtype), weight, padding=self.padding)
        if self.demodulate:
            # float32: squares of bf16 styles lose the digits that keep the output's variance at one
            energy = style.float().square() @ weight.float().square().sum(dim=(2, 3)).t()
            out = out * torch.rsqrt(energy + 1e-8)[:, :, None, None].to(out.dtype)
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
        if self.upsample:
            features = _resize(features, 2)
        out = self.modulated_conv(features, code) * math.sqrt(2)
        return _leaky(out + (self.weight * noise).to(out.dtype) + self.bias.to(out.dtype))


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
        return out + (_resize(image, 2) if self.upsample else image)


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


class StyleGAN2Prior(nn.Module):
    """StyleGAN2's synthesis network with a spatial feature transform between the two layers of each scale."""

    def __init__(self, sizes: GFPGANSizes) -> None:
        super().__init__()
        self.sft_half = sizes.sft_half
        channels, dim, rgb = sizes.prior_channels, sizes.style_dim, sizes.image_channels
        mapping: list[nn.Module] = [NormalizeCode()]
        for _ in range(sizes.mlp_layers):
            mapping += [nn.Linear(dim, dim), nn.LeakyReLU(LEAK)]
        self.style_mlp = nn.Sequential(*mapping)
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
        passed, changed = features.chunk(2, dim=1)
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
            Codes N×codes×style_dim, a (scale, shift) pair for each scale, and the decoder's features at each scale.
        """
        if self.sizes.patch > 1:
            image = F.pixel_unshuffle(image, self.sizes.patch)
        features = _leaky(self.conv_body_first(image))
        skips = []
        for block in self.conv_body_down:
            features = block(features)
            skips.append(features)
        features = _leaky(self.final_conv(features))
        codes = self.final_linear(features.flatten(1)).unflatten(1, (-1, self.sizes.style_dim))
        if not self.sizes.code_per_layer:
            codes = codes.expand(-1, self.sizes.codes, -1)
        conditions, decoded = [], []
        for scale, block in enumerate(self.conv_body_up):
            features = block(features + skips[-1 - scale])
            decoded.append(features)
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
