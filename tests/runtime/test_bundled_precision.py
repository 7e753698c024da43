"""The bundled face network in fp32 and bf16, on the processor through torch as a GPU runs it, and on a GPU itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from restorer.checkpoints import load_checkpoint
from restorer.faces import AlignedFace
from restorer.pipeline.restore import FaceRestorer
from restorer.runtime.device import computes_bf16
from restorer.runtime.torch_engine import TorchEngine, open_torch_engine
from restorer.weights import bundled_folder
from tests.fakes import face_at

DEMO = Path(__file__).parents[2] / ".github" / "demo.jpg"
LITE = bundled_folder() / "lite.safetensors"
LEAST_DB = 45.0
GPU = "cuda"


@pytest.fixture(scope="module")
def crops() -> NDArray[np.float32]:
    """Return NASA's portrait as it is, and dark and blurred."""
    with Image.open(DEMO) as demo:
        face = demo.crop((110, 40, 470, 400)).resize((512, 512))
    return np.stack([face, Image.eval(face.filter(ImageFilter.GaussianBlur(4)), lambda value: value // 4)]).astype("f4")


def restored(engine: TorchEngine, crops: NDArray[np.float32]) -> NDArray[Any]:
    """Return the levels of 8-bit pictures; nothing was spoilt or mended on the way."""
    restorer = FaceRestorer(engine, batch=2)
    faces = restorer([AlignedFace(face_at(50, 50, 40), crop, np.eye(2, 3)) for crop in crops])
    assert restorer.notices == [] and engine.warnings == []
    return np.stack([np.clip(np.rint(face.pixels), 0, 255) for face in faces])


def decibels(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


def test_bf16_is_within_45_db_of_fp32(crops: NDArray[np.float32]) -> None:
    exact, quick = (
        restored(TorchEngine(load_checkpoint(LITE), device="cpu", precision=precision), crops)
        for precision in ("fp32", "bf16")
    )
    for one, other, crop in zip(exact, quick, crops, strict=True):
        assert not np.array_equal(one, other)  # it was computed in bf16
        assert decibels(one, other) >= LEAST_DB
        assert np.abs(one - crop).mean() > 1  # and it restored


@pytest.mark.gpu
def test_a_gpu_gives_the_processors_picture(crops: NDArray[np.float32]) -> None:
    plain = restored(open_torch_engine(load_checkpoint(LITE), device="cpu", precision="fp32"), crops)
    exact = restored(open_torch_engine(load_checkpoint(LITE), device=GPU, precision="fp32"), crops)
    assert np.abs(exact - plain).max() <= 1
    if computes_bf16(GPU):
        quick = restored(open_torch_engine(load_checkpoint(LITE), device=GPU, precision="bf16"), crops)
        assert decibels(quick, exact) >= LEAST_DB


@pytest.mark.gpu
def test_a_gpu_gives_the_same_again_and_from_a_graph(crops: NDArray[np.float32]) -> None:
    engine = open_torch_engine(load_checkpoint(LITE), device=GPU, precision="auto")
    first = restored(engine, crops)
    for _ in range(4):
        assert np.array_equal(restored(engine, crops), first)
    assert engine._graphs is not None and engine._graphs._replays  # it was recorded, and nothing spoke against it
    again = open_torch_engine(load_checkpoint(LITE), device=GPU, precision="auto")
    assert np.array_equal(restored(again, crops), first)
