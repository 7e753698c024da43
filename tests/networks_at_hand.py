"""Small and random networks of every supported architecture, and weight files made of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from restorer.networks.gfpgan import GFPGAN, GFPGANSizes


def small_gfpgan(out_size: int = 64, narrow: float = 1 / 32, **sizes: Any) -> GFPGAN:
    """A GFP-GAN of the official family, only narrower and smaller, with noise of a strength that shows."""
    module = GFPGAN(GFPGANSizes.official(out_size, style_dim=16, narrow=narrow, mlp_layers=1, **sizes))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("conv.weight") and parameter.shape == (1,):
                parameter.fill_(0.1)
    return module.eval()


def retinaface(network: str = "mobile0.25") -> nn.Module:
    import warnings

    from facexlib.detection.retinaface import RetinaFace

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's word on the argument that facexlib passes
        return randomised(RetinaFace(network_name=network, device=torch.device("cpu")))


def bisenet() -> nn.Module:
    from facexlib.parsing.bisenet import BiSeNet

    return randomised(BiSeNet(19))


def rrdb(scale: int = 4, shuffle_factor: int | None = None, filters: int = 8, blocks: int = 2) -> nn.Module:
    """A Real-ESRGAN; ``scale`` counts from the folded pixels, so 4 with a factor of 2 enlarges by 2."""
    from spandrel.architectures.ESRGAN import ESRGAN

    channels = 3 * (shuffle_factor or 1) ** 2
    return ESRGAN(
        in_nc=channels, num_filters=filters, num_blocks=blocks, scale=scale, shuffle_factor=shuffle_factor
    ).eval()


def compact(upscale: int = 4, features: int = 8, convolutions: int = 3) -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_feat=features, num_conv=convolutions, upscale=upscale).eval()


def with_contrast(module: nn.Module, picture: torch.Tensor) -> nn.Module:
    """Give a random upsampler's output for a picture (1×3×H×W, 0..1) the contrast of a photograph, about mid-grey."""
    last = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)][-1]
    with torch.no_grad():
        deviation = float(module(picture).std())
        if deviation < 0.1:
            last.weight *= 0.2 / deviation
        last.bias += 0.5 - float(module(picture).mean())
    return module


def randomised(module: nn.Module) -> nn.Module:
    """Give batch normalisations statistics that differ from their start, as a trained network's do."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.8, 1.2)
    return module.eval()


def weights_of(path: Path) -> Any:
    """What a weight store says of a file, as far as an engine asks."""
    return SimpleNamespace(name=path.stem, path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def save_pth(path: Path, module: nn.Module, group: str | None = None) -> Path:
    state = module.state_dict()
    torch.save({group: state} if group else state, path)
    return path
