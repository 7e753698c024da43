"""The command in this process, with networks whose output is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from restorer import api
from restorer.cli.restore import restore_command
from tests.fakes import FakeEngine, FakeNetworks, brighter

Run = Callable[..., Result]


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> FakeNetworks:
    """Put fake networks in the place of the real ones."""
    fakes = FakeNetworks(engine=FakeEngine(brighter))
    monkeypatch.setattr(api, "OpenedNetworks", lambda *args, **keywords: fakes)
    return fakes


@pytest.fixture
def run(networks: FakeNetworks) -> Run:
    """Return the command: arguments in; exit code, output, errors and exception out."""

    def invoke(*args: str | Path, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(restore_command, [str(arg) for arg in args], input=stdin, prog_name="restore")

    return invoke


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a photograph, photo.jpg, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return picture("photo.jpg")


def picture(name: str, width: int = 96, height: int = 80) -> Path:
    """Write a photograph of noise and return its relative path."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(path)
    return path
