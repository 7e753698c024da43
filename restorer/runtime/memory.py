"""How much of a GPU's memory is free, and how many images at once it has room for."""

from __future__ import annotations

from collections.abc import Callable

import torch

HEADROOM = 0.7
"""Part of the free memory that a batch may take: cuDNN's workspaces grow unevenly, and other programs live there."""


def batch_for(free: int, each: int, most: int) -> int:
    """Return how many images to run at once.

    Args:
        free: Bytes of memory that are free.
        each: Bytes that one image takes.
        most: The greatest number that is worth while.

    Returns:
        A power of two, at least 1 and at most ``most``: few sizes, so that each meets kernels that are warm.
    """
    fitting = min(most, int(free * HEADROOM) // max(each, 1))
    return 1 << max(fitting.bit_length() - 1, 0)


def worth_while(processors: int) -> int:
    """Return how many faces of 512 pixels fill a GPU, by the number of its multiprocessors."""
    # A face's widest layers have 2,048 blocks of 128 pixels; two waves of them or more keep a chip busy.
    return 8 if processors >= 64 else 4 if processors >= 32 else 2 if processors >= 16 else 1


def free_bytes(device: str) -> int:
    """Return what a CUDA device has free, with what torch keeps for later use."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def multiprocessors(device: str) -> int:
    """Return the number of a CUDA device's multiprocessors (compute units on AMD's)."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def peak_bytes(run: Callable[[], object], device: str) -> int:
    """Return how much more memory a run takes at its peak than is taken before it."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device) - before)
