"""The adversarial loss: R1 by hand, when it comes, and who gets gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from restorer.networks.discriminators import PatchDiscriminator
from restorer.networks.stylegan2_discriminator import DiscriminatorSizes, StyleGAN2Discriminator
from restorer.training.adversarial import AdversarialLoss, r1_penalty
from tests.training.batches import drawn_batch

pytestmark = pytest.mark.usefixtures("torch_rng")
SIZES = DiscriminatorSizes(16, (8, 6, 4), group=2)


class Linear(nn.Module):
    """D(x) = w·x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 16, 16))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        return (image * self.weight).sum(dim=(1, 2, 3)), [image]


def _terms(loss: AdversarialLoss, step: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    batch = dataclasses.replace(drawn_batch(4, 16), step=step)
    output = torch.randn(4, 3, 16, 16, requires_grad=True)
    return (
        loss.generator_terms(output, batch.truth, batch),
        loss.discriminator_terms(output.detach(), batch.truth, batch),
        output,
    )


def test_r1_of_a_linear_discriminator_is_its_squared_norm() -> None:
    network = Linear()
    images = torch.randn(5, 3, 16, 16, requires_grad=True)
    penalty = r1_penalty(network(images)[0], images)
    assert torch.allclose(penalty, network.weight.square().sum())
    torch.autograd.backward(penalty)
    assert torch.allclose(network.weight.grad, 2 * network.weight)  # the derivative of ‖w‖²


def test_r1_of_a_quadratic_discriminator_by_hand() -> None:
    images = torch.randn(5, 3, 4, 4, requires_grad=True)
    penalty = r1_penalty(images.square().sum(dim=(1, 2, 3)), images)  # the gradient is 2x
    assert torch.allclose(penalty, 4 * images.square().sum(dim=(1, 2, 3)).mean())


@pytest.mark.parametrize(("step", "there"), [(0, True), (1, False), (15, False), (16, True), (32, True)])
def test_r1_comes_every_sixteenth_step_times_sixteen(step: int, there: bool) -> None:
    loss = AdversarialLoss(Linear())
    terms = _terms(loss, step)[1]
    assert ("r1" in terms) is there
    if there:
        weight = loss.discriminators["face"].get_parameter("weight")
        assert torch.allclose(terms["r1"], 10 / 2 * 16 * weight.square().sum())


def test_no_r1_where_none_is_asked_for() -> None:
    assert set(_terms(AdversarialLoss(Linear(), r1=0))[1]) == {"discriminator"}


def test_the_logistic_losses_by_hand() -> None:
    loss = AdversarialLoss(Linear(), r1=0)
    batch = drawn_batch(4, 16)
    output = torch.randn(4, 3, 16, 16)
    weight = loss.discriminators["face"].get_parameter("weight")
    real, fake = ((image * weight).sum(dim=(1, 2, 3)) for image in (batch.truth, output))
    assert torch.allclose(
        loss.generator_terms(output, batch.truth, batch)["adversarial"],
        F.binary_cross_entropy_with_logits(fake, torch.ones(4)),
    )
    wanted = F.binary_cross_entropy_with_logits(real, torch.ones(4))
    wanted = wanted + F.binary_cross_entropy_with_logits(fake, torch.zeros(4))
    assert torch.allclose(loss.discriminator_terms(output, batch.truth, batch)["discriminator"], wanted)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", ["stylegan2", "patch"])
def test_gradients_reach_whom_they_should(kind: str, bf16: bool) -> None:
    network = StyleGAN2Discriminator(SIZES) if kind == "stylegan2" else PatchDiscriminator(width=4, depth=3)
    loss = AdversarialLoss(network, feature_matching=True, bf16=bf16)
    generator, discriminator, output = _terms(loss)
    assert set(generator) == {"adversarial", "feature_matching"}
    assert set(discriminator) == {"discriminator", "r1"}
    assert all(term.dtype == torch.float32 for term in (*generator.values(), *discriminator.values()))
    torch.autograd.backward(sum(generator.values(), torch.zeros(())))
    assert output.grad is not None and output.grad.any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in loss.parameters())
    output.grad = None
    torch.autograd.backward(sum(discriminator.values(), torch.zeros(())))
    assert output.grad is None
    assert all(parameter.grad is not None for parameter in loss.parameters())


def test_feature_matching_of_equal_faces_is_nothing() -> None:
    loss, batch = AdversarialLoss(StyleGAN2Discriminator(SIZES), feature_matching=True), drawn_batch(4, 16)
    assert loss.generator_terms(batch.truth, batch.truth, batch)["feature_matching"] == 0


def test_the_state_is_the_discriminators() -> None:
    first, second = (AdversarialLoss(StyleGAN2Discriminator(SIZES)) for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_stylegan2s_discriminator_learns_at_equalised_rates() -> None:
    rates = {group["lr"] for group in AdversarialLoss(StyleGAN2Discriminator(SIZES)).groups(2e-3)}
    assert max(rates) == 2e-3  # biases
    assert min(rates) == pytest.approx(2e-3 * (8 * 16) ** -0.5)  # the linear layer after the 4×4 map
    patch = AdversarialLoss(PatchDiscriminator(width=4, depth=3))
    assert [group["lr"] for group in patch.groups(2e-4)] == [2e-4]
    assert [id(p) for group in patch.groups(1) for p in group["params"]] == [id(p) for p in patch.parameters()]


def test_it_learns_to_tell_two_kinds_of_images_apart() -> None:
    loss, batch = AdversarialLoss(StyleGAN2Discriminator(SIZES), r1=1), drawn_batch(4, 16)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.01, betas=(0.0, 0.99))
    output = torch.randn(4, 3, 16, 16)
    for step in range(40):
        terms = loss.discriminator_terms(output, batch.truth, dataclasses.replace(batch, step=step))
        optimiser.zero_grad()
        torch.autograd.backward(sum(terms.values(), torch.zeros(())))
        optimiser.step()
    with torch.no_grad():
        real, fake = (loss.discriminators["face"](image)[0] for image in (batch.truth, output))
    assert real.min() > 0 > fake.max()
