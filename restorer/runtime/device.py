"""Which device and which precision a network runs in.

Nothing here imports torch where the answer is evident without it: on a machine with neither an NVIDIA or AMD driver nor
an Apple chip, ``auto`` is the processor, and a cached network starts without torch's two seconds.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import sys
import warnings
from pathlib import Path

from restorer.contract import NetworkContract, Precision
from restorer.errors import DeviceError, UsageError

_DRIVER_FILES = (
    "/proc/driver/nvidia/version",  # Linux
    "/dev/nvidiactl",  # Linux in a container
    "/dev/dxg",  # Windows Subsystem for Linux
    "/dev/kfd",  # AMD ROCm, which torch offers as cuda
)
_AMPERE = (8, 0)
"""First compute capability with bf16 arithmetic (NVIDIA A100 white paper)."""
_CHOICES = "auto, cpu, cuda, cuda:N, cuda:N,N… (several), mps, or intel, intel:N (through OpenVINO)"


def pick_device(name: str = "auto") -> str:
    """Choose where networks run.

    Args:
        name: ``auto`` (CUDA if usable, else MPS, else the processor), ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or
            ``intel`` or ``intel:N``: an Intel GPU through OpenVINO, never chosen by itself.

    Returns:
        ``cpu``, ``cuda``, ``cuda:N``, ``mps``, ``intel`` or ``intel:N``.

    Raises:
        UsageError: ``name`` is none of these.
        DeviceError: The device that was named is missing or does not work; the message lists what there is.
    """
    if name == "auto":
        if _cuda_driver_present() and _cuda_fault("cuda") is None:
            return "cuda"
        return "mps" if _mps_fault() is None else "cpu"
    if name == "cpu":
        return name
    if name == "mps":
        fault = _mps_fault()
    elif re.fullmatch(r"cuda(:\d{1,4})?", name):
        fault = _cuda_fault(name)
    elif re.fullmatch(r"intel(:\d{1,4})?", name):
        fault = _intel_fault(name)
    elif len(split_devices(name)) > 1:
        raise UsageError(f"--device {name} names several devices, where one is needed: name one of them.")
    else:
        raise UsageError(f"--device {name} is unknown: choose {_CHOICES}.")
    if fault is not None:
        raise DeviceError(f"Device {name} cannot be used: {fault}; this machine has {_devices_at_hand()}.")
    return name


def split_devices(name: str) -> tuple[str, ...]:
    """Return the devices that a name stands for: ``cuda:0,2`` stands for two, every other name for itself.

    Nothing is looked for: :func:`pick_device` does that for each of them.

    Raises:
        UsageError: A device is named twice, or the list is none.
    """
    if "," not in name:
        return (name,)
    if not re.fullmatch(r"cuda:\d{1,4}(,(cuda:)?\d{1,4})+", name):
        raise UsageError(f"--device {name} is no list of devices such as cuda:0,1: choose {_CHOICES}.")
    numbers = [int(part.rpartition(":")[2]) for part in name.split(",")]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise UsageError(f"--device {name} names device {twice} twice: name each once.")
    return tuple(f"cuda:{number}" for number in numbers)


def pick_precision(choice: str, *, device: str, contract: NetworkContract) -> Precision:
    """Choose the arithmetic of one network on one device.

    bf16 is taken only where the chip computes in it (elsewhere it is emulated, slower than fp32) and only for a network
    whose contract lists it: the others stay in fp32 whatever was asked for.

    Args:
        choice: ``auto``, ``fp32`` or ``bf16``.
        device: A result of :func:`pick_device`.
        contract: The network's contract.

    Raises:
        UsageError: ``choice`` is none of these.
        DeviceError: bf16 was named and the device does not compute in it.
    """
    if choice not in ("auto", "fp32", "bf16"):
        raise UsageError(f"--precision {choice} is unknown: choose auto, fp32 or bf16.")
    if choice == "fp32":
        return "fp32"
    capable = computes_bf16(device)
    if choice == "bf16" and not capable:
        raise DeviceError(f"Device {device} does not compute in bf16: use --precision fp32 or auto.")
    return "bf16" if capable and "bf16" in contract.precisions else "fp32"


def computes_bf16(device: str) -> bool:
    """Tell whether a device has bf16 arithmetic: NVIDIA from Ampere on, processors with AVX512-BF16 or AMX-BF16.

    No for MPS and Intel's GPUs, where the networks here were never run in it.
    """
    if device == "cpu":
        return _cpu_computes_bf16()
    if device.startswith("cuda"):
        import torch

        if torch.version.hip is not None:
            return bool(torch.cuda.is_bf16_supported())
        return torch.cuda.get_device_capability(device) >= _AMPERE
    return False


def thread_limit() -> int | None:
    """Find how many threads this process may use, where that is fewer than the machine has.

    Returns:
        The number in ``OMP_NUM_THREADS``, else the number of processors that the process's affinity and its container's
        quota leave; None where nothing limits it (the runtime then chooses, by physical cores).
    """
    named = re.match(r"\s*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", ""))
    if named:
        return int(named[1])
    total = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    allowed = min(allowed, _container_quota(Path("/sys/fs/cgroup/cpu.max")) or allowed)
    return allowed if allowed < total else None


def _container_quota(cpu_max: Path) -> int | None:
    """Read a cgroup's processor quota ("quota period" in microseconds, or "max period"), rounded up to processors."""
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return None


@functools.cache
def _cpu_computes_bf16() -> bool:
    from restorer.runtime.openvino_library import cpu_capabilities

    capabilities = cpu_capabilities()
    if capabilities is not None:
        return "BF16" in capabilities
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", flags) is not None


def _cuda_driver_present() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    if sys.platform == "win32":
        import ctypes.util  # takes longer to load than all else here

        return ctypes.util.find_library("nvcuda") is not None
    return any(Path(file).exists() for file in _DRIVER_FILES)


@functools.cache
def _cuda_fault(name: str) -> str | None:
    """Say why a CUDA device cannot be used, or return None after it computed a sum."""
    if not _cuda_driver_present():
        return "no CUDA driver was found"
    import torch

    with warnings.catch_warnings(record=True) as caught:  # "driver too old" comes as a warning and is the reason
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        return _one_line(caught[-1].message) if caught else "the installed torch finds no CUDA device"
    index = int(name.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        return f"there is no CUDA device number {index}"
    return _arithmetic_fault(name)


@functools.cache
def _mps_fault() -> str | None:
    """Say why Apple's GPU cannot be used, or return None after it computed a sum."""
    if platform.system() != "Darwin":
        return "MPS exists on macOS only"
    # Operations that MPS lacks then run on the processor instead of failing; torch reads it on import.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    import torch

    if not torch.backends.mps.is_available():
        return "the installed torch finds no Apple GPU"
    return _arithmetic_fault("mps")


def _intel_fault(name: str) -> str | None:
    """Say why an Intel GPU cannot be used, or return None where OpenVINO lists it."""
    from restorer.runtime.openvino_library import intel_gpus, openvino_at_hand

    if not openvino_at_hand():
        return "it needs the package openvino, which is not installed"
    found = intel_gpus()
    if not found:
        return "OpenVINO finds no Intel GPU (is its compute driver installed?)"
    index = int(name.partition(":")[2] or 0)
    return None if index < len(found) else f"OpenVINO finds no Intel GPU number {index}"


def _arithmetic_fault(name: str) -> str | None:
    """Compute on the device: a chip newer or older than torch was built for shows only here."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fine = float((torch.ones(2, device=name) * 2).sum()) == 4.0
    except RuntimeError as error:
        return _one_line(error)
    return None if fine else "it computes wrongly"


def _devices_at_hand() -> str:
    names = ["cpu"]
    if _cuda_driver_present() and _cuda_fault("cuda") is None:
        import torch

        names += [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    if _mps_fault() is None:
        names.append("mps")
    from restorer.runtime.openvino_library import intel_gpus

    names += [f"intel:{index} ({device.title})" for index, device in enumerate(intel_gpus())]
    return ", ".join(names)


def _one_line(message: object) -> str:
    return str(message).strip().splitlines()[0].rstrip(".") if str(message).strip() else type(message).__name__
