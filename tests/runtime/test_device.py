"""The choice of device and precision, with machines that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from restorer.checkpoints import save_checkpoint
from restorer.contract import NetworkContract
from restorer.errors import DeviceError, ExitCode, OutOfMemoryError, UsageError
from restorer.runtime import device, open_engine, openvino_engine, openvino_library, pick_device, pick_precision
from restorer.runtime.device import split_devices
from tests.networks_at_hand import small_gfpgan, weights_of

FACE = NetworkContract("gfpgan", "face", precisions=("bf16", "fp32"))
DETECTOR = NetworkContract("retinaface", "detector")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cuda_driver_present", lambda: False)
    monkeypatch.setattr(device, "_mps_fault", lambda: "MPS exists on macOS only")
    device._cuda_fault.cache_clear()


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cuda_driver_present", lambda: True)
    monkeypatch.setattr(device, "_cuda_fault", lambda name: None)


@pytest.mark.usefixtures("no_gpu")
def test_auto_without_a_gpu_is_the_processor() -> None:
    assert pick_device() == pick_device("auto") == pick_device("cpu") == "cpu"


@pytest.mark.usefixtures("with_gpu")
def test_auto_with_a_gpu_is_cuda() -> None:
    assert pick_device("auto") == "cuda"
    assert pick_device("cuda:1") == "cuda:1"
    assert pick_device("cpu") == "cpu"


def test_auto_passes_over_a_gpu_that_cannot_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cuda_driver_present", lambda: True)
    monkeypatch.setattr(device, "_cuda_fault", lambda name: "no kernel image is available")
    monkeypatch.setattr(device, "_mps_fault", lambda: None)
    assert pick_device("auto") == "mps"
    with pytest.raises(DeviceError, match="no kernel image is available; this machine has cpu, mps"):
        pick_device("cuda")


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "mps", "intel"])
@pytest.mark.usefixtures("no_gpu")
def test_a_named_device_that_is_missing(name: str) -> None:
    with pytest.raises(DeviceError, match=f"Device {name} cannot be used: .*; this machine has cpu") as caught:
        pick_device(name)
    assert caught.value.exit_code == ExitCode.DEVICE


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU", "intel:x", "cuda:0;1", "cuda:99999"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        pick_device(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auto", ("auto",)),
        ("cpu", ("cpu",)),
        ("cuda:1", ("cuda:1",)),
        ("cuda:0,1", ("cuda:0", "cuda:1")),
        ("cuda:2,0,7", ("cuda:2", "cuda:0", "cuda:7")),
        ("cuda:0,cuda:1", ("cuda:0", "cuda:1")),
    ],
)
def test_several_devices(name: str, expected: tuple[str, ...]) -> None:
    assert split_devices(name) == expected


def test_help_names_every_kind_of_device() -> None:
    from click.testing import CliRunner

    from restorer.cli.restore import restore_command

    words = " ".join(CliRunner().invoke(restore_command, ["--help"]).stdout.split())
    assert "auto, cpu, cuda, cuda:N, several GPUs as cuda:0,1, mps, or intel, intel:N" in words


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda:0,0", "names device 0 twice"),
        ("cuda:1,01", "names device 1 twice"),
        ("cuda:0,", "no list of devices such as cuda:0,1"),
        ("cuda,cuda:1", "no list of devices"),
        ("cpu,cuda:0", "no list of devices"),
        ("mps,mps", "no list of devices"),
        (",", "no list of devices"),
    ],
)
def test_a_list_of_devices_that_is_none(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        split_devices(name)
    assert caught.value.exit_code == ExitCode.USAGE


def test_several_devices_where_one_is_needed() -> None:
    with pytest.raises(UsageError, match="names several devices, where one is needed"):
        pick_device("cuda:0,1")


class TwoGPUs:
    """An OpenVINO that finds two GPUs and runs them on the processor."""

    available_devices: ClassVar = ["CPU", "GPU.0", "GPU.1", "NPU"]

    def __init__(self) -> None:
        self.compiled: list[tuple[str, dict]] = []
        self._real = openvino_library.core()

    def get_property(self, name: str, key: str) -> str:
        assert key == "FULL_DEVICE_NAME"
        return {"GPU.0": "Intel(R) UHD Graphics", "GPU.1": "Intel(R) Arc(TM) A770"}[name]

    def read_model(self, path: object) -> object:
        return self._real.read_model(path)

    def compile_model(self, model: object, name: str, settings: dict) -> object:
        self.compiled.append((name, settings))
        return self._real.compile_model(model, "CPU", settings)


@pytest.fixture
def intel(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoGPUs]:
    fake = TwoGPUs()
    monkeypatch.setattr(openvino_library, "core", lambda: fake)
    monkeypatch.setattr(openvino_engine, "core", lambda: fake)
    openvino_library.intel_gpus.cache_clear()
    yield fake
    openvino_library.intel_gpus.cache_clear()


@pytest.mark.usefixtures("no_gpu")
def test_intel_gpus_are_openvinos_and_taken_only_by_name(intel: TwoGPUs) -> None:
    assert pick_device("auto") == "cpu"
    assert pick_device("intel") == "intel"
    assert pick_device("intel:1") == "intel:1"
    with pytest.raises(DeviceError, match=r"no Intel GPU number 2; this machine has cpu, intel:0 \(Intel\(R\) UHD"):
        pick_device("intel:2")


@pytest.mark.usefixtures("no_gpu")
def test_no_intel_gpu(monkeypatch: pytest.MonkeyPatch, intel: TwoGPUs) -> None:
    monkeypatch.setattr(TwoGPUs, "available_devices", ["CPU"])
    with pytest.raises(DeviceError, match="OpenVINO finds no Intel GPU"):
        pick_device("intel")
    monkeypatch.setattr(openvino_library, "openvino_at_hand", lambda: False)
    with pytest.raises(DeviceError, match="needs the package openvino"):
        pick_device("intel")


@pytest.mark.usefixtures("torch_rng")
def test_a_network_on_an_intel_gpu(
    intel: TwoGPUs, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "face.safetensors", small_gfpgan())
    weights = weights_of(tmp_path / "face.safetensors")
    engine = open_engine(weights, device="intel:1")
    name, settings = intel.compiled[0]
    # never float16, which it would compute in if it were not told
    assert (name, settings["INFERENCE_PRECISION_HINT"]) == ("GPU.1", "f32")
    assert engine.describe() == "openvino, intel:1, fp32"
    image = np.linspace(-1, 1, 3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    plain = open_engine(weights, device="cpu", precision="fp32")
    assert np.abs(engine(image)[0] - plain(image)[0]).max() < 1e-4
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        open_engine(weights, device="intel", precision="bf16")
    with pytest.raises(DeviceError, match="Device intel is run by OpenVINO"):
        open_engine(weights, device="intel", backend="torch")

    def short(inputs: object) -> None:
        raise RuntimeError("[GPU] out of GPU resources")

    monkeypatch.setattr(engine, "_request", SimpleNamespace(infer=short))
    with pytest.raises(OutOfMemoryError, match="does not suffice for gfpgan on 64×64"):
        engine(image)


def test_mps_falls_back_to_the_processor_for_missing_kernels(tmp_path: Path) -> None:
    """torch reads the variable when it is imported, so it has to be set before."""
    stand_in = tmp_path / "torch.py"
    stand_in.write_text(
        "import os\n"
        "print(os.environ.get('PYTORCH_ENABLE_MPS_FALLBACK'))\n"
        "class backends:\n class mps:\n  @staticmethod\n  def is_available(): return True\n"
        "class ones:\n def __init__(self, *a, **k): print(k['device'])\n"
        " def __mul__(self, n): return self\n def sum(self): return 4.0\n"
    )
    program = (
        "import platform; platform.system = lambda: 'Darwin'; "
        "from restorer.runtime import pick_device; print(pick_device())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTORCH_ENABLE_MPS_FALLBACK"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "mps", "mps"], done.stderr


def test_hidden_gpus_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_DRIVER_FILES", ("/",))
    monkeypatch.setattr(device.platform, "system", lambda: "Linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device._cuda_driver_present()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not device._cuda_driver_present()


def test_choice_without_a_driver_imports_no_torch() -> None:
    program = "import sys; from restorer.runtime import pick_device; print(pick_device('auto'), 'torch' in sys.modules)"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    if sys.platform != "darwin":
        assert done.stdout.split() == ["cpu", "False"]


@pytest.mark.parametrize(
    ("choice", "contract", "capable", "expected"),
    [
        ("auto", FACE, True, "bf16"),
        ("auto", FACE, False, "fp32"),
        ("auto", DETECTOR, True, "fp32"),
        ("bf16", FACE, True, "bf16"),
        ("bf16", DETECTOR, True, "fp32"),
        ("fp32", FACE, True, "fp32"),
        ("fp32", DETECTOR, False, "fp32"),
    ],
)
def test_precision(
    monkeypatch: pytest.MonkeyPatch, choice: str, contract: NetworkContract, capable: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "computes_bf16", lambda name: capable)
    assert pick_precision(choice, device="cpu", contract=contract) == expected


def test_named_precision_that_the_chip_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "computes_bf16", lambda name: False)
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        pick_precision("bf16", device="cpu", contract=FACE)
    with pytest.raises(UsageError, match="fp16 is unknown"):
        pick_precision("fp16", device="cpu", contract=FACE)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs /proc/cpuinfo")
def test_bf16_on_the_processor_agrees_with_its_flags() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    if "flags" not in flags:
        pytest.skip("not an x86 processor")
    assert device.computes_bf16("cpu") == ("avx512_bf16" in flags or "amx_bf16" in flags)


@pytest.mark.parametrize("name", ["mps", "intel", "intel:1"])
def test_what_stays_in_fp32(name: str) -> None:
    assert pick_precision("auto", device=name, contract=FACE) == "fp32"
    with pytest.raises(DeviceError, match="does not compute in bf16"):
        pick_precision("bf16", device=name, contract=FACE)


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_bf16_from_ampere_on(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str) -> None:
    import torch

    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: capability)
    assert pick_precision("auto", device="cuda:1", contract=FACE) == expected


@pytest.mark.parametrize(("capable", "expected"), [(True, "bf16"), (False, "fp32")])
def test_bf16_on_amds_gpus_as_torch_says(monkeypatch: pytest.MonkeyPatch, capable: bool, expected: str) -> None:
    import torch

    monkeypatch.setattr(torch.version, "hip", "6.2")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: capable)
    assert pick_precision("auto", device="cuda", contract=FACE) == expected


@pytest.mark.parametrize(("named", "expected"), [("3", 3), ("2,1", 2), (" 4 ", 4)])
def test_thread_limit_of_the_environment(monkeypatch: pytest.MonkeyPatch, named: str, expected: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", named)
    assert device.thread_limit() == expected


def test_thread_limit_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    monkeypatch.setattr(device.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    monkeypatch.setattr(device, "_container_quota", lambda path: None)
    assert device.thread_limit() == 3
    monkeypatch.setattr(device, "_container_quota", lambda path: 2)
    assert device.thread_limit() == 2
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(device, "_container_quota", lambda path: None)
    assert device.thread_limit() is None


@pytest.mark.parametrize(
    ("content", "processors"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", None)]
)
def test_container_quota(tmp_path: Path, content: str, processors: int | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert device._container_quota(tmp_path / "cpu.max") == processors
    assert device._container_quota(tmp_path / "nowhere") is None
