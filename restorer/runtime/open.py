"""From a weight file to an engine: which library runs it where."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args

from restorer.errors import DeviceError, UsageError
from restorer.runtime.device import pick_device
from restorer.runtime.engine import Backend, Engine
from restorer.runtime.openvino_library import openvino_at_hand

if TYPE_CHECKING:
    from restorer.weights.store import Weights

BACKEND_VARIABLE = "RESTORER_BACKEND"
"""Environment variable: ``torch`` or ``openvino``, in place of the choice made here."""


def open_engine(
    weights: Weights, *, device: str = "auto", precision: str = "auto", backend: Backend | None = None
) -> Engine:
    """Make a network ready to run.

    Args:
        weights: The weight file; its ``sha256`` names it in the cache of converted networks.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``, ``intel`` or ``intel:N``.
        precision: ``auto`` (bf16 where chip and network are good for it, else fp32), ``fp32`` or ``bf16``.
        backend: The library; None: ``RESTORER_BACKEND``, else OpenVINO on the processor and Intel's GPUs, else torch.

    Raises:
        UsageError: An unknown device, precision or library.
        WeightsError: The file is missing, damaged, unsafe or no network that is known here.
        DeviceError: The device, the precision or the library that was named is not to be had.
        OutOfMemoryError: The device's memory does not hold the network.
    """
    device = pick_device(device)
    if _pick_backend(backend or os.environ.get(BACKEND_VARIABLE) or None, device) == "openvino":
        # not before: a machine that runs networks in torch need not have what this needs
        from restorer.runtime.openvino_engine import open_openvino_engine

        return open_openvino_engine(weights, precision=precision, device=device)
    # torch is imported only from here on
    from restorer.checkpoints import load_checkpoint
    from restorer.runtime.torch_engine import open_torch_engine

    return open_torch_engine(load_checkpoint(weights.path), device=device, precision=precision)


def opens_from_cache(weights: Weights, *, device: str = "auto") -> bool:
    """Tell whether :func:`open_engine` would open a network from the processor's cache: soon, and without torch."""
    if pick_device(device) != "cpu" or not openvino_at_hand() or os.environ.get(BACKEND_VARIABLE) == "torch":
        return False
    from restorer.runtime.cache import NetworkCache

    return NetworkCache.of(weights.sha256).folder.exists()


def _pick_backend(named: str | None, device: str) -> Backend:
    intel = device.startswith("intel")
    if named is None:
        return "openvino" if intel or (device == "cpu" and openvino_at_hand()) else "torch"
    if named == "torch":
        if intel:
            raise DeviceError(f"Device {device} is run by OpenVINO: unset {BACKEND_VARIABLE}, or use --device cpu.")
        return "torch"
    if named != "openvino":
        raise UsageError(f"{BACKEND_VARIABLE} {named} is unknown: choose one of {', '.join(get_args(Backend))}.")
    if device != "cpu" and not intel:
        raise DeviceError(
            f"OpenVINO runs networks on the processor and on Intel's GPUs, not on {device}: use --device cpu or torch."
        )
    if not openvino_at_hand():
        raise DeviceError("OpenVINO is not installed: install the package openvino, or use torch.")
    return "openvino"
