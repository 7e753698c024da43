"""The main job with nothing put in its place: the command, the bundled networks, a real face, no connection.

What the networks paint is not judged here: their files change whenever they are trained anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from restorer.cli.group import group
from restorer.cli.restore import restore_command
from restorer.pipeline.upsample import enlarge
from restorer.runtime.openvino_library import openvino_at_hand
from restorer.weights import WeightStore


@pytest.fixture
def portrait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write portrait.png, a face some 90 pixels wide among other things, and return its pixels."""
    data = pytest.importorskip("skimage.data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pixels: np.ndarray = data.astronaut()[:300, 60:400]
    Image.fromarray(pixels).save("portrait.png")
    return pixels


def run(*arguments: str) -> Result:
    return CliRunner().invoke(restore_command, [*arguments, "--offline", "--device", "cpu"], prog_name="restore")


def test_a_photograph_on_a_fresh_machine(portrait: np.ndarray) -> None:
    result = run("portrait.png", "-o", "out", "-v", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["status"], report["output"]) == ("restored", "out/portrait.png")
    lite = WeightStore().verify("lite")
    assert report["model"] == {"name": "lite", "sha256": lite.sha256, "fallback": True}
    assert lite.sha256 == hashlib.sha256(lite.path.read_bytes()).hexdigest()
    (face,) = [face for face in report["faces"] if face["restored"]]
    x0, y0, x1, y1 = face["box"]
    assert 60 < x1 - x0 < 130 and 60 < y1 - y0 < 170
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in face["landmarks"])
    # which network runs where stands on standard error, and so does the fall-back, once
    library = "openvino" if openvino_at_hand() else "torch"
    for kind, name in (("detector", "detector-lite"), ("face", "lite")):
        (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"{kind}: {name} (")]
        assert f", {library}, cpu, " in line
    assert result.stderr.count("using the bundled network lite in place of gfpgan-1.4") == 1
    with Image.open("out/portrait.png") as image:
        restored = np.asarray(image).astype(int)
    difference = np.abs(restored - enlarge(portrait, 2)).max(axis=-1)
    centre = difference[int(y0 + y1) - 30 : int(y0 + y1) + 30, int(x0 + x1) - 30 : int(x0 + x1) + 30]
    assert centre.mean() > 0.5, "the face is painted anew"
    reach = 2 * (x1 - x0)
    away = np.ones(difference.shape, bool)
    away[: int(2 * y1 + reach), max(0, int(2 * x0 - reach)) : int(2 * x1 + reach)] = False
    assert away.any() and not difference[away].any(), "nothing else is"
    with Image.open("out/comparisons/portrait.png.jpg") as image:
        assert image.size[0] > 2 * 680


PROGRAM = """
import sys
from restorer.cli.restore import restore_command
try:
    restore_command(sys.argv[1:])
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def test_with_cached_networks_torch_stays_away_and_threads_change_nothing(portrait: np.ndarray) -> None:
    if not openvino_at_hand():
        pytest.skip("torch runs the networks here")
    assert run("portrait.png", "-o", "first.png", "--compare").exit_code == 0  # converts the networks where need be
    for threads in ("1", "2"):
        arguments = ["portrait.png", "-o", f"{threads}.png", "--compare", "--offline", "--device", "cpu"]
        again = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
        )
        assert again.returncode == 0 and again.stderr.splitlines()[-1] == "False", again.stderr
        for suffix in ("png", "compare.jpg"):
            assert Path(f"{threads}.{suffix}").read_bytes() == Path(f"first.{suffix}").read_bytes()


def test_strength_zero_is_the_plain_enlargement_to_the_bit(portrait: np.ndarray) -> None:
    assert run("portrait.png", "-o", "still.png", "--strength", "0").exit_code == 0
    with Image.open("still.png") as image:
        assert np.array_equal(np.asarray(image), enlarge(portrait, 2))


def test_the_demo(portrait: np.ndarray) -> None:
    result = CliRunner().invoke(group, ["demo", "-o", "out", "--device", "cpu"])
    assert result.exit_code == 0 and result.stderr.startswith("1 face restored in "), result.stderr
    pictures = {}
    for name in ("original.png", "degraded.jpg", "restored.png"):
        with Image.open(Path("out") / name) as image:
            pictures[name] = np.asarray(image.convert("RGB").resize((512, 512))).astype(int)
    assert np.abs(pictures["restored.png"] - pictures["degraded.jpg"])[60:200, 180:270].mean() > 1
    assert Path("out/comparison.jpg").exists()
