"""Converted networks are kept, read without torch, made anew where damaged, and never required."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restorer.checkpoints import save_checkpoint
from restorer.runtime import Engine, open_engine, opens_from_cache, openvino_engine
from restorer.runtime import cache as cache_module
from tests.networks_at_hand import small_gfpgan, weights_of

pytestmark = pytest.mark.usefixtures("torch_rng")

PROGRAM = """
import hashlib, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from restorer.runtime import open_engine

path = Path(sys.argv[1])
weights = SimpleNamespace(name="face", path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
engine = open_engine(weights, precision=sys.argv[2])
image = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)
(result,) = engine(image)
sys.stdout.buffer.write(hashlib.sha256(result.tobytes()).hexdigest().encode())
sys.exit(3 if "torch" in sys.modules else 4 if "openvino_telemetry" in sys.modules else 0)
"""
IMAGE = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)


@pytest.fixture
def weights(tmp_path: Path) -> Any:
    save_checkpoint(tmp_path / "face.safetensors", small_gfpgan(32))
    return weights_of(tmp_path / "face.safetensors")


def opened(weights: Any) -> Engine:
    return open_engine(weights, device="cpu", precision="fp32", backend="openvino")


def run_program(weights: Any, precision: str = "fp32") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(weights.path), precision],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )


def entry_of(cache: Path) -> Path:
    (entry,) = [folder for folder in cache.iterdir() if folder.is_dir()]
    return entry


def test_first_and_second_process_give_the_same_bytes_and_the_second_needs_no_torch(cache: Path, weights: Any) -> None:
    first, second = run_program(weights), run_program(weights)
    assert (first.returncode, second.returncode) == (3, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert first.stderr == second.stderr == ""
    assert sorted(path.name for path in entry_of(cache).iterdir()) == ["entry.json", "network.bin", "network.xml"]
    # the other precision is compiled from the same entry
    assert run_program(weights, "auto").returncode == 0


def test_what_is_in_the_cache_opens_without_torch(cache: Path, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not opens_from_cache(weights, device="cpu")
    opened(weights)
    assert opens_from_cache(weights, device="cpu")
    monkeypatch.setenv("RESTORER_BACKEND", "torch")
    assert not opens_from_cache(weights, device="cpu")


def test_nothing_is_reported_to_openvinos_makers(cache: Path, weights: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # its telemetry marks the home folder with an identity before it sends anything
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HOME": str(home), "USERPROFILE": str(home)}
    command = [sys.executable, "-c", PROGRAM, str(weights.path), "fp32"]
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 3
    assert list(home.iterdir()) == []


@pytest.mark.slow
def test_nothing_is_reported_where_openvino_was_there_before(cache: Path, weights: Any) -> None:
    before = """
import os, openvino, openvino_telemetry
openvino_telemetry.Telemetry.start_session = openvino_telemetry.Telemetry.send_event = lambda *a, **k: os._exit(9)
"""
    command = [sys.executable, "-c", before + PROGRAM, str(weights.path), "fp32"]
    assert subprocess.run(command, capture_output=True).returncode == 3


def test_number_of_threads_changes_no_bit(cache: Path, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for threads in ("1", "2", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(opened(weights)(IMAGE)[0])
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize(
    ("file", "damage"),
    [("network.bin", "flipped"), ("network.bin", "gone"), ("network.xml", "truncated"), ("entry.json", "flipped")],
)
def test_a_damaged_entry_is_made_anew(cache: Path, weights: Any, file: str, damage: str) -> None:
    (before,) = opened(weights)(IMAGE)
    path = entry_of(cache) / file
    content = bytearray(path.read_bytes())
    path.unlink()  # the engine above may still have the file mapped into memory
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0x80
        path.write_bytes(content)
    engine = opened(weights)
    assert len(engine.warnings) == 1
    assert "was damaged" in engine.warnings[0]
    assert np.array_equal(engine(IMAGE)[0], before)
    assert opened(weights).warnings == []


def test_a_good_entry_is_not_converted_again(cache: Path, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(weights)
    monkeypatch.setattr(openvino_engine, "convert", None)
    assert opened(weights).warnings == []


def test_only_what_was_touched_is_checked_again(cache: Path, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(weights)
    checked: list[str] = []
    checksum = cache_module._checksum

    def counting(file: Path) -> int:
        checked.append(file.name)
        return checksum(file)

    monkeypatch.setattr(cache_module, "_checksum", counting)
    monkeypatch.setattr(openvino_engine, "convert", None)
    assert opened(weights).warnings == [] and checked == []
    os.utime(entry_of(cache) / "network.bin", (1, 1))
    assert opened(weights).warnings == [] and checked == ["network.bin"]


def test_another_version_makes_a_new_entry_in_place_of_the_old(
    cache: Path, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(weights)
    old = entry_of(cache)
    monkeypatch.setattr(cache_module, "_version", lambda package: "9999.1")
    opened(weights)
    assert entry_of(cache) != old


@pytest.mark.parametrize("package", ["openvino", "torch", "facexlib", "spandrel"])
def test_every_version_that_matters_counts(cache: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    fingerprint, version = cache_module._source_fingerprint, cache_module._version
    before = cache_module.NetworkCache.of("0" * 64).folder
    assert cache_module.NetworkCache.of("0" * 64).folder == before
    assert cache_module.NetworkCache.of("1" + "0" * 63).folder != before
    try:
        fingerprint.cache_clear()
        monkeypatch.setattr(cache_module, "_version", lambda name: "9999.1" if name == package else version(name))
        assert cache_module.NetworkCache.of("0" * 64).folder != before
    finally:
        fingerprint.cache_clear()


def test_other_weights_have_an_entry_of_their_own(cache: Path, weights: Any, tmp_path: Path) -> None:
    opened(weights)
    save_checkpoint(tmp_path / "other.safetensors", small_gfpgan(32))
    opened(weights_of(tmp_path / "other.safetensors"))
    assert len([folder for folder in cache.iterdir() if folder.is_dir()]) == 2


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path, weights: Any) -> None:
    cache.parent.write_bytes(b"a file where the folder should be")  # holds for root, too, unlike permissions
    engine = opened(weights)
    assert engine(IMAGE)[0].shape == IMAGE.shape
    cache.parent.unlink()
    assert np.array_equal(opened(weights)(IMAGE)[0], engine(IMAGE)[0])  # the same bytes with and without a cache


def test_a_full_disk_costs_the_cache_only(cache: Path, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, part: Path, contract: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.NetworkCache, "publish", full)
    engine = opened(weights)
    assert engine(IMAGE)[0].shape == IMAGE.shape
    assert "No space left" in engine.warnings[0]
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_contract_comes_back_from_the_cache(cache: Path, weights: Any) -> None:
    first, second = opened(weights), opened(weights)
    assert first.contract == second.contract
    assert json.loads((entry_of(cache) / "entry.json").read_text())["contract"]["input_size"] == 32


@pytest.mark.slow
def test_two_processes_at_once(cache: Path, weights: Any) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(weights.path), "fp32"]
    both = [
        subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [process.communicate()[0] for process in both]
    # the one that waited finds the other's network and needs no torch
    assert sorted(process.returncode for process in both) in ([0, 3], [3, 3])
    assert results[0] == results[1] != ""
    entry_of(cache)
