"""Torch's switches for exact and repeatable numbers, set while a network runs and put back afterwards."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

import torch

from restorer.contract import Precision

_lock = threading.Lock()
_inside = 0
_undo = contextlib.ExitStack()


@contextlib.contextmanager
def arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Compute in bf16 where it is safe (autocast keeps sums and roots in float32), or in true float32.

    On CUDA torch would run float32 convolutions in TF32 (10 bits of fraction) and might choose algorithms that differ
    from run to run; both are switched off inside.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``fp32`` or ``bf16``.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_switches())
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.partition(":")[0], dtype=torch.bfloat16))
        yield


@contextlib.contextmanager
def _switches() -> Iterator[None]:
    """Set what is global in a process: the first thread inside sets it, the last one puts it back.

    Were each thread to put back what it had found, one that leaves would switch TF32 on for those still inside.
    """
    global _inside
    with _lock:
        if _inside == 0:
            try:
                _set()
            except BaseException:
                _undo.close()
                raise
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _undo.close()


def _set() -> None:
    _undo.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False))
    _undo.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
    torch.set_float32_matmul_precision("highest")
    _undo.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")  # what libraries say of their own kernels is nothing a user could mend
