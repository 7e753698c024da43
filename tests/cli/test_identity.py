"""``--identity``: the angle in each face's record, a word above the limit, and code 5 without its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from restorer import api
from restorer.cli.restore import restore_command
from restorer.pipeline import networks as real
from restorer.pipeline.identity import IDENTITY_LIMIT
from tests.fakes import FakeEngine, FakeNetworks, many_faces


def recoloured(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Paint somebody else: all red, which mean colours tell from the photograph's green."""
    out = np.full_like(batch, -1)
    out[:, 0] = 1
    return out


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (200, 150), (20, 230, 20)).save("photo.png")
    return Path("photo.png")


def run(monkeypatch: pytest.MonkeyPatch, fakes: FakeNetworks, *args: str) -> Result:
    monkeypatch.setattr(api, "OpenedNetworks", lambda *args, **keywords: fakes)
    return CliRunner().invoke(restore_command, ["photo.png", "--json", *args])


def faces(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["faces"]
    return found


def test_the_same_face_has_not_turned(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakeNetworks(), "--identity")
    assert result.exit_code == 0, result.output
    assert [face["identity"] for face in faces(result)] == [pytest.approx(0, abs=0.01)]
    assert json.loads(result.stdout)["warnings"] == []


def test_somebody_else_is_told(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = FakeNetworks(many_faces(2), FakeEngine(recoloured))
    result = run(monkeypatch, fakes, "--identity")
    first = np.array([20, 230, 20]) / 127.5
    expected = np.degrees(np.arccos(first @ [2, 0, 0] / (2 * np.linalg.norm(first))))
    assert expected > IDENTITY_LIMIT
    assert [face["identity"] for face in faces(result)] == [pytest.approx(expected, abs=0.1)] * 2
    warnings = json.loads(result.stdout)["warnings"]
    assert [warning[:6] for warning in warnings] == ["Face 1", "Face 2"] and "85°" in warnings[0]
    assert "Face 1 may no longer be the same person" in result.stderr
    weaker = run(monkeypatch, fakes, "--identity", "--strength", "0.2")
    assert faces(weaker)[0]["identity"] < IDENTITY_LIMIT and json.loads(weaker.stdout)["warnings"] == []


def test_faces_left_alone_have_no_angle(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = FakeNetworks(many_faces(3), FakeEngine(recoloured))
    result = run(monkeypatch, fakes, "--identity", "--faces", "largest")
    assert sorted("identity" in face for face in faces(result)) == [False, False, True]
    (warning,) = json.loads(result.stdout)["warnings"]
    number = [face["restored"] for face in faces(result)].index(True) + 1
    assert warning.startswith(f"Face {number} ")


def test_without_the_option_nothing_is_measured(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = FakeNetworks(engine=FakeEngine(recoloured))
    result = run(monkeypatch, fakes)
    assert "identity" not in faces(result)[0] and "identity" not in fakes.opened


def test_aligned_faces_too(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 64), (20, 230, 20)).save("photo.png")
    result = run(monkeypatch, FakeNetworks(engine=FakeEngine(recoloured)), "--identity", "--aligned")
    assert faces(result)[0]["identity"] > IDENTITY_LIMIT


def test_missing_weights_end_the_run_before_any_work(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real.OpenedNetworks, "find", lambda self: FakeNetworks().find())
    result = CliRunner().invoke(restore_command, ["photo.png", "--identity", "--offline", "--model", "lite"])
    assert result.exit_code == 5 and "restorer weights get arcface" in result.stderr
    assert "Traceback" not in result.stderr and not list(Path("restored").rglob("*.*"))
