"""The Fréchet distance against closed forms; statistics in float64, whatever the batches; Inception's plumbing."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorer.errors import PhotoError, WeightsError
from restorer.evaluation.fid import Gaussian, Moments, frechet_distance, open_features
from restorer.evaluation.metric import Unavailable
from tests.evaluation.conftest import MakeTools


def gaussian(mean: list[float], covariance: NDArray[Any]) -> Gaussian:
    return Gaussian(np.array(mean, np.float64), np.asarray(covariance, np.float64))


def test_one_dimension() -> None:
    """(m1 - m2)² + (s1 - s2)²."""
    assert frechet_distance(gaussian([3], [[4]]), gaussian([1], [[25]])) == pytest.approx(4 + 9, abs=1e-12)


def test_commuting_covariances(rng: np.random.Generator) -> None:
    """With common eigenvectors: |m1 - m2|² + Σ (√a - √b)²."""
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    a, b = rng.uniform(0.1, 5, 6), rng.uniform(0.1, 5, 6)
    first, second = (Gaussian(rng.normal(size=6), turn @ np.diag(values) @ turn.T) for values in (a, b))
    expected = np.sum((first.mean - second.mean) ** 2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_two_dimensions(rng: np.random.Generator) -> None:
    """For 2×2 matrices tr √(AB) = √(tr AB + 2 √det AB), commuting or not."""
    first, second = (Gaussian(rng.normal(size=2), (m := rng.normal(size=(2, 2))) @ m.T) for _ in range(2))
    product = first.covariance @ second.covariance
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    offset = first.mean - second.mean
    expected = offset @ offset + np.trace(first.covariance) + np.trace(second.covariance) - 2 * root
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances(rng: np.random.Generator) -> None:
    """Fewer pictures than features: still zero for equal sets, and |m1 - m2|² for shifted ones."""
    features = rng.normal(size=(5, 40))
    first, second = Moments(), Moments()
    first.add(features)
    second.add(features + 2)
    assert frechet_distance(first.gaussian(), first.gaussian()) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first.gaussian(), second.gaussian()) == pytest.approx(4 * 40, rel=1e-9)


def test_other_networks_statistics_are_refused() -> None:
    with pytest.raises(PhotoError, match="another network"):
        frechet_distance(gaussian([0, 0], np.eye(2)), gaussian([0], np.eye(1)))


@pytest.mark.parametrize("cuts", [(1,) * 50, (50,), (7, 43), (3, 3, 44)])
def test_moments_do_not_depend_on_the_batches(rng: np.random.Generator, cuts: tuple[int, ...]) -> None:
    features = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    moments, start = Moments(), 0
    for cut in cuts:
        moments.add(features[start : start + cut])
        start += cut
    found = moments.gaussian()
    assert np.allclose(found.mean, features.mean(axis=0), rtol=0, atol=1e-13)
    assert np.allclose(found.covariance, np.cov(features, rowvar=False), rtol=0, atol=1e-12)


def test_moments_are_float64(rng: np.random.Generator) -> None:
    """A deviation of 1e-3 on a mean of 1e4 vanishes in float32, and in naive sums of squares."""
    spread = rng.normal(size=(200, 3))
    moments = Moments()
    moments.add(1e4 + 1e-3 * spread)
    assert moments.gaussian().mean.dtype == np.float64
    assert np.allclose(moments.gaussian().covariance, 1e-6 * np.cov(spread, rowvar=False), rtol=1e-4)


def test_one_picture_has_no_covariance() -> None:
    moments = Moments()
    assert moments.gaussian() is None
    moments.add(np.ones((1, 4)))
    assert moments.gaussian() is None


def test_statistics_survive_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    kept = gaussian(list(rng.normal(size=3)), np.diag([1.0, 2.0, 3.0]))
    (tmp_path / "x.npz").write_bytes(kept.save())
    found = Gaussian.load(tmp_path / "x.npz")
    assert np.array_equal(found.mean, kept.mean) and np.array_equal(found.covariance, kept.covariance)
    with np.load(tmp_path / "x.npz") as file:
        assert set(file) == {"mu", "sigma"}  # the names other programs use


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [None, b"text", _npz(mu=np.zeros(3)), _npz(mu=np.zeros(3), sigma=np.eye(2)), _npz(mu=np.array([{}]), sigma=1)],
    ids=["missing", "text", "half", "shapes", "objects"],
)
def test_files_that_hold_no_statistics(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(PhotoError, match=r"x\.npz"):
        Gaussian.load(tmp_path / "x.npz")


def test_inception_must_be_at_hand(tools: MakeTools) -> None:
    pytest.importorskip("torch_fidelity")
    with pytest.raises(Unavailable, match="no row inception"):
        open_features(tools())
    with pytest.raises(Unavailable, match="inception is not on disk"):
        open_features(tools(inception=Path("absent.pth")))


def test_a_file_that_is_no_inception(tools: MakeTools, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch_fidelity")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no Inception"):
        open_features(tools(inception=tmp_path / "other.pth"))


def test_inception_with_random_weights(
    tools: MakeTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, face: NDArray[Any], noisy: NDArray[Any]
) -> None:
    """Plumbing only: features have their shape, do not depend on the batch, and sizes may differ."""
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.manual_seed(1)
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    kind = module.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:
        patch.setattr(kind, "load_state_dict", lambda self, state: None)
        network = kind("inception", ["2048"], feature_extractor_weights_path=empty)
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    features = open_features(tools(inception=tmp_path / "inception.pth"))
    together = features([face, noisy[:128], noisy])
    assert together.shape == (3, 2048) and together.dtype == np.float64 and np.isfinite(together).all()
    assert np.ptp(together[:, 0]) > 0
    single = np.concatenate([features([picture]) for picture in (face, noisy[:128], noisy)])
    assert np.allclose(together, single, rtol=0, atol=1e-4 * np.abs(single).max())
