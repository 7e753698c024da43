"""Equalised learning rates: each weight learns in proportion to the size it was drawn with.

Source: Karras et al., "Progressive Growing of GANs", ICLR 2018, section 4.1, which StyleGAN2 keeps. There a weight is
stored with variance one and multiplied by c = 1/√(inputs) in every forward pass. Adam's steps do not depend on the
gradient's size, so that storing the product and taking c times the rate is the same, and leaves checkpoints plain.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from restorer.networks.stylegan2 import ModulatedConv2d, StyleGAN2Prior

MAPPING_RATE = 0.01
"""Factor of the mapping network's rate (StyleGAN, section C)."""


def rate_factors(network: nn.Module) -> dict[str, float]:
    """Return a factor of the learning rate for each parameter: c for weights, 1 for biases, constants and noise."""
    factors, slower = {name: 1.0 for name, _ in network.named_parameters()}, dict[str, float]()
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, ModulatedConv2d)):
            weight = module.weight[0, 0] if isinstance(module, ModulatedConv2d) else module.weight[0]
            factors[f"{name}.weight".lstrip(".")] = weight.numel() ** -0.5
        if isinstance(module, StyleGAN2Prior):
            mapping = f"{name}.style_mlp".lstrip(".")
            for inner, parameter in module.style_mlp.named_parameters():
                gain = math.sqrt(2) if parameter.dim() > 1 else 1.0  # the ReLU's, which the weights hold
                slower[f"{mapping}.{inner}"] = MAPPING_RATE * gain
    return {name: factor * slower.get(name, 1.0) for name, factor in factors.items()}


def equalised_groups(network: nn.Module, rate: float) -> list[dict[str, Any]]:
    """Return a network's parameters as groups for Adam, each with its learning rate."""
    factors, groups = rate_factors(network), dict[float, list[nn.Parameter]]()
    for name, parameter in network.named_parameters():
        groups.setdefault(factors[name], []).append(parameter)
    return [{"params": group, "lr": rate * factor} for factor, group in groups.items()]
