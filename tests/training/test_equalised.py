"""Equalised rates: plain weights with rates of their own learn as weights that are scaled in the forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from restorer.networks.stylegan2 import ModulatedConv2d, StyleGAN2Prior
from restorer.training.equalised import equalised_groups, rate_factors

pytestmark = pytest.mark.usefixtures("torch_rng")
SIZES = GFPGANSizes(out_size=8, style_dim=6, prior_channels=(4, 4), unet_channels=(2, 2), mlp_layers=2)


def test_it_equals_scaling_in_the_forward_pass() -> None:
    """As the paper does it: a weight v of variance one, used as c·v with c = 1/√(inputs)."""
    plain = nn.Linear(50, 3)
    nn.init.normal_(plain.weight, std=50**-0.5)
    stored = nn.Parameter(plain.weight.detach() * 50**0.5)
    bias = nn.Parameter(plain.bias.detach().clone())
    ours = torch.optim.Adam(equalised_groups(plain, 1e-2), betas=(0.0, 0.99), eps=0)
    theirs = torch.optim.Adam([stored, bias], lr=1e-2, betas=(0.0, 0.99), eps=0)
    for _ in range(20):
        inputs, wanted = torch.randn(8, 50), torch.randn(8, 3)
        for optimiser, out in (
            (ours, plain(inputs)),
            (theirs, nn.functional.linear(inputs, stored / 50**0.5, bias)),
        ):
            optimiser.zero_grad()
            torch.autograd.backward((out - wanted).square().mean())
            optimiser.step()
    assert torch.allclose(plain.weight, stored / 50**0.5, atol=1e-5)
    assert torch.allclose(plain.bias, bias, atol=1e-5)


def test_factors_of_every_kind_of_tensor() -> None:
    factors = rate_factors(StyleGAN2Prior(SIZES))
    assert factors["style_convs.0.modulated_conv.weight"] == pytest.approx((4 * 9) ** -0.5)
    assert factors["to_rgb1.modulated_conv.weight"] == pytest.approx(4**-0.5)
    assert factors["style_convs.0.modulated_conv.modulation.weight"] == pytest.approx(6**-0.5)
    assert factors["style_mlp.1.weight"] == pytest.approx(0.01 * (2 / 6) ** 0.5)
    assert factors["style_mlp.3.bias"] == pytest.approx(0.01)
    for name in ("style_convs.0.bias", "style_convs.0.weight", "constant_input.weight", "to_rgb1.bias"):
        assert factors[name] == 1


def test_a_prior_within_a_gfpgan_learns_as_it_does_alone() -> None:
    within, alone = rate_factors(GFPGAN(SIZES)), rate_factors(StyleGAN2Prior(SIZES))
    assert {name: within[f"stylegan_decoder.{name}"] for name in alone} == alone
    assert within["conv_body_down.0.conv1.weight"] == pytest.approx((2 * 9) ** -0.5)


def test_every_parameter_is_in_one_group() -> None:
    prior = StyleGAN2Prior(SIZES)
    grouped = [parameter for group in equalised_groups(prior, 2e-3) for parameter in group["params"]]
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in prior.parameters()}
    assert len(grouped) == len(list(prior.parameters()))


def test_new_weights_have_the_size_their_factor_says() -> None:
    prior = StyleGAN2Prior(
        GFPGANSizes(out_size=8, style_dim=256, prior_channels=(128, 128), unet_channels=(2, 2), mlp_layers=2)
    ).initialise()
    factors = rate_factors(prior)
    for name, module in prior.named_modules():
        if isinstance(module, ModulatedConv2d):
            assert float(module.weight.detach().std()) == pytest.approx(factors[f"{name}.weight"], rel=0.1)
            assert float(module.modulation.weight.detach().std()) == pytest.approx(256**-0.5, rel=0.1)
    codes = prior.map(torch.randn(64, 256))
    assert 0.5 < float(codes.detach().std()) < 1.5
    images = prior(codes[:, None].expand(-1, 4, -1), noises=prior.fresh_noise(64)).detach()
    assert 0.3 < float(images.std()) < 5
