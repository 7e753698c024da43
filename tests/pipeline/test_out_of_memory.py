"""Memory that runs out where torch says so: in a batch of faces, of views, in a tile. Halved, finished, and told.

The networks here raise torch's own error, as on a GPU that is too small; the last tests have such a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restorer import runtime
from restorer.api import Restorer
from restorer.checkpoints import Checkpoint
from restorer.contract import NetworkContract
from restorer.errors import OutOfMemoryError
from restorer.faces import AlignedFace
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo
from restorer.pipeline.detect import Detector
from restorer.pipeline.networks import OpenedNetworks
from restorer.pipeline.restore import FaceRestorer
from restorer.report import Status
from restorer.runtime.torch_engine import TorchEngine
from restorer.weights import Weights
from tests.fakes import face_at
from tests.pipeline import drawn_faces

SIDE = 128
FACE = NetworkContract("face", "face", mean=(127.5,) * 3, scale=1 / 127.5, input_size=SIDE)
UPSAMPLER = NetworkContract("upsampler", "upsampler", scale=1 / 255, upscale=2)


class Limited(nn.Module):
    """A network with memory for so many pixels at once."""

    def __init__(self, pixels: float, compute: Any = lambda images: images * 0.9) -> None:
        super().__init__()
        self.pixels, self.compute, self.tried = pixels, compute, []

    def forward(self, images: Tensor) -> Any:
        self.tried.append(tuple(images.shape))
        if len(images) * images.shape[2] * images.shape[3] > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity")
        return self.compute(images)


def engine_of(module: nn.Module, contract: NetworkContract) -> TorchEngine:
    """An engine that takes whole batches, as on a GPU."""
    engine = TorchEngine(Checkpoint(module, contract), device="cpu", precision="fp32")
    engine.device, engine._most = "cuda", None
    return engine


def faces(count: int) -> list[AlignedFace]:
    rng = np.random.default_rng(0)
    crops = rng.uniform(0, 255, (count, SIDE, SIDE, 3)).astype(np.float32)
    return [AlignedFace(face_at(50, 50, 40), crop, np.eye(2, 3)) for crop in crops]


def test_a_batch_of_faces() -> None:
    engine = engine_of(Limited(3 * SIDE * SIDE), FACE)
    results = FaceRestorer(engine, batch=8)(faces(5))
    plain = FaceRestorer(engine_of(Limited(np.inf), FACE), batch=8)(faces(5))
    assert [np.array_equal(a.pixels, b.pixels) for a, b in zip(results, plain, strict=True)] == [True] * 5
    assert [shape[0] for shape in engine._module.tried] == [8, 4, 2, 2, 2]
    assert engine.warnings == [
        f"The memory of cuda did not suffice for {many} images at once in face; going on with {fewer}."
        for many, fewer in ((8, 4), (4, 2))
    ]


def test_not_even_one_face() -> None:
    with pytest.raises(OutOfMemoryError, match="does not suffice for face on one image of 128×128 pixels"):
        FaceRestorer(engine_of(Limited(0), FACE), batch=8)(faces(5))


def drawn(images: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(part) for part in drawn_faces.DrawnFaceEngine()(images.numpy()))


def test_a_batch_of_views() -> None:
    boxes = [(100 + 400 * column, 100 + 500 * row, 30, 40) for column in range(5) for row in range(3)]
    photo = drawn_faces.photo(2200, 1600, boxes)
    engine = engine_of(Limited(2 * 640 * 640, drawn), drawn_faces.DrawnFaceEngine.contract)
    found = Detector(engine, 0.9, batch=32)(photo)
    plain = Detector(drawn_faces.DrawnFaceEngine(), 0.9)(photo)
    assert len(found) == len(boxes)
    assert [face.box for face in found] == [face.box for face in plain]
    assert engine.warnings and "images at once in drawn; going on with" in engine.warnings[0]


class Store:
    """Has every file."""

    def check_face_model(self, model: str) -> None:
        pass

    def face_model(self, model: str) -> Weights:
        return Weights("face", Path("face.pth"), "0" * 64)

    def remembered_face_model(self, model: str) -> None:
        return None

    def detector(self, name: str) -> Weights:
        return Weights("detector", Path("detector.pth"), "0" * 64)

    def parser(self) -> None:
        return None

    def background(self, name: str) -> Weights:
        return Weights("upsampler", Path("upsampler.pth"), "0" * 64)


def test_everything_short_at_once_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "face": Limited(1.5 * SIDE * SIDE),
        "detector": Limited(1.5 * 256 * 256, drawn),
        "upsampler": Limited(100 * 100, lambda images: images.repeat_interleave(2, 2).repeat_interleave(2, 3)),
    }
    contracts = {"face": FACE, "detector": drawn_faces.DrawnFaceEngine.contract, "upsampler": UPSAMPLER}
    monkeypatch.setattr(runtime, "open_engine", lambda w, **_: engine_of(modules[w.name], contracts[w.name]))
    options = RestoreOptions(bg_upsampler="realesrgan", batch=4, restore_sharp=True, restore_drawn=True)
    opened = OpenedNetworks(options, store=Store())  # type: ignore[arg-type]
    pixels = drawn_faces.photo(250, 200, [(30, 30, 40, 60), (150, 40, 50, 60)])
    result = Restorer(options, engines=opened).restore(Photo(pixels, None, False, "PNG", Metadata()))
    assert result.report.status is Status.RESTORED
    assert result.report.restored_faces == 2
    said = " | ".join(result.report.warnings)
    assert "did not suffice for 4 images at once in face; going on with 2" in said
    assert "did not suffice for 2 images at once in face; going on with 1" in said
    assert "did not suffice for 2 images at once in drawn; going on with 1" in said
    assert "Background tiles of 282 pixels did not fit into memory: 141 from here on." in said
    assert "Background tiles of 141 pixels did not fit into memory: 70 from here on." in said


# ---- a GPU


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leave this process 600 MB of the GPU beside what is taken already."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 600e6) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


class Greedy(nn.Module):
    """Takes 100 MB for every megapixel of its input, on the way."""

    def __init__(self, upscale: int = 1) -> None:
        super().__init__()
        self.upscale = upscale

    def forward(self, images: Tensor) -> Tensor:
        wide = images[:, :1].expand(-1, 25, -1, -1) * 1.0
        output = images * 0.9 + 0 * wide.sum(1, keepdim=True)
        return output.repeat_interleave(self.upscale, 2).repeat_interleave(self.upscale, 3)


def on_cuda(module: nn.Module, contract: NetworkContract) -> TorchEngine:
    return TorchEngine(Checkpoint(module, contract), device="cuda", precision="fp32")


@pytest.mark.gpu
@pytest.mark.usefixtures("little_memory")
def test_a_batch_of_faces_on_a_small_gpu() -> None:
    contract = NetworkContract("greedy", "face", mean=(127.5,) * 3, scale=1 / 127.5, input_size=1024)
    rng = np.random.default_rng(0)
    crops = rng.uniform(0, 255, (8, 1024, 1024, 3)).astype(np.float32)
    several = [AlignedFace(face_at(50, 50, 40), crop, np.eye(2, 3)) for crop in crops]
    engine = on_cuda(Greedy(), contract)
    results = FaceRestorer(engine, batch=8)(several)
    assert engine.warnings and "going on with" in engine.warnings[0]
    for face, crop in zip(results, crops, strict=True):
        assert np.abs(face.pixels - ((crop - 127.5) * 0.9 + 127.5)).max() < 1e-2


@pytest.mark.gpu
@pytest.mark.usefixtures("little_memory")
def test_a_tile_on_a_small_gpu() -> None:
    from restorer.pipeline.upsample import upsample_background

    photo = np.random.default_rng(0).integers(0, 255, (3000, 3000, 3), np.uint8)
    result = upsample_background(photo, 6000, 6000, on_cuda(Greedy(2), UPSAMPLER), tile=0)
    assert result.warnings and "did not fit into memory" in result.warnings[0]
    assert np.abs(result.pixels[::2, ::2].astype(int) - photo * 0.9).max() <= 1
