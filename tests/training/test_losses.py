"""Each loss against a calculation by hand."""

from __future__ import annotations

import math

import pytest
import torch

from restorer.networks.discriminators import PatchDiscriminator
from restorer.training import losses


def test_weighted_l1() -> None:
    output, truth = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    weight = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]]]])
    assert losses.weighted_l1(output, truth, weight) == pytest.approx(1.0)
    output[:, :, 0, 0] = 0.5
    assert losses.weighted_l1(output, truth, weight) == pytest.approx(0.5)


def test_pyramid_compares_with_the_mean_of_each_square() -> None:
    truth = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    assert losses.pyramid_l1([torch.full((1, 3, 1, 1), 0.5), truth], truth) == pytest.approx(0)
    assert losses.pyramid_l1([torch.zeros(1, 3, 1, 1), truth], truth) == pytest.approx(0.25)


def test_gradient_ignores_a_constant_and_sees_an_edge() -> None:
    truth, weight = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    assert losses.gradient_l1(truth + 0.3, truth, weight) == pytest.approx(0, abs=1e-6)
    edge = torch.zeros(1, 3, 4, 4)
    edge[..., 2:] = 1.0
    # one of three horizontal differences is 1, no vertical one: (1/3 + 0) / 2
    assert losses.gradient_l1(edge, torch.zeros_like(edge), torch.ones(1, 1, 4, 4), scales=1) == pytest.approx(1 / 6)
    # halved: [0, 1], one difference, which is 1
    assert losses.gradient_l1(edge, torch.zeros_like(edge), torch.ones(1, 1, 4, 4), scales=2) == pytest.approx(
        1 / 6 + 1 / 2
    )


def test_logistic_losses() -> None:
    zero = torch.zeros(2, 1, 3, 3)
    assert losses.discriminator_logistic(zero, zero) == pytest.approx(2 * math.log(2))
    assert losses.generator_logistic(zero) == pytest.approx(math.log(2))
    assert losses.discriminator_logistic(zero + 20, zero - 20) == pytest.approx(0, abs=1e-6)
    assert losses.generator_logistic(zero - 20) == pytest.approx(20, rel=1e-4)


def test_feature_matching_pulls_the_output_only() -> None:
    fake = [torch.ones(1, 2, 2, 2, requires_grad=True)]
    real = [torch.zeros(1, 2, 2, 2, requires_grad=True)]
    loss = losses.feature_matching(fake, real)
    assert loss.item() == pytest.approx(1.0)
    loss.backward()
    assert fake[0].grad is not None and real[0].grad is None


def test_the_discriminator_judges_patches_and_sees_the_degraded_picture() -> None:
    network = PatchDiscriminator(width=8).eval()
    image, degraded = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    scores, features = network(image, degraded)
    assert scores.shape == (2, 1, 4, 4) and len(features) == 4
    assert not torch.equal(scores, network(image, degraded.flip(-1))[0])
