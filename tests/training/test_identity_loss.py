"""Identity: the network gives upstream's numbers, grey is as upstream makes it, weights come from the table."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import rgb_to_grayscale

from restorer.errors import ExitCode, WeightsError
from restorer.networks.arcface18 import ArcFace18
from restorer.training.identity_loss import IdentityLoss, grey_face
from restorer.weights import WeightStore
from tests.references import make_arcface18 as reference
from tests.training.batches import drawn_batch

pytestmark = pytest.mark.usefixtures("torch_rng")


@pytest.fixture(scope="module")
def network() -> ArcFace18:
    network = ArcFace18()
    network.load_state_dict(reference.weights(network))
    return network.eval().requires_grad_(False)


@pytest.fixture
def file(network: ArcFace18, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file under the published name."""
    monkeypatch.setenv("RESTORER_WEIGHTS", str(tmp_path))
    torch.save(network.state_dict(), tmp_path / "arcface_resnet18.pth")
    yield tmp_path / "arcface_resnet18.pth"


def test_the_network_gives_upstreams_numbers(network: ArcFace18) -> None:
    with np.load(reference.REFERENCE) as stored:
        theirs = torch.from_numpy(stored["described"])
    ours = network(reference.faces())
    assert ours.shape == theirs.shape == (2, 512)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


def test_the_network_gives_upstreams_numbers_now(network: ArcFace18) -> None:
    for package in ("gfpgan", "basicsr"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the live comparison runs the upstream program, which needs {package}")
    faces = torch.randn(1, 1, 128, 128)
    theirs = reference.describe(reference.upstream(), faces)
    assert float((network(faces) - theirs).norm() / theirs.norm()) < 1e-5


def test_grey_is_torchvisions_and_of_the_networks_size() -> None:
    image = torch.rand(2, 3, 64, 64)
    wanted = torch.nn.functional.interpolate(rgb_to_grayscale(image), size=128, mode="bilinear", align_corners=False)
    assert torch.allclose(grey_face(image), wanted, atol=1e-6)


def test_the_loss_by_hand(network: ArcFace18) -> None:
    loss, batch = IdentityLoss(network), drawn_batch(2, 64)
    output = batch.degraded.clone().requires_grad_(True)
    (term,) = loss.generator_terms(output, batch.truth, batch).values()
    wanted = (network(grey_face(batch.degraded)) - network(grey_face(batch.truth))).abs().mean()
    assert torch.allclose(term, wanted) and wanted > 0
    torch.autograd.backward(term)
    assert output.grad is not None and output.grad.any()
    assert list(loss.parameters()) == [] and loss.state_dict() == {}
    assert loss.generator_terms(batch.truth, batch.truth, batch)["identity"] == 0


def test_weights_come_from_the_table(file: Path, network: ArcFace18) -> None:
    loss, batch = IdentityLoss.open(WeightStore(offline=True)), drawn_batch(1, 32)
    expected = IdentityLoss(network).generator_terms(batch.degraded, batch.truth, batch)
    assert loss.generator_terms(batch.degraded, batch.truth, batch) == expected


def test_missing_weights_are_refused_by_the_loss_name() -> None:
    with pytest.raises(WeightsError, match=r"^The identity loss needs arcface-resnet18.*weight 0") as caught:
        IdentityLoss.open(WeightStore(offline=True))
    assert caught.value.exit_code is ExitCode.WEIGHTS


def test_another_networks_weights_are_refused(file: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, file)
    with pytest.raises(WeightsError, match="does not hold arcface-resnet18, which the identity loss needs"):
        IdentityLoss.open(WeightStore(offline=True))


def test_without_the_libraries_that_find_weights_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "restorer.weights", None)
    with pytest.raises(WeightsError, match=r"^The identity loss needs .* library that is not installed"):
        IdentityLoss.open()
