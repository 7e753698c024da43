"""Arrays to a device and back: plainly, or on CUDA through pinned memory and a stream of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Fetch = Callable[[], tuple[Floats, ...]]
"""Waits for the arrays on their way back."""


class Transfer(Protocol):
    """Takes arrays to a device and back."""

    def upload(self, samples: Sequence[Floats] | Floats) -> Tensor:
        """Return samples of one shape as one float32 tensor on the device; never the caller's own memory."""
        ...

    def download(self, tensors: Sequence[Tensor]) -> Fetch:
        """Begin to bring tensors back."""
        ...


class PlainTransfer:
    """Waits for every copy: on a processor, where there is none to speak of, and on MPS."""

    def __init__(self, device: str) -> None:
        self._device = device

    def upload(self, samples: Sequence[Floats] | Floats) -> Tensor:
        """Copy samples to the device."""
        return torch.from_numpy(np.stack([*samples], dtype=np.float32)).to(self._device)

    def download(self, tensors: Sequence[Tensor]) -> Fetch:
        """Copy tensors back."""
        arrays = tuple(tensor.cpu().numpy() for tensor in tensors)
        return lambda: arrays


class CudaTransfer:
    """Copies beside the computation: from and to pinned memory, on a second stream.

    The arrays that come back lie in pinned memory, which torch takes back for the next ones when they are gone.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        new_stream: Callable[[str], Any] = torch.cuda.Stream
        self._stream = new_stream(device)
        self._new_event: Callable[..., Any] = torch.cuda.Event

    def upload(self, samples: Sequence[Floats] | Floats) -> Tensor:
        """Begin to copy samples to the device; the current stream waits for them."""
        pinned = torch.empty((len(samples), *samples[0].shape), dtype=torch.float32, pin_memory=True)
        np.stack([*samples], out=pinned.numpy())
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            moved = pinned.to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        moved.record_stream(current)  # or its memory might be given to another tensor of the second stream too early
        return moved

    def download(self, tensors: Sequence[Tensor]) -> Fetch:
        """Begin to copy tensors back once the current stream has made them."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        pinned = []
        with torch.cuda.stream(self._stream):
            for tensor in tensors:
                pinned.append(torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True))
                pinned[-1].copy_(tensor, non_blocking=True)
                tensor.record_stream(self._stream)
            # a thread that waits for it sleeps, and leaves its core to those that decode and paste
            done = self._new_event(blocking=True)
            done.record(self._stream)

        def fetch() -> tuple[Floats, ...]:
            done.synchronize()
            return tuple(tensor.numpy() for tensor in pinned)

        return fetch
