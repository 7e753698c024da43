from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from restorer.cli import demo
from restorer.cli.group import group
from restorer.pipeline import networks
from tests.fakes import FakeEngine, FakeNetworks, brighter, face_at


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    asked = []

    def opened(options: object, **keywords: object) -> FakeNetworks:
        asked.append((options, keywords))
        return FakeNetworks(lambda pixels: [face_at(112, 55, 60)], FakeEngine(brighter))

    monkeypatch.setattr(networks, "OpenedNetworks", opened)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(group, ["demo", "-o", "out"])
    assert result.exit_code == 0, result.output
    names = ["original.png", "degraded.jpg", "restored.png", "comparison.jpg"]
    assert result.stdout.split() == [str(Path("out") / name) for name in names]
    pictures = {}
    for name in names:
        with Image.open(Path("out") / name) as picture:
            pictures[name] = picture.size
    assert pictures["original.png"] == pictures["restored.png"] == (512, 512)
    assert pictures["degraded.jpg"] == (256, 256) and pictures["comparison.jpg"][0] > 1024
    ((options, keywords),) = asked
    assert options.model == "lite" and options.offline and keywords == {"detector": "detector-lite"}  # type: ignore[attr-defined]


def test_degradation_repeats_and_degrades() -> None:
    y, x = np.mgrid[:64, :64]
    checks = np.repeat((((x // 4 + y // 4) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    first, again, other = demo.degrade(checks), demo.degrade(checks), demo.degrade(checks, seed=1)
    assert first.shape == (32, 32, 3) and np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.std() < cv2.resize(checks, (32, 32), interpolation=cv2.INTER_AREA).std() / 2


def test_without_scikit_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(group, ["demo"])
    assert result.exit_code == 2 and 'pip install "restorer[demo]"' in result.stderr
    assert list(tmp_path.iterdir()) == []
