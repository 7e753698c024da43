"""NIQE against BasicSR's numbers, and its parts against what they should recover."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restorer.errors import WeightsError
from restorer.evaluation.metric import Unavailable
from restorer.evaluation.niqe import Pristine, asymmetric_gaussian, halved, luminance, niqe, open_niqe
from tests.evaluation.conftest import MakeTools

THEIRS = json.loads((Path(__file__).parents[1] / "references" / "niqe.json").read_text())
UNIT = Pristine(np.zeros(36), np.eye(36))


@pytest.mark.parametrize("name", THEIRS)
def test_equals_basicsr(name: str) -> None:
    pytest.importorskip("skimage")
    from tests.references.niqe_cases import PICTURES

    # It rounds to float32 on the way.
    assert niqe(PICTURES[name](), UNIT) == pytest.approx(THEIRS[name], rel=1e-3)


def test_distance_of_the_pristine_itself_is_zero(rng: np.random.Generator) -> None:
    from restorer.evaluation.niqe import block_features

    picture = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    features = block_features(luminance(picture))
    assert features.shape == (2 * 3, 36)
    own = Pristine(features.mean(axis=0), np.cov(features, rowvar=False))
    assert niqe(picture, own) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0])
def test_shape_and_scales_are_recovered(rng: np.random.Generator, shape: float) -> None:
    """A generalised Gaussian of scale s is ±s·G^(1/shape) with G gamma-distributed with parameter 1/shape."""
    magnitude = rng.gamma(1 / shape, size=400_000) ** (1 / shape)
    left, right = 1.0, 2.5
    # The mass on each side is proportional to its scale.
    side = rng.random(magnitude.size) < left / (left + right)
    values = np.where(side, -left * magnitude, right * magnitude)
    assert asymmetric_gaussian(values) == pytest.approx((shape, left, right), rel=0.03)


def test_halving_equals_pillow_within() -> None:
    """Pillow's cubic kernel is the same; at the edges it cuts the kernel off where MATLAB mirrors the picture."""
    plane = np.random.default_rng(0).uniform(0, 255, (40, 60))
    small = Image.fromarray(plane.astype(np.float32)).resize((30, 20), Image.Resampling.BICUBIC)
    assert np.allclose(halved(plane)[2:-2, 2:-2], np.asarray(small)[2:-2, 2:-2], atol=1e-3)
    assert np.allclose(halved(np.full((8, 10), 7.0)), 7)


def test_luminance_runs_from_16_to_235() -> None:
    picture = np.array([[[0, 0, 0], [255, 255, 255], [0, 255, 0]]], np.uint8)
    assert luminance(picture).tolist() == [[16, 235, 145]]


def test_flat_pictures_have_no_value() -> None:
    assert niqe(np.full((200, 200, 3), 90, np.uint8), UNIT) is None


def test_pristine_statistics_from_a_file(tools: MakeTools, tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(Unavailable, match="niqe is not on disk"):
        open_niqe(tools(niqe=Path("absent.npz")))
    np.savez(tmp_path / "pristine.npz", mu_pris_param=np.zeros((1, 36)), cov_pris_param=np.eye(36))
    picture = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert open_niqe(tools(niqe=tmp_path / "pristine.npz"))([picture], []) == [niqe(picture, UNIT)]
    np.savez(tmp_path / "other.npz", mu=np.zeros(3))
    with pytest.raises(WeightsError, match="no statistics of pristine photographs"):
        open_niqe(tools(niqe=tmp_path / "other.npz"))
