"""Networks through torch: on CUDA (AMD's ROCm, too) and MPS, and on a processor that OpenVINO does not know."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorer.contract import NetworkContract, Precision
from restorer.errors import DeviceError, OutOfMemoryError
from restorer.network_values import network_factors
from restorer.runtime import memory
from restorer.runtime.arithmetic import arithmetic
from restorer.runtime.device import pick_precision
from restorer.runtime.engine import Backend, check_batch, check_shape, join_outputs
from restorer.runtime.graphs import Capture, Graphs, Outputs, cuda_capture, graphs_wanted
from restorer.runtime.transfer import CudaTransfer, Fetch, PlainTransfer, Transfer

if TYPE_CHECKING:
    from restorer.checkpoints import Checkpoint

IN_FLIGHT = 2
"""Groups of pictures under way: while one is computed the next is brought to the device."""
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "alloc_failed",  # cuBLAS and cuDNN have codes of their own
    "unable to find a valid cudnn algorithm",  # none whose workspace fits
)
_locks: dict[str, threading.Lock] = {}
_locks_lock = threading.Lock()


class TorchEngine:
    """A network run by torch; see :class:`restorer.runtime.engine.Engine`.

    On a processor each sample runs by itself, so that its result does not depend on the batch. On a GPU a batch that
    does not fit into memory is halved until it does, and the engine stays at that size. Any thread may call it.
    """

    backend: Backend = "torch"

    def __init__(
        self, checkpoint: Checkpoint, *, device: str, precision: Precision, capture: Capture | None = None
    ) -> None:
        """Put a network onto a device.

        Args:
            checkpoint: The network; the engine keeps it.
            device: Where to.
            precision: Its arithmetic.
            capture: Records the network for replays; None: nothing is recorded.
        """
        self.contract = checkpoint.contract
        self.device = device
        self.precision: Precision = precision
        self.warnings: list[str] = []
        self._on_cuda = device.startswith("cuda")
        self._most = 1 if device == "cpu" else None
        self._lock = _lock_of(device)
        try:
            with self._current():
                self._module = _channels_last(checkpoint.module.to(device))
                self._transfer: Transfer = CudaTransfer(device) if self._on_cuda else PlainTransfer(device)
                self._mean, self._factor = (torch.tensor(v, device=device) for v in network_factors(self.contract))
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"The memory of {device} does not suffice for {self.contract.architecture}."
            ) from error
        except RuntimeError as error:
            raise self._failed(error) from error
        self._graphs = Graphs(self._forward, capture) if capture is not None else None

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network, in parts where the whole batch does not fit."""
        check_batch(batch, self.contract)
        parts: list[tuple[NDArray[np.float32], ...]] = []
        done = 0
        while done < len(batch):
            part = batch[done : done + (self._most or len(batch))]
            fetch = self._launch(part, self._plain_numbers)
            if fetch is None:
                self._halve(len(part), batch.shape[2:])
                continue
            parts.append(fetch())
            done += len(part)
        return join_outputs(parts)

    def pictures(self, pictures: Sequence[NDArray[np.float32]], at_once: int) -> Iterator[NDArray[np.float32]]:
        """Run an image-to-image network on pictures; see :class:`restorer.runtime.engine.PictureEngine`."""
        check_shape((len(pictures), 3, *pictures[0].shape[:2]), self.contract)
        flying: deque[tuple[int, Fetch]] = deque()
        done = 0
        while done < len(pictures) or flying:
            if done < len(pictures) and len(flying) < (IN_FLIGHT if self._on_cuda else 1):
                size = min(at_once, self._most or at_once)
                part = [*pictures[done : done + size]]
                fetch = self._launch(part + part[-1:] * (size - len(part)), self._picture_numbers)
                if fetch is not None:
                    flying.append((len(part), fetch))
                    done += len(part)
                    continue
                if not flying:  # else there may be room once those have landed
                    self._halve(size, pictures[0].shape[:2])
                    continue
            count, fetch = flying.popleft()
            yield fetch()[0][:count]

    def room(self, side: int, most: int) -> int:
        """Return how many square images at once are worth while and fit into the memory that is free."""
        if not self._on_cuda:
            return 1 if self.device in ("cpu", "mps") else most
        if self.contract.kind == "face":
            most = min(most, memory.worth_while(memory.multiprocessors(self.device)))
        with self._lock, self._current():
            try:
                empty = torch.zeros(1, 3, side, side, device=self.device)
                # not through a graph, whose memory was taken when it was recorded
                each = memory.peak_bytes(lambda: self._forward(empty), self.device)
            except torch.cuda.OutOfMemoryError:
                return 1
            return memory.batch_for(memory.free_bytes(self.device), each, most)

    def describe(self) -> str:
        """Say what runs where."""
        return f"{self.backend}, {self.device}, {self.precision}"

    def _launch(
        self, samples: Sequence[NDArray[np.float32]] | NDArray[np.float32], compute: Callable[[Tensor], Outputs]
    ) -> Fetch | None:
        """Begin to run one part; None where the memory did not suffice.

        The error is not kept: its traceback would hold on to the very tensors that have to go.
        """
        try:
            with self._lock, self._current(), torch.inference_mode():
                fetch = self._transfer.download(compute(self._transfer.upload(samples)))
        except torch.cuda.OutOfMemoryError:
            return None
        except RuntimeError as error:
            if any(words in str(error).lower() for words in _NO_MEMORY):
                return None  # MPS, processors and CUDA's libraries have no class of their own
            raise self._failed(error) from error
        return lambda: self._landed(fetch)

    def _landed(self, fetch: Fetch) -> tuple[NDArray[np.float32], ...]:
        try:
            return fetch()
        except RuntimeError as error:  # a kernel's failure shows when it is waited for
            raise self._failed(error) from error

    def _failed(self, error: RuntimeError) -> DeviceError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        return DeviceError(f"{self.contract.architecture} failed on {self.device} ({reason}): try --device cpu.")

    def _plain_numbers(self, images: Tensor) -> Outputs:
        """Run the network on N×3×H×W in its own numbers."""
        return tuple(output.contiguous() for output in self._network(images))

    def _network(self, images: Tensor) -> Outputs:
        """Run the network, replayed where it was recorded; the outputs lie in memory as the network left them."""
        run = self._graphs or self._forward
        fault = self._graphs.fault if self._graphs else None
        outputs = run(images.contiguous(memory_format=torch.channels_last))
        if self._graphs is not None and self._graphs.fault != fault:
            self.warnings.append(
                f"{self.contract.architecture} runs without CUDA graphs, more slowly: {self._graphs.fault}."
            )
        return outputs

    def _picture_numbers(self, pictures: Tensor) -> Outputs:
        """Run the network on pictures, N×H×W×3 RGB in 0..255: the numbers of ``network_values``, on the device."""
        images = (pictures - self._mean) * self._factor
        backwards = self.contract.colour_order == "bgr"
        output = self._network((images.flip(-1) if backwards else images).permute(0, 3, 1, 2))[0]
        rgb = (output.flip(1) if backwards else output).permute(0, 2, 3, 1) / self._factor + self._mean
        # clipping would make a picture of infinities
        return (torch.where(torch.isfinite(rgb), rgb, torch.nan).clamp(0, 255).contiguous(),)

    def _forward(self, images: Tensor) -> Outputs:
        with torch.inference_mode(), arithmetic(self.device, self.precision):
            outputs: Any = self._module(images)
            several: Outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return tuple(output.float() for output in several)

    def _current(self) -> contextlib.AbstractContextManager[object]:
        """Make this engine's GPU the current one, as streams and graphs ask for it."""
        return torch.cuda.device(self.device) if self._on_cuda else contextlib.nullcontext()

    def _halve(self, failed: int, sides: Sequence[int]) -> None:
        """Make room: without recorded graphs where there are any, else with half the samples."""
        held = self._graphs is not None and self._graphs.drop("their memory was needed")
        if self._on_cuda:
            torch.cuda.empty_cache()
        if held:
            self.warnings.append(f"{self.contract.architecture} goes on without CUDA graphs: their memory was needed.")
            return
        if failed == 1:
            raise OutOfMemoryError(
                f"The memory of {self.device} does not suffice for {self.contract.architecture} on one image of "
                f"{sides[1]}×{sides[0]} pixels: try --tile with a smaller number or --device cpu."
            )
        self._most = failed // 2
        self.warnings.append(
            f"The memory of {self.device} did not suffice for {failed} images at once in {self.contract.architecture}; "
            f"going on with {self._most}."
        )


def open_torch_engine(checkpoint: Checkpoint, *, device: str, precision: str) -> TorchEngine:
    """Put a network onto a device.

    Args:
        checkpoint: The network; the engine keeps it.
        device: A result of :func:`restorer.runtime.device.pick_device`.
        precision: ``auto``, ``fp32`` or ``bf16``.

    Raises:
        DeviceError: The precision that was named is not to be had there.
        OutOfMemoryError: The device's memory does not even hold the network.
    """
    chosen = pick_precision(precision, device=device, contract=checkpoint.contract)
    return TorchEngine(checkpoint, device=device, precision=chosen, capture=_capture_for(device, checkpoint.contract))


def _capture_for(device: str, contract: NetworkContract) -> Capture | None:
    """Record all but background networks: their tiles take long beside the launches, and much memory."""
    wanted = device.startswith("cuda") and contract.kind != "upsampler" and graphs_wanted()
    return cuda_capture() if wanted else None


def _lock_of(device: str) -> threading.Lock:
    """Return the lock under which work is launched on a device, by every engine there."""
    with _locks_lock:
        return _locks.setdefault("cuda:0" if device == "cuda" else device, threading.Lock())


def _channels_last(module: nn.Module) -> nn.Module:
    """Lay convolutions' weights out as their fastest kernels want them (``Module.to`` refuses GFP-GAN's 5-D ones)."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        elif parameter.dim() == 5 and len(parameter) == 1:
            parameter.data = parameter.data[0].contiguous(memory_format=torch.channels_last)[None]
    return module
