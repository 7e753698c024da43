"""Runs shared by two processes: they agree with one process, decide alike, and a lost process is told of."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from restorer.errors import DeviceError, UsageError
from restorer.training.loop import LOG
from restorer.training.processes import Processes, join_processes
from restorer.training.state import STATE, load_state
from tests.training import two_processes

TOLERANCE = {"patch": 1e-7, "frozen": 1e-7, "detector": 1e-7, "paper": 1e-5}
"""Largest difference of any saved number after four to eight steps. Where each process has one of two parts, sums have
the same order and nothing differs on our machines; where each has two of four, gradients are added up in another order.
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have trained."""
    folder = tmp_path_factory.mktemp("shared")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tests.training.two_processes", str(folder)]
    both = [
        subprocess.Popen(
            command,
            env=os.environ | place | {"RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [DeviceError.exit_code, -signal.SIGKILL], said
    return folder


def _numbers(value: Any, name: str = "") -> dict[str, Tensor]:
    """Return every tensor of a state by its path."""
    if isinstance(value, Tensor):
        return {name: value.double()}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {key: found for part, inner in items for key, found in _numbers(inner, f"{name}/{part}").items()}


def _assert_alike(first: Path, second: Path, kind: str, tolerance: float) -> None:
    ours, theirs = (load_state(run, kind) for run in (first, second))
    assert (ours["images"], ours["step"]) == (theirs["images"], theirs["step"])
    ours, theirs = _numbers(ours), _numbers(theirs)
    assert ours.keys() == theirs.keys()
    apart = {name: float((ours[name] - theirs[name]).abs().max()) for name in ours if ours[name].numel()}
    assert max(apart.values()) <= tolerance, sorted(apart.items(), key=lambda item: -item[1])[:4]
    rows = [[json.loads(line) for line in (run / LOG).read_text().splitlines()] for run in (first, second)]
    assert [row["images"] for row in rows[0]] == [row["images"] for row in rows[1]]
    assert [row["loss"] for row in rows[0]] == pytest.approx([row["loss"] for row in rows[1]], abs=1e-5)


@pytest.mark.parametrize("name", two_processes.RUNS)
def test_two_processes_train_the_same_face_network_as_one(shared: Path, tmp_path: Path, name: str) -> None:
    two_processes.restoration(tmp_path, **two_processes.RUNS[name]).train()
    _assert_alike(shared / name, tmp_path, "restoration", TOLERANCE[name])


def test_two_processes_train_the_same_detector_as_one(shared: Path, tmp_path: Path) -> None:
    two_processes.detector(tmp_path).train()
    _assert_alike(shared / "detector", tmp_path, "detector", TOLERANCE["detector"])


def test_a_loss_that_is_not_finite_in_one_process_ends_both(shared: Path) -> None:
    for rank in range(2):
        assert "is nan after 4 images" in (shared / "diverged" / f"said-{rank}.txt").read_text()
    assert load_state(shared / "diverged", "restoration")["images"] == 4


def test_a_lost_process_ends_the_run_with_the_last_state_whole(shared: Path) -> None:
    said = (shared / "lost" / "said.txt").read_text()
    assert "Another process of this run was lost" in said and "start the run again" in said
    alone = two_processes.restoration(shared / "lost", batch=4, parts=2, save_every=4)
    alone.resume()
    assert alone.images == 8 and alone.train().finished
    assert not list((shared / "lost").glob("*.part")) and (shared / "lost" / STATE).exists()


@pytest.mark.parametrize(("parts", "share"), [(2, [1]), (4, [2, 3])])
def test_parts_are_shared_in_order(parts: int, share: list[int]) -> None:
    assert list(Processes(rank=1, count=2).share(parts)) == share


def test_parts_that_cannot_be_shared_evenly_are_refused() -> None:
    with pytest.raises(UsageError, match="give the recipe parts = 2 or a multiple"):
        Processes(rank=1, count=2).share(3)


@pytest.mark.parametrize(("device", "word"), [("cuda", "finds no GPU"), ("gpu9", "unknown")])
def test_a_device_that_is_not_there_is_refused(device: str, word: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match=word), join_processes(device):
        pass
