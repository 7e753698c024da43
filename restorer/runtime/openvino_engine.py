"""Networks through OpenVINO, on the processor or an Intel GPU, converted once and then read from the cache.

Each sample runs by itself, so that a face's pixels do not depend on the faces beside it in the batch.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract, Precision
from restorer.errors import DeviceError, OutOfMemoryError
from restorer.runtime.cache import CachedNetwork, CorruptEntryError, NetworkCache
from restorer.runtime.device import pick_precision, thread_limit
from restorer.runtime.engine import Backend, check_batch, join_outputs
from restorer.runtime.openvino_library import convert, core, import_openvino, intel_gpus

if TYPE_CHECKING:
    import openvino as ov

    from restorer.weights.store import Weights


_NO_MEMORY = ("alloc", "out of memory", "out_of_resources", "out of gpu resources")


class OpenVINOEngine:
    """A network compiled by OpenVINO; see :class:`restorer.runtime.engine.Engine`."""

    backend: Backend = "openvino"

    def __init__(
        self,
        compiled: ov.CompiledModel,
        contract: NetworkContract,
        precision: Precision,
        notes: list[str],
        device: str = "cpu",
    ) -> None:
        self.contract = contract
        self.device = device
        self.precision: Precision = precision
        self.warnings = notes
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        self._lock = threading.Lock()

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network, one sample at a time."""
        check_batch(batch, self.contract)
        return join_outputs([self._run_one(batch[index : index + 1]) for index in range(len(batch))])

    def _run_one(self, sample: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        with self._lock:
            try:
                self._request.infer([np.ascontiguousarray(sample, dtype=np.float32)])
            except RuntimeError as error:
                raise _translated(error, self.contract, sample.shape, self.device) from error
            # copies: the request's own memory is overwritten by its next run
            return tuple(
                np.array(self._request.get_output_tensor(index).data, dtype=np.float32)
                for index in range(self._outputs)
            )

    def describe(self) -> str:
        """Say what runs where."""
        return f"{self.backend}, {self.device}, {self.precision}"


def open_openvino_engine(weights: Weights, *, precision: str, device: str = "cpu") -> OpenVINOEngine:
    """Open a network: from the cache where it is there, else from its weight file.

    Args:
        weights: The weight file.
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: ``cpu``, ``intel`` or ``intel:N``.

    Raises:
        WeightsError: The weight file cannot be used.
        DeviceError: OpenVINO cannot compile the network, or the precision that was named is not to be had.
    """
    notes: list[str] = []
    model, contract = _cached_or_converted(weights, notes)
    chosen = pick_precision(precision, device=device, contract=contract)
    try:
        compiled = core().compile_model(model, _openvino_name(device), _settings(chosen, device))
    except RuntimeError as error:
        raise _translated(error, contract, None, device) from error
    return OpenVINOEngine(compiled, contract, chosen, notes, device)


def _openvino_name(device: str) -> str:
    return "CPU" if device == "cpu" else intel_gpus()[int(device.partition(":")[2] or 0)].name


def _settings(precision: Precision, device: str) -> dict[str, Any]:
    if device != "cpu":
        # left to itself OpenVINO computes in float16 there, which GFP-GAN's features overflow
        return {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        # a pinned thread shares its core with another process's pinned thread while other cores idle
        "ENABLE_CPU_PINNING": False,
    }
    limit = thread_limit()
    if limit is not None:
        settings["INFERENCE_NUM_THREADS"] = limit
    return settings


def _cached_or_converted(weights: Weights, notes: list[str]) -> tuple[ov.Model, NetworkContract]:
    cache = NetworkCache.of(weights.sha256)
    try:
        found = _read_cached(cache)
    except CorruptEntryError:
        found = None  # looked at again below, under the lock
    if found is not None:
        return found
    with cache.lock() as writable:
        if not writable:
            return _convert(weights.path)
        try:
            found = _read_cached(cache)  # another process may have made it while this one waited
        except CorruptEntryError as error:
            notes.append(f"The cached network of {weights.name} was damaged ({error}) and has been made anew.")
            found = None
        return found if found is not None else _convert_into(cache, weights.path, notes)


def _read_cached(cache: NetworkCache) -> tuple[ov.Model, NetworkContract] | None:
    cached = cache.read()
    if cached is None:
        return None
    return _read_model(cached), cached.contract


def _read_model(cached: CachedNetwork) -> ov.Model:
    try:
        return core().read_model(cached.xml)
    except RuntimeError as error:
        raise CorruptEntryError("OpenVINO cannot read it") from error


def _convert_into(cache: NetworkCache, path: Path, notes: list[str]) -> tuple[ov.Model, NetworkContract]:
    """Convert a network and keep it; a full disk costs the cache, not the photograph."""
    model, contract = _convert(path)
    try:
        with cache.writing() as part:
            # float32 as trained: halving the file would round the weights
            import_openvino().save_model(model, part / "network.xml", compress_to_fp16=False)
            # read back, as every later run does, and without the memory that the conversion took
            model = _read_model(cache.publish(part, contract))
    except (OSError, RuntimeError, CorruptEntryError) as error:
        notes.append(f"The converted network could not be kept in {cache.folder.parent} ({error}).")
    return model, contract


def _convert(path: Path) -> tuple[ov.Model, NetworkContract]:
    """Turn a weight file into an OpenVINO model (imports torch)."""
    from restorer.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(path)
    return convert(checkpoint), checkpoint.contract


def _translated(
    error: RuntimeError, contract: NetworkContract, shape: tuple[int, ...] | None, device: str
) -> DeviceError:
    what = contract.architecture + (f" on {shape[3]}×{shape[2]} pixels" if shape else "")
    if any(words in str(error).lower() for words in _NO_MEMORY):
        return OutOfMemoryError(f"The memory does not suffice for {what}: try --tile with a smaller number.")
    if device != "cpu":
        return DeviceError(f"OpenVINO cannot run {what} on {device}: try --device cpu.")
    return DeviceError(f"OpenVINO cannot run {what}: set RESTORER_BACKEND=torch to run it in torch.")
