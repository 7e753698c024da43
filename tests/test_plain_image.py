"""A plain PyTorch image: torch, numpy, opencv, pillow, click and tqdm, nothing else. The main job works there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
OTHERS = (
    "facexlib",
    "filelock",
    "numba",
    "openvino",
    "piq",
    "pillow_heif",
    "platformdirs",
    "safetensors",
    "scipy",
    "skimage",
    "spandrel",
    "torchvision",
)
"""Libraries that the package may use and such an image lacks."""
WITHOUT = f"import sys\nfor name in {OTHERS}: sys.modules[name] = None\n"


def run(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RESTORER_CACHE"}
    environment |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + program, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
    )


def test_a_portrait_is_restored_by_the_bundled_networks(tmp_path: Path) -> None:
    with Image.open(ROOT / ".github" / "demo.jpg") as demo:
        demo.crop((90, 0, 490, 420)).resize((200, 210)).save(tmp_path / "portrait.png")
    program = "from restorer.cli.restore import main; main()"
    done = run(program, tmp_path, "portrait.png", "-o", "better.png", "--offline", "--upscale", "1")
    assert done.returncode == 0, done.stderr
    assert "1 face restored" in done.stderr
    before, after = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("portrait.png", "better.png"))
    assert before.shape == after.shape
    assert np.abs(after - before)[40:180, 50:150].mean() > 1, "the face is as it was"
    assert (tmp_path / "cache" / "restorer").is_dir()  # without platformdirs, the usual place on Linux


def test_a_missing_gpu_is_an_error_there_too(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    for device in ("cuda:0,1", "intel"):
        done = run(
            "from restorer.cli.restore import main; main()", tmp_path, "x.png", "--offline", "-q", "--device", device
        )
        assert done.returncode == 6, done.stderr
        first = device.partition(",")[0]
        assert f"Device {first} cannot be used" in done.stderr and "this machine has cpu" in done.stderr
    assert not (tmp_path / "restored").exists()


@pytest.mark.slow
def test_the_gpu_benchmark_runs_there(tmp_path: Path) -> None:
    """The whole script, on the processor with a small network: every part of it ends, and what must hold does."""
    folder, script = str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "gpu.py")
    program = f"import runpy; sys.path.insert(0, {folder!r}); runpy.run_path({script!r}, run_name='__main__')"
    done = run(program, tmp_path, "--device", "cpu", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "GFLOP a face",
        "against the reference",
        "photographs a second",
        "2 restored",
        "Self CPU",
        "| memory too small for 16 faces | 3 halvings, then finished",
    ):
        assert words in done.stdout, done.stdout
    assert "FAILS" not in done.stdout
