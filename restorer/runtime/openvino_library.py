"""OpenVINO itself: imported without its telemetry, and its conversion of torch networks."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restorer.errors import DeviceError

if TYPE_CHECKING:
    from types import ModuleType

    import openvino as ov

    from restorer.checkpoints import Checkpoint

_EXAMPLE_SIDE = 128
"""Side of the image that networks without a fixed size are traced with; a multiple of every network's multiple."""
_CONVERTER = "openvino.tools.ovc"
_ALONE = threading.RLock()
"""Held while OpenVINO is imported or made to believe something: networks are opened by several threads."""


def openvino_at_hand() -> bool:
    """Tell whether OpenVINO is installed, without importing it."""
    return importlib.util.find_spec("openvino") is not None


@functools.cache
def cpu_capabilities() -> tuple[str, ...] | None:
    """Return the processor's arithmetic as OpenVINO names it (``FP32``, ``BF16`` …); None where OpenVINO cannot run."""
    try:
        return tuple(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    except (ImportError, RuntimeError):
        return None


@dataclass(frozen=True)
class IntelGPU:
    """A GPU that OpenVINO can run networks on."""

    name: str
    """As OpenVINO calls it: ``GPU``, ``GPU.0`` …"""
    title: str
    """As its maker calls it."""


@functools.cache
def intel_gpus() -> tuple[IntelGPU, ...]:
    """Return the GPUs that OpenVINO finds, in its own order; none where OpenVINO cannot run."""
    try:
        names = [name for name in core().available_devices if name.partition(".")[0] == "GPU"]
        return tuple(IntelGPU(name, str(core().get_property(name, "FULL_DEVICE_NAME"))) for name in names)
    except (ImportError, RuntimeError):
        return ()


def convert(checkpoint: Checkpoint) -> ov.Model:
    """Convert a network to an OpenVINO model for one sample, with free height and width where it has no fixed size.

    Raises:
        DeviceError: OpenVINO lacks an operation the network needs.
    """
    import torch

    openvino = import_openvino()
    side = checkpoint.contract.input_size or _EXAMPLE_SIDE
    free = -1 if checkpoint.contract.input_size is None else side
    converter = logging.getLogger("openvino.frontend.pytorch.ts_decoder")
    level = converter.level
    try:
        converter.setLevel(logging.CRITICAL)
        with _telemetry_absent(), warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # tracing warns of every Python number it turns into a constant
            model: ov.Model = _converter()(
                checkpoint.module,
                example_input=torch.zeros(1, 3, side, side),
                input=[openvino.PartialShape([1, 3, free, free])],
            )
            return model
    except Exception as error:  # the converter raises classes of its own beside RuntimeError
        raise DeviceError(
            f"OpenVINO cannot convert {checkpoint.contract.architecture}: RESTORER_BACKEND=torch runs it in torch."
        ) from error
    finally:
        converter.setLevel(level)


def core() -> ov.Core:
    """Return this process's one OpenVINO runtime."""
    with _ALONE:
        return _core()


@functools.cache
def _core() -> ov.Core:
    runtime: ov.Core = import_openvino().Core()
    return runtime


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which would report every conversion to its makers."""
    with _ALONE:
        return _import_openvino()


@functools.cache
def _import_openvino() -> ModuleType:
    # its converter, which is optional, takes twice as long to import as all else of it, and few runs convert
    with _telemetry_absent(), _absent(_CONVERTER), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        openvino = importlib.import_module("openvino")
    if not hasattr(openvino, "convert_model"):
        openvino.convert_model = _convert_model  # type: ignore[attr-defined]  # for others in this process
    return openvino


def _converter() -> Callable[..., ov.Model]:
    converter: Callable[..., ov.Model] = importlib.import_module(_CONVERTER).convert_model
    return converter


def _convert_model(*arguments: Any, **keywords: Any) -> ov.Model:  # noqa: ANN401 - whatever OpenVINO's own takes
    """Import OpenVINO's converter when it is called."""
    return _converter()(*arguments, **keywords)


@contextlib.contextmanager
def _telemetry_absent() -> Iterator[None]:
    """Make OpenVINO believe that its telemetry is not installed.

    It takes that package as optional and has a stand-in for its absence. Some of its modules ask when it is imported,
    some when it converts, and all may have asked before, where somebody else imported it first.
    """
    with _absent("openvino_telemetry"):
        for name, module in list(sys.modules.items()):
            if name.startswith(_CONVERTER) and hasattr(module, "tm"):
                setattr(module, "tm", importlib.import_module(f"{_CONVERTER}.telemetry_stub"))  # noqa: B010
        yield


@contextlib.contextmanager
def _absent(package: str) -> Iterator[None]:
    """Make a package seem not to be installed."""
    with _ALONE:
        loaded = sys.modules.pop(package, None)
        sys.modules[package] = None  # type: ignore[assignment]  # Python's way to say: not to be imported
        try:
            yield
        finally:
            del sys.modules[package]
            if loaded is not None:
                sys.modules[package] = loaded
