"""Copies beside the computation, with stand-ins for CUDA's streams and events that note what is asked of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from restorer.checkpoints import Checkpoint
from restorer.contract import NetworkContract
from restorer.runtime import torch_engine
from restorer.runtime.torch_engine import TorchEngine
from restorer.runtime.transfer import CudaTransfer, PlainTransfer


class Cuda:
    """What CUDA was asked for, in order; copies take place at once, on the processor."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.pinned = 0
        self.inside = ["main"]

    def stream_of(self, name: str) -> Any:
        cuda = self

        class Stream:
            def __init__(self, device: object = None) -> None:
                self.name = name

            def wait_stream(self, other: Any) -> None:
                cuda.asked.append(f"{self.name} waits for {other.name}")

        return Stream

    def event(self, **settings: Any) -> Any:
        cuda = self
        assert settings == {"blocking": True}  # a thread that waits sleeps

        class Event:
            def record(self, stream: Any) -> None:
                cuda.asked.append(f"event on {stream.name}")

            def synchronize(self) -> None:
                cuda.asked.append("wait for event")

        return Event()

    @contextlib.contextmanager
    def within(self, stream: Any) -> Iterator[None]:
        self.inside.append(stream.name)
        yield
        self.inside.pop()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    fake = Cuda()
    plain_empty, plain_to, plain_copy = torch.empty, torch.Tensor.to, torch.Tensor.copy_
    main = fake.stream_of("main")()

    def empty(*shape: Any, pin_memory: bool = False, **settings: Any) -> torch.Tensor:
        fake.pinned += pin_memory
        return plain_empty(*shape, **settings)

    def to(self: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        if settings.get("non_blocking"):
            fake.asked.append(f"up on {fake.inside[-1]}")
            return plain_to(self, *args).clone()
        return plain_to(self, *args, **settings)

    def copy(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if non_blocking:
            fake.asked.append(f"down on {fake.inside[-1]}")
        return plain_copy(self, source)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda self, stream: fake.asked.append(f"kept for {stream.name}")
    )
    monkeypatch.setattr(torch.cuda, "Stream", fake.stream_of("copies"))
    monkeypatch.setattr(torch.cuda, "Event", fake.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", fake.within)
    return fake


def test_what_waits_for_what(cuda: Cuda, rng: np.random.Generator) -> None:
    transfer = CudaTransfer("cpu")
    samples = [rng.uniform(-1, 1, (3, 4, 4)).astype(np.float32) for _ in range(2)]
    moved = transfer.upload(samples)
    assert np.array_equal(moved.numpy(), np.stack(samples))
    assert cuda.asked == ["up on copies", "main waits for copies", "kept for main"]
    cuda.asked.clear()
    fetch = transfer.download([moved * 2, moved[:1]])
    down = ["down on copies", "kept for copies"]
    # the results must be there, both ways off the main stream, and nobody has waited yet
    assert cuda.asked == ["copies waits for main", *down, *down, "event on copies"]
    whole, part = fetch()
    assert cuda.asked[-1] == "wait for event"
    assert np.array_equal(whole, np.stack(samples) * 2) and np.array_equal(part, np.stack(samples[:1]))
    assert cuda.pinned == 3


def test_the_next_group_is_on_its_way_before_the_first_is_waited_for(
    cuda: Cuda, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Double(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            cuda.asked.append("compute")
            return images * 2

    contract = NetworkContract("double", "face", mean=(127.5,) * 3, scale=1 / 127.5)
    engine = TorchEngine(Checkpoint(Double().eval(), contract), device="cpu", precision="fp32")
    engine._on_cuda, engine._most, engine._transfer = True, None, CudaTransfer("cpu")
    monkeypatch.setattr(TorchEngine, "_current", lambda self: contextlib.nullcontext())
    pictures = [rng.uniform(100, 150, (4, 4, 3)).astype(np.float32) for _ in range(6)]
    results = np.concatenate([*engine.pictures(pictures, at_once=2)])
    assert np.allclose(results, (np.stack(pictures) - 127.5) * 2 + 127.5, atol=1e-3)
    order = [word for word in cuda.asked if word in ("compute", "wait for event")]
    assert order == ["compute", "compute", "wait for event", "compute", "wait for event", "wait for event"]
    assert torch_engine.IN_FLIGHT == 2


def test_plain_copies_are_copies(rng: np.random.Generator) -> None:
    sample = rng.uniform(-1, 1, (1, 3, 2, 2)).astype(np.float32)
    moved = PlainTransfer("cpu").upload(sample)
    moved.zero_()
    assert sample.any()
    assert np.array_equal(PlainTransfer("cpu").download([moved])()[0], np.zeros_like(sample))
