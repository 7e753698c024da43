"""OpenVINO gives torch's numbers, each sample runs for itself, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from restorer.checkpoints import Checkpoint, save_checkpoint
from restorer.contract import NetworkContract
from restorer.errors import DeviceError, OutOfMemoryError, UsageError, WeightsError
from restorer.pipeline.detect import Detector
from restorer.runtime import Engine, device, open, open_engine
from restorer.runtime.torch_engine import TorchEngine
from restorer.weights import WeightStore
from tests.networks_at_hand import bisenet, compact, retinaface, rrdb, small_gfpgan, weights_of

pytestmark = pytest.mark.usefixtures("torch_rng")

SQUARE, WIDE = (64, 64), (64, 96)


def opened(folder: Path, module: nn.Module, backend: str, precision: str = "fp32", device: str = "cpu") -> Engine:
    path = folder / "network.safetensors"
    if not path.exists():
        save_checkpoint(path, module)
    return open_engine(weights_of(path), device=device, precision=precision, backend=backend)  # type: ignore[arg-type]


def batch_of(rng: np.random.Generator, count: int, sides: tuple[int, int]) -> np.ndarray:
    return rng.uniform(-1, 1, (count, 3, *sides)).astype(np.float32)


def assert_close(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...], share: float) -> None:
    """Compare within a share of each output's range."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype == np.float32
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= share * np.ptp(b)


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (small_gfpgan, [SQUARE]),
        (retinaface, [SQUARE, WIDE]),
        (compact, [SQUARE, WIDE]),
        (rrdb, [SQUARE, WIDE]),
        (lambda: rrdb(4, shuffle_factor=2), [SQUARE, (66, 98)]),
        pytest.param(bisenet, [(512, 512)], marks=pytest.mark.slow),
        pytest.param(lambda: retinaface("resnet50"), [SQUARE, WIDE], marks=pytest.mark.slow),
    ],
    ids=["gfpgan", "detector", "compact", "rrdb", "rrdb-folded", "bisenet", "resnet50"],
)
def test_openvino_gives_torchs_numbers(tmp_path: Path, rng: np.random.Generator, make: object, sizes: list) -> None:
    module = make()
    fast, plain = opened(tmp_path, module, "openvino"), opened(tmp_path, module, "torch")
    assert fast.contract == plain.contract
    for sides in sizes:
        batch = batch_of(rng, 1, sides)
        with torch.inference_mode():
            direct = module(torch.from_numpy(batch))
        direct = direct if isinstance(direct, tuple) else (direct,)
        several = tuple(output.numpy() for output in direct)[: 1 if plain.contract.kind == "parser" else None]
        assert_close(plain(batch), several, 1e-4)
        assert_close(fast(batch), several, 1e-3)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_a_batch_is_its_samples_to_the_bit(tmp_path: Path, rng: np.random.Generator, backend: str) -> None:
    engine = opened(tmp_path, small_gfpgan(), backend)
    batch = batch_of(rng, 3, SQUARE)
    (together,) = engine(batch)
    assert together.shape == (3, 3, 64, 64)
    for index in range(3):
        assert np.array_equal(together[index], engine(batch[index : index + 1])[0][0])
    assert np.array_equal(together, engine(batch)[0])  # and again


def test_the_number_of_threads_changes_no_face_found(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, module = batch_of(rng, 1, WIDE), retinaface()
    results = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(opened(tmp_path, module, "openvino")(batch))
    for other in results[1:]:
        for ours, first in zip(other, results[0], strict=True):
            assert np.array_equal(ours, first)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_results_are_the_callers_own(tmp_path: Path, rng: np.random.Generator, backend: str) -> None:
    engine = opened(tmp_path, small_gfpgan(), backend)
    batch = batch_of(rng, 2, SQUARE)
    kept = batch.copy()
    (first,) = engine(batch[:1])
    before = first.copy()
    engine(batch[1:])
    assert np.array_equal(first, before)
    assert np.array_equal(batch, kept)
    first += 1  # writable


def test_any_memory_layout_is_read_right(tmp_path: Path, rng: np.random.Generator) -> None:
    engine = opened(tmp_path, small_gfpgan(), "openvino")
    batch = batch_of(rng, 1, SQUARE)
    turned = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(engine(turned)[0], engine(batch)[0])


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_bf16_is_near_fp32(tmp_path: Path, rng: np.random.Generator, backend: str) -> None:
    if not device.computes_bf16("cpu"):
        pytest.skip("this processor does not compute in bf16")
    module = small_gfpgan()
    exact, quick = (opened(tmp_path, module, backend, precision) for precision in ("fp32", "auto"))
    assert (exact.precision, quick.precision) == ("fp32", "bf16")
    batch = batch_of(rng, 1, SQUARE)
    assert_close(quick(batch), exact(batch), 0.05)  # bf16 has 8 bits; some thirty layers in a row
    assert not np.array_equal(quick(batch)[0], exact(batch)[0])


@pytest.mark.slow
def test_the_parser_stays_in_fp32(tmp_path: Path) -> None:
    assert opened(tmp_path, bisenet(), "openvino", "auto").precision == "fp32"


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_the_detector_sees_the_same_face_in_bf16(backend: str) -> None:
    if not device.computes_bf16("cpu"):
        pytest.skip("this processor does not compute in bf16")
    weights = WeightStore(offline=True).detector("detector-lite")
    pixels = data.astronaut()
    engines = [open_engine(weights, device="cpu", precision=kind, backend=backend) for kind in ("fp32", "bf16")]  # type: ignore[arg-type]
    assert [engine.precision for engine in engines] == ["fp32", "bf16"]
    ((exact,), (quick,)) = (Detector(engine, 0.9)(pixels) for engine in engines)
    eyes = float(np.linalg.norm(exact.landmarks[1] - exact.landmarks[0]))
    assert np.abs(quick.landmarks - exact.landmarks).max() < 0.05 * eyes
    assert abs(quick.score - exact.score) < 0.01


def test_description(tmp_path: Path) -> None:
    module = compact()
    assert opened(tmp_path, module, "openvino").describe() == "openvino, cpu, fp32"
    assert opened(tmp_path, module, "torch").describe() == "torch, cpu, fp32"


@pytest.mark.parametrize("shape", [(1, 3, 64, 32), (1, 1, 64, 64), (3, 64, 64), (0, 3, 64, 64)])
@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_a_batch_that_does_not_fit(tmp_path: Path, backend: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="gfpgan takes"):
        opened(tmp_path, small_gfpgan(), backend)(np.zeros(shape, np.float32))


def test_a_side_that_is_no_multiple(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiples of 2"):
        opened(tmp_path, rrdb(4, shuffle_factor=2), "torch")(np.zeros((1, 3, 33, 64), np.float32))


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "photo.pth"
    path.write_bytes(b"no weights")
    for backend in ("openvino", "torch"):
        with pytest.raises(WeightsError, match="neither"):
            open_engine(weights_of(path), device="cpu", backend=backend)  # type: ignore[arg-type]


# ---- the choice of library


def test_the_environment_chooses_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "network.safetensors", compact())
    weights = weights_of(tmp_path / "network.safetensors")
    assert open_engine(weights, device="cpu").backend == "openvino"
    monkeypatch.setenv(open.BACKEND_VARIABLE, "torch")
    assert open_engine(weights, device="cpu").backend == "torch"
    assert open_engine(weights, device="cpu", backend="openvino").backend == "openvino"
    monkeypatch.setenv(open.BACKEND_VARIABLE, "tensorflow")
    with pytest.raises(UsageError, match="tensorflow is unknown"):
        open_engine(weights, device="cpu")


def test_without_openvino_torch_runs_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open, "openvino_at_hand", lambda: False)
    save_checkpoint(tmp_path / "network.safetensors", compact())
    weights = weights_of(tmp_path / "network.safetensors")
    assert open_engine(weights, device="cpu").backend == "torch"
    with pytest.raises(DeviceError, match="not installed"):
        open_engine(weights, device="cpu", backend="openvino")


def test_openvino_is_for_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(open, "pick_device", lambda name: "cuda")
    save_checkpoint(tmp_path / "network.safetensors", compact())
    with pytest.raises(DeviceError, match="not on cuda"):
        open_engine(weights_of(tmp_path / "network.safetensors"), backend="openvino")


# ---- memory


class Greedy(nn.Module):
    """Doubles its input; runs out of memory above a number of samples."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.most, self.error, self.seen = most, error, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        if len(images) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2 GiB")
        return images * 2


def greedy_engine(module: Greedy) -> TorchEngine:
    engine = TorchEngine(Checkpoint(module, NetworkContract("greedy", "face")), device="cpu", precision="fp32")
    engine._most = None  # as on a GPU: the whole batch at once
    return engine


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_too_large_is_halved(rng: np.random.Generator, error: type[Exception]) -> None:
    module = Greedy(2, error)
    engine = greedy_engine(module)
    batch = batch_of(rng, 9, (4, 4))
    assert np.array_equal(engine(batch)[0], batch * 2)
    assert module.seen == [9, 4, 2, 2, 2, 2, 1]
    assert len(engine.warnings) == 2
    assert "did not suffice for 9 images" in engine.warnings[0]
    engine(batch[:3])
    assert module.seen[7:] == [2, 1]  # it remembers
    assert len(engine.warnings) == 2


def test_memory_that_does_not_suffice_for_one() -> None:
    engine = greedy_engine(Greedy(0))
    with pytest.raises(OutOfMemoryError, match="one image of 6×4 pixels"):
        engine(np.zeros((4, 3, 4, 6), np.float32))


def test_another_failure_is_no_lack_of_memory() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("illegal instruction")

    engine = TorchEngine(Checkpoint(Broken(), NetworkContract("broken", "face")), device="cpu", precision="fp32")
    with pytest.raises(DeviceError, match="broken failed on cpu") as caught:
        engine(np.zeros((1, 3, 4, 4), np.float32))
    assert not isinstance(caught.value, OutOfMemoryError)


@pytest.mark.gpu
@pytest.mark.parametrize("make", [small_gfpgan, retinaface, rrdb])
def test_cuda_gives_the_processors_numbers(tmp_path: Path, rng: np.random.Generator, make: object) -> None:
    module = make()
    batch = batch_of(rng, 3, SQUARE)
    plain = opened(tmp_path, module, "torch")
    assert_close(opened(tmp_path, module, "torch", device="cuda")(batch), plain(batch), 1e-3)
    quick = opened(tmp_path, module, "torch", "auto", "cuda")
    assert_close(quick(batch), plain(batch), 0.05)
