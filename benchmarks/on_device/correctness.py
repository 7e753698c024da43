"""What must hold on a device: the processor's numbers, no spoilt picture, the same every time, short memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from on_device.pictures import aligned, crops, portrait
from restorer import runtime
from restorer.api import Restorer
from restorer.checkpoints import Checkpoint
from restorer.contract import NetworkContract
from restorer.options import RestoreOptions
from restorer.photo import Metadata, Photo
from restorer.pipeline.networks import OpenedNetworks
from restorer.pipeline.restore import FaceRestorer
from restorer.pipeline.upsample import upsample_background
from restorer.runtime import memory
from restorer.runtime.device import computes_bf16
from restorer.runtime.torch_engine import TorchEngine
from restorer.weights import Weights, WeightStore

LEAST_DB = 45.0
Rounded = NDArray[np.int16]


@dataclass(frozen=True)
class Check:
    """Something that must hold, and whether it did."""

    name: str
    said: str
    held: bool | None
    """None: it could not be looked at here."""


def lite() -> Weights:
    """Return the bundled face network."""
    return WeightStore(offline=True).get("lite")


def open_torch(weights: Weights, device: str, precision: str) -> TorchEngine:
    """Open a network in torch."""
    engine = runtime.open_engine(weights, device=device, precision=precision, backend="torch")
    assert isinstance(engine, TorchEngine)
    return engine


def results(engine: TorchEngine, count: int, batch: int) -> tuple[NDArray[np.float32], list[str]]:
    """Return restored faces, count×512×512×3, and what was mended on the way."""
    restorer = FaceRestorer(engine, batch=batch)
    pictures = np.stack([face.pixels for face in restorer(aligned(crops(count, restorer.size)))])
    return pictures, [*restorer.notices, *engine.warnings]


def levels(pictures: NDArray[Any]) -> Rounded:
    """Round to the levels of an 8-bit picture."""
    rounded: Rounded = np.clip(np.rint(pictures), 0, 255).astype(np.int16)
    return rounded


def psnr(a: Rounded, b: Rounded) -> float:
    """Return the ratio of the range to the mean error, in dB."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def all_checks(device: str, face_model: Weights, count: int) -> Iterator[Check]:
    """Look at one thing after the other."""
    plain, _ = results(open_torch(lite(), "cpu", "fp32"), count, 1)
    engine = open_torch(lite(), device, "fp32")
    exact, _ = results(engine, count, 8)
    apart = np.abs(levels(exact) - levels(plain))
    yield Check("bundled network, fp32, against the processor", f"at most {apart.max()} levels", apart.max() <= 1)
    yield _same_again("fp32", engine, count)
    if computes_bf16(device):
        quick = open_torch(lite(), device, "bf16")
        found, notices = results(quick, count, 8)
        decibels = psnr(levels(found), levels(exact))
        worst = min(psnr(a, b) for a, b in zip(levels(found), levels(exact), strict=True))
        said = f"PSNR {decibels:.1f} dB, the worst face {worst:.1f} dB"
        yield Check("bundled network, bf16, against fp32", said, decibels >= LEAST_DB)
        yield Check("faces spoilt in bf16 (NaN, one colour)", "; ".join(notices) or "none", not notices)
        yield _same_again("bf16", quick, count)
    else:
        yield Check("bundled network, bf16, against fp32", f"{device} does not compute in bf16", None)
    yield _whole_photograph(device)
    yield _short_of_memory_for_faces(device, face_model)
    yield _short_of_memory_for_a_tile(device)


def _same_again(precision: str, engine: TorchEngine, count: int) -> Check:
    repeats = 5 if engine.device.startswith("cuda") else 1  # CUDA graphs take over after three
    runs = [results(engine, count, 8)[0] for _ in range(repeats)]
    again, _ = results(open_torch(lite(), engine.device, precision), count, 8)
    same = all(np.array_equal(again, one) for one in runs)
    return Check(f"the same from run to run, {precision}", "bit for bit" if same else "they differ", same)


def _whole_photograph(device: str) -> Check:
    found = []
    for where in (device, "cpu"):
        options = RestoreOptions(model="lite", device=where, precision="fp32", offline=True)
        networks = OpenedNetworks(options, detector="detector-lite")
        photo = Photo(portrait(), None, False, "PNG", Metadata())
        found.append(Restorer(options, engines=networks).restore(photo))
    apart = np.abs(found[0].photo.pixels.astype(int) - found[1].photo.pixels.astype(int))
    faces = found[0].report.restored_faces
    said = f"{faces} face(s), at most {apart.max()} levels apart, {np.mean(apart > 1):.2e} of the values more than one"
    return Check("a whole photograph, fp32, against the processor", said, apart.max() <= 1 and faces == 1)


@contextmanager
def _little_memory(device: str, room: float) -> Iterator[None]:
    """Leave so many bytes of a GPU's memory beside what this process has taken."""
    torch.cuda.empty_cache()
    number = torch.device(device).index or 0
    total = torch.cuda.get_device_properties(number).total_memory
    torch.cuda.set_per_process_memory_fraction(min((torch.cuda.memory_reserved(number) + room) / total, 1.0), number)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, number)
        torch.cuda.empty_cache()


class Simulated(nn.Module):
    """A network that runs out of memory above so many pixels, with torch's own error: for devices without a limit."""

    def __init__(self, inner: nn.Module, pixels: float) -> None:
        super().__init__()
        self.inner, self.pixels = inner, pixels

    def forward(self, images: Tensor) -> Any:  # noqa: ANN401 - a network's outputs
        """Run the network, or fail."""
        if len(images) * images.shape[2] * images.shape[3] > self.pixels:
            raise torch.OutOfMemoryError("out of memory (simulated)")
        return self.inner(images)


def _short_of_memory_for_faces(device: str, face_model: Weights) -> Check:
    engine = open_torch(face_model, device, "fp32")
    side = engine.contract.input_size or 512
    expected, _ = results(engine, 4, 1)
    if device.startswith("cuda"):
        empty = torch.zeros(1, 3, side, side, device=device)
        each = memory.peak_bytes(lambda: engine._forward(empty), device)  # without a graph, which has its memory
        with _little_memory(device, 2.5 * each):
            found, notices = results(engine, 4, 16)
    else:
        engine.device, engine._most = "a small device", None  # a processor would run faces one by one in any case
        engine._module = Simulated(engine._module, 2.5 * side * side)
        found, notices = results(engine, 4, 16)
    halved = [notice for notice in notices if "going on with" in notice]
    apart = int(np.abs(levels(found) - levels(expected)).max())
    how = "" if device.startswith("cuda") else " (simulated)"
    said = f"{len(halved)} halvings, then finished, at most {apart} levels apart{how}"
    return Check("memory too small for 16 faces", said, bool(halved) and apart <= 1)


class Wide(nn.Module):
    """A network that enlarges by two and takes 100 MB for each megapixel on its way."""

    def forward(self, images: Tensor) -> Tensor:
        """Repeat every pixel, a tenth darker."""
        wide = images[:, :1].expand(-1, 25, -1, -1) * 1.0
        return (images * 0.9 + 0 * wide.sum(1, keepdim=True)).repeat_interleave(2, 2).repeat_interleave(2, 3)


def _short_of_memory_for_a_tile(device: str) -> Check:
    side = 3000 if device.startswith("cuda") else 300
    contract = NetworkContract("wide", "upsampler", scale=1 / 255, upscale=2)
    module: nn.Module = Wide()
    if not device.startswith("cuda"):
        module = Simulated(module, side * side / 2)
    engine = TorchEngine(Checkpoint(module.eval(), contract), device=device, precision="fp32")
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    work: Callable[[], Any] = lambda: upsample_background(pixels, 2 * side, 2 * side, engine, tile=0)  # noqa: E731
    if device.startswith("cuda"):
        with _little_memory(device, 6e8):
            result = work()
    else:
        result = work()
    apart = float(np.abs(result.pixels[::2, ::2] - pixels * 0.9).max())
    said = "; ".join(result.warnings) or "it was not too small"
    return Check("memory too small for a background tile", said, bool(result.warnings) and apart <= 1)


def weights_of(path: Path) -> Weights:
    """Return a file as the pipeline names it."""
    return WeightStore(offline=True).face_model(str(path))
