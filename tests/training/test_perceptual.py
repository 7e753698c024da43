"""The perceptual loss: VGG's features are torchvision's before the activation, and the terms are the sums by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import vgg

from restorer.errors import ExitCode, WeightsError
from restorer.networks.vgg19 import LAYERS, VGG19
from restorer.training import perceptual
from restorer.training.component_loss import gram
from restorer.training.perceptual import LAYER_WEIGHTS, PerceptualLoss
from restorer.weights import WeightStore, read_table
from tests.training.batches import drawn_batch


@pytest.fixture(scope="module")
def theirs() -> nn.Sequential:
    """torchvision's convolutions with random weights; the classifier, four fifths of the file, is left out."""
    torch.manual_seed(0)
    return vgg.make_layers(vgg.cfgs["E"]).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network(theirs: nn.Sequential) -> VGG19:
    network = VGG19().eval().requires_grad_(False)
    network.load_state_dict({f"features.{name}": tensor for name, tensor in theirs.state_dict().items()})
    return network


def test_features_are_torchvisions_before_the_activation(network: VGG19, theirs: nn.Sequential) -> None:
    image = torch.rand(2, 3, 32, 32)
    ours = network(image * 2 - 1, LAYER_WEIGHTS)
    # torchvision's own order: convolutions, ReLUs (in place) and poolings; 2, 7, 16, 25, 34 as its documentation prints
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    features, expected = (image - mean[:, None, None]) / deviation[:, None, None], []
    for place, layer in enumerate(theirs):
        features = layer(features)
        if place in (2, 7, 16, 25, 34):
            assert isinstance(layer, nn.Conv2d)
            expected.append(features.clone())
    assert list(ours) == ["conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours.values(), expected, strict=True))
    assert any((a < 0).any() for a in ours.values())


def test_every_convolution_has_its_number(theirs: nn.Sequential) -> None:
    places = [place for place, layer in enumerate(theirs) if isinstance(layer, nn.Conv2d)]
    assert list(LAYERS.values()) == places and len(LAYERS) == 16


def test_the_terms_by_hand(network: VGG19) -> None:
    loss, batch = PerceptualLoss(network), drawn_batch(2, 32)
    output = batch.degraded.clone().requires_grad_(True)
    terms = loss.generator_terms(output, batch.truth, batch)
    a, b = (network(image, LAYER_WEIGHTS) for image in (batch.degraded, batch.truth))
    weights = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}  # the released options'
    assert torch.allclose(terms["perceptual"], sum(w * (a[n] - b[n]).abs().mean() for n, w in weights.items()))
    wanted = sum(w * (gram(a[n]) - gram(b[n])).abs().mean() for n, w in weights.items())
    assert torch.allclose(terms["style"], wanted)
    torch.autograd.backward(terms["perceptual"] + terms["style"])
    assert output.grad is not None and output.grad.any()
    assert list(loss.parameters()) == [] and loss.state_dict() == {}


def test_style_is_left_out_where_it_is_not_wanted(network: VGG19) -> None:
    batch = drawn_batch(1, 32)
    assert set(PerceptualLoss(network, style=False).generator_terms(batch.degraded, batch.truth, batch)) == {
        "perceptual"
    }


def test_nothing_beyond_the_last_wanted_layer_is_computed(network: VGG19) -> None:
    assert set(network(torch.zeros(1, 3, 2, 2), ["conv1_2"])) == {"conv1_2"}  # four poolings would fail on two pixels


def test_missing_weights_are_refused_by_the_loss_name() -> None:
    with pytest.raises(WeightsError, match=r"^The perceptual loss needs vgg19.*weight 0") as caught:
        PerceptualLoss.open(WeightStore(offline=True))
    assert caught.value.exit_code is ExitCode.WEIGHTS


def test_the_published_file_is_read_without_its_classifier(
    theirs: nn.Sequential, network: VGG19, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {f"features.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(4, 4)}, tmp_path / "own.pth")

    class Store(WeightStore):
        def get(self, name: str) -> object:  # type: ignore[override]
            assert name == perceptual.WEIGHTS in read_table()
            return type("Found", (), {"path": tmp_path / "own.pth"})

    batch = drawn_batch(1, 32)
    expected = PerceptualLoss(network).generator_terms(batch.degraded, batch.truth, batch)
    found = PerceptualLoss.open(Store()).generator_terms(batch.degraded, batch.truth, batch)
    assert found == expected
