"""LPIPS, identity and landmarks with random or drawn networks: plumbing, not quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorer.contract import NetworkContract
from restorer.errors import WeightsError
from restorer.evaluation import identity, landmarks, lpips
from restorer.evaluation.metric import Unavailable
from restorer.faces import Face
from restorer.pipeline.identity import Identity
from tests.evaluation.conftest import MakeTools, blurred
from tests.fakes import FakeEngine, face_at

torch = pytest.importorskip("torch")


def vgg16(path: Path) -> Path:
    """Write the trunk of a random VGG-16 as torchvision would, without the layers that no one asks for."""
    from torchvision.models import vgg16 as build

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        state = build(weights=None).features.state_dict()
    # He's deviation keeps the signal's size from layer to layer.
    spreads = {key: (2 / max(1, value[0].numel())) ** 0.5 for key, value in state.items()}
    values = {key: torch.randn(value.shape, generator=generator) * spreads[key] for key, value in state.items()}
    torch.save({f"features.{key}": value.half() for key, value in values.items()}, path)
    return path


def test_lpips_with_a_random_trunk(tools: MakeTools, tmp_path: Path, face: NDArray[Any], noisy: NDArray[Any]) -> None:
    pytest.importorskip("lpips")
    judge = lpips.open_lpips(tools(vgg16=vgg16(tmp_path / "vgg16.pth")))
    face, noisy = face[64:192, 64:192], noisy[64:192, 64:192]
    pictures, truths = [face, noisy, noisy[:64, :96], blurred(face, 2)], [face, face, face[:64, :96], face]
    together = judge(pictures, truths)
    assert together[0] == 0 and min(together[1:]) > 0
    assert judge(truths, pictures) == pytest.approx(together, rel=1e-5, abs=1e-7)
    single = [judge([p], [t])[0] for p, t in zip(pictures, truths, strict=True)]
    assert together == pytest.approx(single, rel=1e-4, abs=1e-7)


def test_lpips_refuses_another_file(tools: MakeTools, tmp_path: Path) -> None:
    pytest.importorskip("lpips")
    torch.save({"features.0.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no VGG-16"):
        lpips.open_lpips(tools(vgg16=tmp_path / "other.pth"))


def test_absent_weights_are_named(tools: MakeTools) -> None:
    pytest.importorskip("lpips")
    with pytest.raises(Unavailable, match="vgg16 is not on disk and --offline"):
        lpips.open_lpips(tools(vgg16=Path("absent.pth")))
    with pytest.raises(Unavailable, match="arcface is not on disk and --offline"):
        identity.open_identity(tools(arcface=Path("absent.pth")))


def colours(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network that knows people by their mean colour."""
    return batch.mean(axis=(2, 3)).astype(np.float32) + np.float32(1.5)


def people() -> Identity:
    contract = NetworkContract("fake", "identity", mean=(127.5,) * 3, scale=1 / 127.5, input_size=112)
    return Identity(FakeEngine(colours, contract))


def test_identity_angles(face: NDArray[Any], noisy: NDArray[Any]) -> None:
    judge = identity.judge_of(people())
    red, blue = (np.zeros((128, 128, 3), np.uint8) for _ in range(2))
    red[..., 0] = blue[..., 2] = 255
    a, b = np.array([2.5, 0.5, 0.5]), np.array([0.5, 0.5, 2.5])
    expected = np.degrees(np.arccos(a @ b / (a @ a)))
    values = judge([face, red, noisy, face[:100]], [face, blue, face, face[:100]])
    assert values[0] == 0 and values[1] == pytest.approx(expected, abs=1e-4)
    assert values[3] is None  # not square: no aligned crop
    assert judge([face, blue, noisy], [face, red, face]) == pytest.approx(values[:3], abs=1e-5)
    assert judge([face, noisy], [noisy, face])[0] == pytest.approx(values[2], abs=1e-5)


def test_landmark_distance(face: NDArray[Any], noisy: NDArray[Any]) -> None:
    seen: list[int] = []

    def find(pixels: NDArray[Any]) -> list[Face]:
        seen.append(len(seen))
        if pixels.max() == 0:
            return []
        shift = 0 if np.array_equal(pixels, face) else 3
        return [face_at(40, 40, 20), face_at(128 + shift, 128 + shift * 4 / 3, 100)]

    judge = landmarks.judge_of(find)
    assert judge([face, noisy], [face, face]) == [0, pytest.approx(5)]
    assert len(seen) == 3  # the truth's points are found once
    assert judge([np.zeros_like(face)], [face]) == [None]
    assert judge([face], [np.zeros_like(face)]) == [None]


def test_landmarks_by_the_bundled_detector(tools: MakeTools, face: NDArray[Any]) -> None:
    """A shifted picture's points move by the shift."""
    from dataclasses import replace

    from restorer.weights import WeightStore

    at_hand = replace(tools(), store=WeightStore(offline=True), detector="detector-lite")
    moved = np.roll(face, (4, 3), axis=(0, 1))
    same, shifted = landmarks.open_landmarks(at_hand)([face, moved], [face, face])
    assert same == 0 and shifted == pytest.approx(5, abs=2)
