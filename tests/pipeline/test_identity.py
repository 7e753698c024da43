"""The view that ArcFace gets, and angles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorer.contract import NetworkContract
from restorer.errors import RestorerError
from restorer.pipeline import identity
from restorer.pipeline.align import TEMPLATE, similarity, template
from restorer.pipeline.identity import Identity, angle
from restorer.resample import transform
from tests.fakes import FakeEngine, not_a_number

CONTRACT = NetworkContract("fake", "identity", mean=(127.5,) * 3, scale=1 / 127.5, input_size=112)
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where the five points lie in the 112×112 pictures that ArcFace networks are trained on (InsightFace's template)."""


def test_the_constant_is_the_similarity_of_the_templates() -> None:
    assert np.allclose(identity._CROP_TO_ARCFACE, similarity(TEMPLATE, ARCFACE), rtol=0, atol=1e-6)
    assert np.abs(transform(identity._CROP_TO_ARCFACE, TEMPLATE) - ARCFACE).max() < 2.2


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_points_arrive_where_arcface_expects_them(size: int) -> None:
    """Soft dots at a crop's five points are found within a pixel or two of ArcFace's."""
    views = []
    engine = FakeEngine(lambda batch: views.append(batch) or np.ones((len(batch), 4), np.float32), CONTRACT)
    y, x = np.mgrid[:size, :size]
    for point, expected in zip(template(size), transform(identity._CROP_TO_ARCFACE, TEMPLATE), strict=True):
        dot = 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * (size / 60) ** 2))
        Identity(engine).embed(np.repeat(dot[..., None], 3, axis=2).astype(np.float32)[None])
        light = views[-1][0, 0] + 1
        rows, columns = np.mgrid[:112, :112]
        centre = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()
        assert views[-1].shape == (1, 3, 112, 112) and np.abs(views[-1]).max() <= 1
        assert centre == pytest.approx(tuple(expected), abs=0.1)


def test_angles_are_exact_where_they_matter() -> None:
    unit = np.array([0.6, 0.8, 0.0])
    assert angle(unit, unit) == 0
    assert angle(unit, -unit) == pytest.approx(180)
    assert angle(unit, np.array([-0.8, 0.6, 0.0])) == pytest.approx(90)
    tiny = np.array([np.cos(1e-6), np.sin(1e-6)])
    assert angle(np.array([1.0, 0.0]), tiny) == pytest.approx(np.degrees(1e-6), rel=1e-9)


def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(rng: np.random.Generator) -> None:
    engine = FakeEngine(lambda batch: 7 * batch.mean(axis=2).reshape(len(batch), -1), CONTRACT)
    crops = rng.uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    together = Identity(engine).embed(crops)
    assert together.dtype == np.float64 and np.allclose(np.linalg.norm(together, axis=1), 1)
    assert np.array_equal(together, np.concatenate([Identity(engine).embed(crop[None]) for crop in crops]))


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(RestorerError, match="not finite"):
        Identity(FakeEngine(not_a_number, CONTRACT)).embed(np.zeros((1, 64, 64, 3), np.float32))


def _arcface(device: str) -> Any:
    import torch
    from facexlib.recognition.arcface_arch import Backbone

    torch.manual_seed(0)
    with torch.device(device):
        return Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se").eval()


def test_arcface_is_recognised_by_its_tensors() -> None:
    pytest.importorskip("facexlib")
    from restorer.checkpoints.architectures import ARCHITECTURES

    state = _arcface("meta").state_dict()
    assert [build.__name__ for recognises, build in ARCHITECTURES if recognises(state)] == ["_arcface"]


@pytest.mark.slow
def test_a_random_arcface_from_file_to_angle(tmp_path: Path) -> None:
    """The engine's numbers are the network's own on what its contract says: RGB in [-1, 1]."""
    import torch

    from restorer import runtime
    from tests.networks_at_hand import randomised, weights_of

    network = randomised(_arcface("cpu"))
    torch.save(network.state_dict(), tmp_path / "arcface.pth")
    engine = runtime.open_engine(weights_of(tmp_path / "arcface.pth"), device="cpu", precision="fp32")
    assert (engine.contract.kind, engine.contract.input_size) == ("identity", 112)
    views: list[Any] = []

    def spy(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        views.append(batch)
        return engine(batch)

    spy.contract = engine.contract  # type: ignore[attr-defined]
    faces = np.random.default_rng(1).uniform(0, 255, (2, 128, 128, 3)).astype(np.float32)
    found = Identity(spy).embed(faces)  # type: ignore[arg-type]
    with torch.inference_mode():
        expected = network(torch.from_numpy(views[0])).numpy()
    assert found.shape == (2, 512) and np.allclose(found, expected, atol=1e-4)
    assert Identity(engine).angles(faces, faces) == [0, 0]
