"""Components: each discriminator sees its own box, and the style is the Gram matrix by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from restorer.networks.component_discriminator import ComponentDiscriminator
from restorer.training.component_loss import ComponentLoss, gram, style_l1
from restorer.training.components import COMPONENTS
from tests.training.batches import BOXES, drawn_batch

pytestmark = pytest.mark.usefixtures("torch_rng")


def test_gram_of_a_known_map() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # channels (1, 2) and (3, 4)
    assert torch.equal(gram(features)[0], torch.tensor([[5.0, 11.0], [11.0, 25.0]]) / 4)


def test_gram_forgets_places() -> None:
    features = torch.randn(1, 3, 4, 4)
    shuffled = features.flatten(2)[..., torch.randperm(16)].reshape(features.shape)
    assert torch.allclose(gram(features), gram(shuffled), atol=1e-6)


def test_style_by_hand() -> None:
    fake, real = (
        [torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 2, 1, 1)],
        [torch.ones(1, 1, 2, 2), torch.ones(1, 2, 1, 1)],
    )
    assert style_l1(fake, real) == ((9 - 1) + 0.5) / 2  # the second's Gram matrix is full of 1·1/2


def test_the_components_and_their_order_are_the_boxes() -> None:
    assert tuple(ComponentLoss(64, width=4).cells) == COMPONENTS


@pytest.mark.parametrize(("out_size", "cells"), [(512, (80, 80, 120)), (256, (40, 40, 60)), (32, (8, 8, 8))])
def test_sizes_follow_the_faces(out_size: int, cells: tuple[int, ...]) -> None:
    assert tuple(ComponentLoss(out_size, width=4).cells.values()) == cells


@pytest.mark.parametrize("place", range(3))
def test_each_discriminator_sees_its_own_box_alone(place: int) -> None:
    loss, batch = ComponentLoss(32, width=4), drawn_batch(2, 32)
    x0, y0, x1, y1 = (round(share * 32) for share in BOXES[place])
    changed = batch.truth.clone()
    changed[..., y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] += 1
    for name in loss.cells:
        with torch.no_grad():
            same = torch.equal(loss._judge(name, batch.truth, batch)[0], loss._judge(name, changed, batch)[0])
        assert same is (name != COMPONENTS[place])


def test_the_terms_are_sums_over_the_components() -> None:
    loss, batch = ComponentLoss(32, width=4), drawn_batch(2, 32)
    output = torch.randn(2, 3, 32, 32)
    fakes, reals = ([loss._judge(name, image, batch) for name in loss.cells] for image in (output, batch.truth))
    terms = loss.generator_terms(output, batch.truth, batch)
    assert torch.allclose(terms["component"], sum(F.softplus(-scores).mean() for scores, _ in fakes))
    wanted = sum(style_l1(fake, real) for (_, fake), (_, real) in zip(fakes, reals, strict=True))
    assert torch.allclose(terms["component_style"], wanted)
    (term,) = loss.discriminator_terms(output, batch.truth, batch).values()
    wanted = sum(F.softplus(-scores).mean() for scores, _ in reals) + sum(F.softplus(s).mean() for s, _ in fakes)
    assert torch.allclose(term, wanted)


@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_reach_the_components_and_nothing_else(bf16: bool) -> None:
    loss, batch = ComponentLoss(32, width=4, bf16=bf16), drawn_batch(2, 32)
    output = torch.randn(2, 3, 32, 32, requires_grad=True)
    terms = loss.generator_terms(output, batch.truth, batch)
    torch.autograd.backward(sum(terms.values(), torch.zeros(())))
    assert output.grad is not None
    assert output.grad[..., 10:12, 6:12].any()  # the left eye
    assert not output.grad[..., :4, :].any() and not output.grad[..., 0].any()  # no component there
    assert all(parameter.grad is None for parameter in loss.parameters())
    terms = loss.discriminator_terms(output.detach(), batch.truth, batch)
    torch.autograd.backward(terms["component_discriminator"])
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in loss.parameters())


def test_a_restored_face_without_flaw_has_the_right_style() -> None:
    loss, batch = ComponentLoss(32, width=4), drawn_batch(2, 32)
    assert loss.generator_terms(batch.truth, batch.truth, batch)["component_style"] == 0


def test_boxes_outside_of_the_face_do_no_harm() -> None:
    loss, batch = ComponentLoss(32, width=4), drawn_batch(2, 32)
    batch = dataclasses.replace(batch, boxes=batch.boxes + 100)
    assert all(term.isfinite() for term in loss.generator_terms(batch.truth, batch.truth, batch).values())


def test_the_discriminators_layout() -> None:
    scores, layers = ComponentDiscriminator(width=4)(torch.randn(2, 3, 20, 20))
    assert scores.shape == (2, 1, 5, 5)
    assert [tuple(layer.shape[1:]) for layer in layers] == [(4, 20, 20), (8, 10, 10), (16, 5, 5)]
