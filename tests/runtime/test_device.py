"""The choice of device and precision, with machines that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from restorer.contract import NetworkContract
from restorer.errors import DeviceError, ExitCode, UsageError
from restorer.runtime import device, pick_device, pick_precision

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


@pytest.mark.parametrize("name", ["cuda", "cuda:3", "mps"])
@pytest.mark.usefixtures("no_gpu")
def test_a_named_device_that_is_missing(name: str) -> None:
    with pytest.raises(DeviceError, match=f"Device {name} cannot be used: .*; this machine has cpu") as caught:
        pick_device(name)
    assert caught.value.exit_code == ExitCode.DEVICE


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU"])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        pick_device(name)


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


def test_mps_stays_in_fp32() -> None:
    assert pick_precision("auto", device="mps", contract=FACE) == "fp32"


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
