"""The processes that share a run: one alone, or several started by ``torchrun``, one for each GPU.

A batch is cut into parts, each computed by itself, and the parts' gradients are averaged. How many processes share the
parts changes nothing but the order of that sum, so that a run on two GPUs agrees with one on a single GPU.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from restorer.errors import DeviceError, UsageError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: the first of them saves and draws alone."""


@dataclass(frozen=True)
class Processes:
    """This process among those that share the run."""

    device: torch.device = torch.device("cpu")
    """Where this process computes."""
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the log, the state and the pictures."""
        return self.rank == 0

    def share(self, parts: int) -> range:
        """Return which of a batch's parts this process computes.

        Raises:
            UsageError: The parts cannot be shared evenly.
        """
        if parts % self.count:
            raise UsageError(
                f"{self.count} processes cannot share a batch of {parts} part{'s' if parts > 1 else ''} evenly: "
                f"give the recipe parts = {self.count} or a multiple of it."
            )
        each = parts // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def shared(self, module: nn.Module, *, some_unused: bool = False) -> nn.Module:
        """Return a module whose gradients are the mean over all processes once ``backward`` is done.

        Args:
            module: The module; equal in all processes.
            some_unused: Some of its parameters have no part in some steps.
        """
        if self.count == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=some_unused)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""
        tensors = list(tensors)
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.count
        begin = 0
        for tensor in tensors:
            tensor.detach().copy_(flat[begin : begin + tensor.numel()].view_as(tensor))
            begin += tensor.numel()

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            self.largest([0.0])

    def mean(self, values: Sequence[float]) -> list[float]:
        """Return the mean over all processes of each value."""
        if self.count == 1:
            return list(values)
        table = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(table)
        return [float(value) for value in table / self.count]

    def largest(self, values: Sequence[float]) -> list[float]:
        """Return the largest of each value over all processes, so that all decide alike."""
        if self.count == 1:
            return list(values)
        table = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(table, distributed.ReduceOp.MAX)
        return [float(value) for value in table]


def gathering(module: nn.Module, *, last: bool) -> contextlib.AbstractContextManager[object]:
    """Return a context for one part of a step in which gradients of a shared module stay here until the last part."""
    if isinstance(module, DistributedDataParallel) and not last:
        return module.no_sync()
    return contextlib.nullcontext()


class PartStatistics:
    """Keeps what networks remember of their inputs the mean over all parts of a batch, whoever computes them.

    Batch normalisation's running statistics and spectral normalisation's vectors change with every pass. Each part of a
    step starts from what they were before it; with one part in all nothing is done.
    """

    def __init__(self, networks: Iterable[nn.Module], parts: int, processes: Processes) -> None:
        self.several, self.processes = parts > 1, processes
        self.buffers = [buffer for network in networks for buffer in network.buffers()]
        self.before: list[Tensor] = []
        self.after: list[list[Tensor]] = []

    def begin(self) -> None:
        """Start a step."""
        self.before, self.after = self._copies(), []

    @contextlib.contextmanager
    def of_part(self) -> Iterator[None]:
        """Let one part, forward and backward, start from what was before the step."""
        self._set(self.before)
        yield
        self.after.append(self._copies())

    def end(self) -> None:
        """Take the mean over all parts."""
        if self.several:
            groups = zip(*self.after, strict=True)
            self._set([torch.stack(group).double().mean(dim=0).to(group[0].dtype) for group in groups])
            self.processes.average(buffer for buffer in self.buffers if buffer.is_floating_point())

    def _copies(self) -> list[Tensor]:
        return [buffer.clone() for buffer in self.buffers] if self.several else []

    def _set(self, values: list[Tensor]) -> None:
        if self.several:
            for buffer, value in zip(self.buffers, values, strict=True):
                buffer.copy_(value)


ALONE = Processes()
"""One process on the processor."""


@contextlib.contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, as its environment variables say; else be the only one.

    Args:
        device: ``cpu``, ``cuda`` (the GPU of this process' number) or ``cuda:N``.

    Raises:
        DeviceError: The device is missing, or another process was lost while the run went on.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    place = _place(device)
    if count == 1:
        yield Processes(place)
        return
    try:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
        yield Processes(place, distributed.get_rank(), count)
        distributed.destroy_process_group()
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        reason = (
            re.sub(r"^\[[^]]*\]\s*", "", str(error)).splitlines()[0].partition(". ")[0]
        )  # without torch's own place
        raise DeviceError(
            f"Another process of this run was lost ({reason}): it was killed, failed or ran out of memory. The last "
            "saved state is whole: start the run again to go on from it."
        ) from error


def _place(device: str) -> torch.device:
    """Return a named device after a look whether it is there; several processes with ``cuda`` take one GPU each."""
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"Device {device} is unknown: give cpu, cuda or cuda:N.") from error
    if place.type != "cuda":
        return place
    if not torch.cuda.is_available():
        raise DeviceError(f"Device {device} cannot be used: torch finds no GPU here; give --device cpu.")
    if place.index is None:
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if place.index is not None and place.index >= torch.cuda.device_count():
        raise DeviceError(f"Device {place} is missing: torch finds {torch.cuda.device_count()} GPU(s) here.")
    torch.cuda.set_device(place)
    return place


def _is_loss(error: RuntimeError) -> bool:
    """Tell whether an error comes from a connection to another process."""
    text = str(error).lower()
    return isinstance(error, distributed.DistError) or any(word in text for word in ("gloo", "nccl", "connection"))
