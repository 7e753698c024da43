"""Pictures, and stores whose weights are random networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from restorer.evaluation.metric import Tools
from restorer.weights import WeightFile, WeightStore

MakeTools = Callable[..., Tools]


def row(name: str, file: str) -> WeightFile:
    address = (f"https://example.invalid/{file}",)
    return WeightFile(name, file, "metric", name, address, None, None, "nobody", "MIT", "this test")


@pytest.fixture
def tools(tmp_path: Path) -> MakeTools:
    """Return what metrics need, with the given files as weights; without files nothing is at hand."""

    def make(**files: Path) -> Tools:
        folder = tmp_path / "weights"
        folder.mkdir(exist_ok=True)
        table = {name: row(name, path.name) for name, path in files.items()}
        for path in files.values():
            if path.exists():
                path.rename(folder / path.name)
        return Tools(WeightStore(weights_dir=folder, offline=True, table=table), device="cpu", offline=True)

    return make


@pytest.fixture
def face() -> NDArray[Any]:
    """Return a real face, 256×256."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[:256, 96:352])


@pytest.fixture
def noisy(face: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return the face with noise of 10 levels."""
    return np.clip(np.rint(face + rng.normal(0, 10, face.shape)), 0, 255).astype(np.uint8)


def blurred(picture: NDArray[Any], sigma: float) -> NDArray[Any]:
    import cv2

    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma))
