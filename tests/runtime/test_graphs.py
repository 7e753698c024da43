"""Recording a network and replaying it, with a stand-in for CUDA's graphs: the same way through the code, no GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restorer.checkpoints import Checkpoint
from restorer.contract import NetworkContract
from restorer.runtime import torch_engine
from restorer.runtime.graphs import GRAPHS_VARIABLE, Graphs, graphs_wanted
from restorer.runtime.torch_engine import TorchEngine

FACE = NetworkContract("double", "face", mean=(127.5,) * 3, scale=1 / 127.5)


class Recorder:
    """Records as CUDA does: a replay writes into the same memory every time, and reads what lies in the input's."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda output: output) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replayed = 0
        self._change = change

    def __call__(self, run: Any, images: Tensor) -> Any:
        self.recorded.append(tuple(images.shape))
        given = images.clone()
        outputs = tuple(output.clone() for output in run(given))

        def replay(fresh: Tensor) -> tuple[Tensor, ...]:
            self.replayed += 1
            given.copy_(fresh)
            for kept, output in zip(outputs, run(given), strict=True):
                kept.copy_(self._change(output))
            return tuple(output.clone() for output in outputs)

        return replay


class Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, images: Tensor) -> Tensor:
        self.runs += 1
        return images * 2


def double(images: Tensor) -> tuple[Tensor]:
    return (images * 2,)


def test_a_shape_is_recorded_when_it_comes_again() -> None:
    recorder = Recorder()
    graphs = Graphs(double, recorder, after=3)
    for number in range(1, 6):
        images = torch.full((2, 3, 4, 4), float(number))
        assert torch.equal(graphs(images)[0], images * 2)
    assert recorder.recorded == [(2, 3, 4, 4)]
    assert recorder.replayed == 1 + 2  # compared with the third run, then the fourth and the fifth
    graphs(torch.ones(1, 3, 4, 4))
    assert len(recorder.recorded) == 1


def test_results_of_a_replay_are_not_overwritten_by_the_next() -> None:
    graphs = Graphs(double, Recorder(), after=1)
    graphs(torch.ones(1, 3, 2, 2))
    first = graphs(torch.full((1, 3, 2, 2), 2.0))[0]
    graphs(torch.full((1, 3, 2, 2), 3.0))
    assert float(first.max()) == 4


def test_no_more_shapes_than_memory_is_meant_for() -> None:
    recorder = Recorder()
    graphs = Graphs(double, recorder, after=1, most=2)
    for count in (1, 2, 3, 1, 2, 3):
        assert torch.equal(graphs(torch.ones(count, 3, 2, 2))[0], torch.full((count, 3, 2, 2), 2.0))
    assert [shape[0] for shape in recorder.recorded] == [1, 2]


@pytest.mark.parametrize("error", [RuntimeError("operation not permitted when stream is capturing"), None])
def test_what_cannot_be_recorded_runs_plainly(error: RuntimeError | None) -> None:
    calls = []

    def refuse(run: Any, images: Tensor) -> Any:
        calls.append(1)
        raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    graphs = Graphs(double, refuse, after=2)
    for _ in range(6):
        assert float(graphs(torch.ones(1, 3, 2, 2))[0].max()) == 2
    assert len(calls) == 1
    assert graphs.fault is not None


def test_a_replay_with_other_numbers_is_never_used() -> None:
    graphs = Graphs(double, Recorder(lambda output: output + 1e-4), after=1)
    for _ in range(3):
        assert torch.equal(graphs(torch.ones(1, 3, 2, 2))[0], torch.full((1, 3, 2, 2), 2.0))
    assert graphs.fault == "its numbers differ from the plain run's"


def engine_with(capture: Any, module: nn.Module | None = None) -> TorchEngine:
    return TorchEngine(Checkpoint(module or Double(), FACE), device="cpu", precision="fp32", capture=capture)


def test_an_engine_replays_and_says_when_it_cannot(rng: np.random.Generator) -> None:
    batch = rng.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    recorder = Recorder()
    engine = engine_with(recorder)
    for _ in range(5):
        assert np.array_equal(engine(batch)[0], batch * 2)
    assert recorder.recorded == [(1, 3, 8, 8)]
    assert engine.warnings == []

    def refuse(run: Any, images: Tensor) -> Any:
        raise RuntimeError("CUDA error: operation not permitted\nCompile with TORCH_USE_CUDA_DSA")

    engine = engine_with(refuse)
    for _ in range(5):
        assert np.array_equal(engine(batch)[0], batch * 2)
    assert engine.warnings == ["double runs without CUDA graphs, more slowly: CUDA error: operation not permitted."]


def test_short_memory_takes_the_graphs_before_it_takes_the_batch(rng: np.random.Generator) -> None:
    class Filling(nn.Module):
        """Has room for a batch of two only while nothing is recorded."""

        def forward(self, images: Tensor) -> Tensor:
            if len(images) == 2 and engine._graphs is not None and engine._graphs._replays:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return images * 2

    engine = engine_with(Recorder(), Filling())
    engine._most = None  # as on a GPU: the whole batch at once
    batch = rng.uniform(-1, 1, (2, 3, 4, 4)).astype(np.float32)
    for _ in range(4):
        engine(batch[:1])
    assert np.array_equal(engine(batch)[0], batch * 2)
    assert engine._most is None
    assert engine.warnings == ["double goes on without CUDA graphs: their memory was needed."]


def test_which_networks_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    upsampler = NetworkContract("x", "upsampler")
    assert torch_engine._capture_for("cuda:1", FACE) is not None
    assert torch_engine._capture_for("cuda", upsampler) is None
    assert torch_engine._capture_for("cpu", FACE) is torch_engine._capture_for("mps", FACE) is None
    assert graphs_wanted()
    monkeypatch.setenv(GRAPHS_VARIABLE, "0")
    assert torch_engine._capture_for("cuda", FACE) is None
