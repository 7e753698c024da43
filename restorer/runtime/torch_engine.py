"""Networks through torch: on CUDA and MPS, and on a processor that OpenVINO does not know."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorer.contract import Precision
from restorer.errors import DeviceError, OutOfMemoryError
from restorer.runtime.device import pick_precision
from restorer.runtime.engine import Backend, check_batch, join_outputs

if TYPE_CHECKING:
    from restorer.checkpoints import Checkpoint


class TorchEngine:
    """A network run by torch; see :class:`restorer.runtime.engine.Engine`.

    On a processor each sample runs by itself, so that its result does not depend on the batch. On a GPU a batch that
    does not fit into memory is halved until it does, and the engine stays at that size.
    """

    backend: Backend = "torch"

    def __init__(self, checkpoint: Checkpoint, *, device: str, precision: Precision) -> None:
        self.contract = checkpoint.contract
        self.device = device
        self.precision: Precision = precision
        self.warnings: list[str] = []
        self._most = 1 if device == "cpu" else None
        try:
            self._module = _channels_last(checkpoint.module.to(device))
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"The memory of {device} does not suffice for {self.contract.architecture}."
            ) from error

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network, in parts where the whole batch does not fit."""
        check_batch(batch, self.contract)
        parts: list[tuple[NDArray[np.float32], ...]] = []
        done = 0
        while done < len(batch):
            part = batch[done : done + (self._most or len(batch))]
            outputs = self._try(part)
            if outputs is None:
                self._halve(len(part), batch.shape)
                continue
            parts.append(outputs)
            done += len(part)
        return join_outputs(parts)

    def describe(self) -> str:
        """Say what runs where."""
        return f"{self.backend}, {self.device}, {self.precision}"

    def _try(self, part: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...] | None:
        """Run one part; None where the memory did not suffice.

        The error is not kept: its traceback would hold on to the very tensors that have to go.
        """
        try:
            return self._run(part)
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            if "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower():
                return None  # MPS and processors have no class of their own
            raise DeviceError(f"{self.contract.architecture} failed on {self.device}: try --device cpu.") from error

    def _run(self, part: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        with torch.inference_mode(), _arithmetic(self.device, self.precision), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images = torch.tensor(part, dtype=torch.float32, device=self.device)  # a copy: never the caller's memory
            outputs: Any = self._module(images.contiguous(memory_format=torch.channels_last))
            several: tuple[Tensor, ...] = outputs if isinstance(outputs, tuple) else (outputs,)
            return tuple(output.float().contiguous().cpu().numpy() for output in several)

    def _halve(self, failed: int, shape: tuple[int, ...]) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        if failed == 1:
            raise OutOfMemoryError(
                f"The memory of {self.device} does not suffice for {self.contract.architecture} on one image of "
                f"{shape[3]}×{shape[2]} pixels: try --tile with a smaller number or --device cpu."
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
    return TorchEngine(checkpoint, device=device, precision=chosen)


def _channels_last(module: nn.Module) -> nn.Module:
    """Lay convolutions' weights out as their fastest kernels want them (``Module.to`` refuses GFP-GAN's 5-D ones)."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


@contextlib.contextmanager
def _arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Compute in bf16 where it is safe (autocast keeps sums and roots in float32), or in true float32."""
    if precision == "bf16":
        with torch.autocast(device.partition(":")[0], dtype=torch.bfloat16):
            yield
    elif device.startswith("cuda"):
        # torch runs float32 convolutions in TF32 (10 bits of fraction) unless told otherwise
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    else:
        yield
