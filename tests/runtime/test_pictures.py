"""Pictures through an engine: the numbers of ``network_values``, groups of one size, memory that runs out."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restorer.checkpoints import Checkpoint
from restorer.contract import NetworkContract
from restorer.errors import DeviceError, OutOfMemoryError
from restorer.network_values import from_network, to_network
from restorer.runtime import memory
from restorer.runtime.arithmetic import arithmetic
from restorer.runtime.engine import PictureEngine
from restorer.runtime.graphs import Graphs
from restorer.runtime.torch_engine import TorchEngine
from tests.fakes import FakeEngine
from tests.networks_at_hand import compact, small_gfpgan

FACE = NetworkContract("plain", "face", mean=(127.5,) * 3, scale=1 / 127.5)
IMAGENET = NetworkContract(
    "bgr", "face", colour_order="bgr", scale=1 / 255, mean=(0.0, 10.0, 20.0), std=(0.1, 0.2, 0.4)
)


def engine_of(module: nn.Module, contract: NetworkContract = FACE, *, like_a_gpu: bool = True) -> TorchEngine:
    engine = TorchEngine(Checkpoint(module.eval(), contract), device="cpu", precision="fp32")
    if like_a_gpu:
        engine._most = None  # the whole group at once
    return engine


def pictures_of(rng: np.random.Generator, count: int, side: int = 64) -> list[np.ndarray]:
    return [rng.uniform(0, 255, (side, side, 3)).astype(np.float32) for _ in range(count)]


class Counting(nn.Module):
    """Turns the picture a little darker; runs out of memory above a number of samples."""

    def __init__(self, most: int = 99) -> None:
        super().__init__()
        self.most, self.seen = most, []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return images * 0.5


@pytest.mark.usefixtures("torch_rng")
@pytest.mark.parametrize("contract", [FACE, IMAGENET], ids=["rgb", "bgr"])
def test_the_same_numbers_as_on_the_way_through_arrays(rng: np.random.Generator, contract: NetworkContract) -> None:
    engine = engine_of(small_gfpgan(), contract, like_a_gpu=False)
    pictures = pictures_of(rng, 3)
    through_arrays = from_network(engine(to_network(np.stack(pictures), contract))[0], contract)
    through_device = np.concatenate([*engine.pictures(pictures, at_once=2)])
    assert np.array_equal(through_device, through_arrays)


@pytest.mark.usefixtures("torch_rng")
def test_an_enlarging_network(rng: np.random.Generator) -> None:
    contract = NetworkContract("compact", "upsampler", scale=1 / 255, upscale=4)
    engine = engine_of(compact(4), contract)
    (picture,) = pictures_of(rng, 1, 16)
    (result,) = engine.pictures([picture], 1)
    assert result.shape == (1, 64, 64, 3)
    assert np.array_equal(result, from_network(engine(to_network(picture[None], contract))[0], contract))


def test_every_group_has_the_same_size(rng: np.random.Generator) -> None:
    module = Counting()
    pictures = pictures_of(rng, 5, 4)
    groups = [*engine_of(module).pictures(pictures, at_once=4)]
    assert module.seen == [4, 4]  # a picture's result does not depend on how many came with it
    assert [len(group) for group in groups] == [4, 1]
    assert np.allclose(np.concatenate(groups), (np.stack(pictures) - 127.5) / 2 + 127.5, atol=1e-3)


def test_a_group_too_large_is_halved(rng: np.random.Generator) -> None:
    module = Counting(most=2)
    engine = engine_of(module)
    pictures = pictures_of(rng, 5, 4)
    result = np.concatenate([*engine.pictures(pictures, at_once=8)])
    assert np.allclose(result, (np.stack(pictures) - 127.5) / 2 + 127.5, atol=1e-3)
    assert module.seen == [8, 4, 2, 2, 2]
    assert len(engine.warnings) == 2
    assert "did not suffice for 8 images at once in plain; going on with 4" in engine.warnings[0]
    assert len([*engine.pictures(pictures, at_once=8)]) == 3  # it remembers
    assert len(engine.warnings) == 2


def test_memory_that_does_not_suffice_for_one_picture(rng: np.random.Generator) -> None:
    with pytest.raises(OutOfMemoryError, match="one image of 6×4 pixels"):
        list(engine_of(Counting(most=0)).pictures([np.zeros((4, 6, 3), np.float32)], at_once=2))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
        "MPS backend out of memory (allocated 9 GB)",
    ],
)
def test_libraries_have_words_of_their_own_for_short_memory(words: str) -> None:
    class Short(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 1:
                raise RuntimeError(words)
            return images

    engine = engine_of(Short())
    assert len([*engine.pictures([np.zeros((4, 4, 3), np.float32)] * 4, at_once=4)]) == 4
    assert engine._most == 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_no_finite_number_becomes_a_colour(value: float) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.where(images > 0, value, images)

    picture = np.zeros((4, 4, 3), np.float32)
    picture[1, 2, 0] = 255
    (result,) = engine_of(Broken()).pictures([picture], 1)
    assert np.isnan(result[0, 1, 2, 0])
    assert np.isfinite(result).sum() == result.size - 1


def test_a_failure_names_the_device_and_its_reason() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    with pytest.raises(DeviceError, match=r"plain failed on cpu \(CUDA error: an illegal memory access was enc"):
        list(engine_of(Broken()).pictures([np.zeros((4, 4, 3), np.float32)], 1))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemoryError, "memory of cpu does not suffice for plain"),
        (RuntimeError("CUDA error: device lost"), DeviceError, r"plain failed on cpu \(CUDA error: device lost\)"),
    ],
)
def test_a_device_that_takes_no_network(error: RuntimeError, kind: type[Exception], said: str) -> None:
    class Homeless(nn.Module):
        def to(self, *args: Any, **keywords: Any) -> Any:
            raise error

    with pytest.raises(kind, match=said):
        engine_of(Homeless())


def test_pictures_that_do_not_fit_the_contract() -> None:
    with pytest.raises(ValueError, match="multiples of 2"):
        list(engine_of(Counting(), NetworkContract("x", "face", size_multiple=2)).pictures([np.zeros((3, 4, 3))], 1))


def test_who_can_take_pictures() -> None:
    assert isinstance(engine_of(Counting()), PictureEngine)
    assert not isinstance(FakeEngine(), PictureEngine)


# ---- how many at once


@pytest.mark.parametrize(
    ("free", "each", "most", "expected"),
    [(80e9, 1e9, 8, 8), (80e9, 1e9, 32, 32), (6e9, 1e9, 8, 4), (2e9, 1e9, 8, 1), (0, 1e9, 8, 1), (1e9, 0, 8, 8)],
)
def test_a_batch_by_free_memory(free: float, each: float, most: int, expected: int) -> None:
    assert memory.batch_for(int(free), int(each), most) == expected


@pytest.mark.parametrize(("processors", "faces"), [(132, 8), (84, 8), (46, 4), (28, 2), (14, 1)])
def test_a_batch_by_the_chips_size(processors: int, faces: int) -> None:
    assert memory.worth_while(processors) == faces


def on_fake_cuda(monkeypatch: pytest.MonkeyPatch, engine: TorchEngine, *, free: float, each: float, chip: int) -> None:
    engine._on_cuda = True
    monkeypatch.setattr(TorchEngine, "_current", lambda self: threading.Lock())
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(free))
    monkeypatch.setattr(memory, "multiprocessors", lambda device: chip)
    monkeypatch.setattr(memory, "peak_bytes", lambda run, device: (run(), int(each))[1])


@pytest.mark.parametrize(
    ("free", "chip", "kind", "expected"),
    [(80e9, 132, "face", 8), (4e9, 132, "face", 2), (80e9, 46, "face", 4), (80e9, 46, "detector", 16)],
)
def test_room_on_a_gpu(monkeypatch: pytest.MonkeyPatch, free: float, chip: int, kind: Any, expected: int) -> None:
    module = Counting()
    engine = engine_of(module, NetworkContract("x", kind))
    on_fake_cuda(monkeypatch, engine, free=free, each=1e9, chip=chip)
    assert engine.room(64, 16) == expected
    assert module.seen == [1]  # what one takes is tried, not guessed


def test_room_is_not_measured_through_a_graph(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """A replay takes no memory of its own: measured so, any number of faces would seem to fit."""
    module = Counting()
    engine = engine_of(module, NetworkContract("x", "face"))
    replayed = []

    def capture(run: Any, images: torch.Tensor) -> Any:
        return lambda fresh: (replayed.append(len(fresh)), run(fresh))[1]

    engine._graphs = Graphs(engine._forward, capture, after=1)
    list(engine.pictures(pictures_of(rng, 1), 1))
    replayed.clear()
    on_fake_cuda(monkeypatch, engine, free=80e9, each=1e9, chip=132)
    assert engine.room(64, 16) == 8
    assert replayed == [] and module.seen[-1] == 1


def test_room_where_not_even_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(Counting(most=0))
    on_fake_cuda(monkeypatch, engine, free=8e9, each=1e9, chip=132)
    assert engine.room(64, 16) == 1


def test_room_on_a_processor_and_on_mps() -> None:
    engine = engine_of(Counting())
    assert engine.room(64, 16) == 1
    engine.device = "mps"
    assert engine.room(64, 16) == 1


# ---- torch's switches


def switches() -> tuple[bool, bool, str]:
    return (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
        torch.get_float32_matmul_precision(),
    )


def test_float32_is_float32_inside_and_the_callers_choice_outside() -> None:
    before = switches()
    try:
        torch.set_float32_matmul_precision("high")  # as some images set it for everybody
        chosen = switches()
        with arithmetic("cuda:0", "fp32"):
            assert switches() == (False, True, "highest")
            with arithmetic("cuda:1", "fp32"):
                assert switches() == (False, True, "highest")
            assert switches() == (False, True, "highest")
        assert switches() == chosen
    finally:
        torch.set_float32_matmul_precision(before[2])


def test_a_thread_that_leaves_does_not_switch_tf32_on_for_another() -> None:
    before = switches()
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with arithmetic("cuda:0", "fp32"):
            inside.set()
            go_on.wait()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with arithmetic("cuda:1", "fp32"):
        go_on.set()
        thread.join()
        assert switches() == (False, True, "highest")
    assert switches() == before


def test_threads_may_share_an_engine(rng: np.random.Generator) -> None:
    engine = engine_of(Counting())
    batches = [rng.uniform(-1, 1, (2, 3, 8, 8)).astype(np.float32) for _ in range(8)]
    results: list[Any] = [None] * len(batches)

    def work(number: int) -> None:
        for _ in range(20):
            results[number] = engine(batches[number])[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(batches))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for batch, result in zip(batches, results, strict=True):
        assert np.array_equal(result, batch * np.float32(0.5))
