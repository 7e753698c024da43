"""What goes wrong in training ends with one sentence and the documented exit code, the last good state untouched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from restorer.checkpoints import load_checkpoint
from restorer.cli.group import group
from restorer.training.loop import LOG
from restorer.training.state import STATE, load_state
from tests.training.faces import drawn_face, write_zip

RECIPE = """
images = 8
batch = 2
bf16 = false
save_every = 2
learning_rate = 1e-3
[sizes]
out_size = 64
style_dim = 8
prior_channels = [8, 8, 8, 8]
unet_channels = [4, 4, 4, 4]
mlp_layers = 0
patch = 2
[losses]
feature_matching = 0.0
"""
Train = Callable[..., Result]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train in a folder with faces.zip and recipe.toml."""
    monkeypatch.chdir(tmp_path)
    write_zip(Path("faces.zip"), [drawn_face(seed) for seed in range(3)])
    Path("recipe.toml").write_text(RECIPE)

    def invoke(*arguments: str, faces: str = "faces.zip", run: str = "run", recipe: str = "recipe.toml") -> Result:
        words = ["train", "restoration", faces, "-o", run, "--recipe", recipe, *arguments]
        return CliRunner().invoke(group, words, prog_name="restorer")

    return invoke


def _ends(result: Result, code: int, word: str) -> None:
    assert result.exit_code == code, result.output
    *_, last = result.stderr.strip().splitlines()
    assert last.startswith("restorer: ") and re.search(word, last), result.stderr
    assert "Traceback" not in result.output and result.stdout == ""


@pytest.mark.parametrize(
    ("where", "changes", "code", "word"),
    [
        ({"faces": "none.zip"}, (), 3, "none.zip is missing"),
        ({"faces": "cut.zip"}, (), 3, "may be truncated"),
        ({"faces": "empty"}, (), 3, "manifest.json is missing"),
        ({}, ("--set", "sizes.out_size=128", "--set", "sizes.patch=4"), 3, "64×64 pixels, not 128×128"),
        ({"recipe": "liter"}, (), 2, "recipes of this package: .*lite"),
        ({}, ("--set", "imagse=3"), 2, "unknown key 'imagse'"),
        ({}, ("--set", "images=3.5"), 2, "images is 3.5, not of type int"),
        ({}, ("--set", "losses.l1=[1]"), 2, "l1 is \\[1\\], not of type float"),
        ({}, ("--set", "batch"), 2, "write key=value"),
        ({}, ("--set", "sizes.prior_channels=[8, 8]"), 2, "sizes cannot be built"),
        ({"run": "faces.zip"}, (), 4, "faces.zip"),
        ({}, ("--device", "gpu"), 6, "unknown"),
        ({}, ("--from", "empty"), 2, "no training state"),
    ],
)
def test_before_the_first_step(
    train: Train, where: dict[str, str], changes: tuple[str, ...], code: int, word: str
) -> None:
    Path("cut.zip").write_bytes(Path("faces.zip").read_bytes()[:-100])
    Path("empty").mkdir()
    _ends(train(*changes, **where), code, word)
    assert not Path("run").exists()


def test_a_run_goes_on_with_its_own_recipe_only(train: Train) -> None:
    assert train("--minutes", "0").exit_code == 0
    before = Path("run", STATE).read_bytes()
    _ends(train("--set", "batch=4"), 2, "batch was 2 and is 4")
    assert Path("run", STATE).read_bytes() == before
    assert train("--set", "save_every=4").exit_code == 0  # which changes nothing that was done


def test_numbers_that_are_not_finite_end_the_run_with_the_state_before(train: Train) -> None:
    """With a rate far too high the loss is lost in the second or third step."""
    _ends(train("--set", "learning_rate=1e30", "--set", "warmup=0"), 5, "new run with a lower learning rate")
    state = load_state(Path("run"), "restoration")
    assert state["images"] >= 2
    assert json.loads(Path("run", LOG).read_text().splitlines()[-1])["images"] == state["images"]


def test_a_damaged_state_is_told_of(train: Train) -> None:
    assert train("--minutes", "0").exit_code == 0
    whole = Path("run", STATE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no state"):
        Path("run", STATE).write_bytes(damaged)
        _ends(train(), 5, "is damaged")
        assert Path("run", STATE).read_bytes() == damaged
    Path("run", STATE).write_bytes(whole)
    assert train().exit_code == 0


def test_a_full_disk_while_saving_leaves_the_state_before(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("--minutes", "0").exit_code == 0
    before = Path("run", STATE).read_bytes()

    def full(_: object, path: Path) -> None:
        path.write_bytes(before[:1000])
        # as torch's own writer reports it
        raise RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        _ends(train(), 4, "cannot be saved.*free some space")
    assert Path("run", STATE).read_bytes() == before and not list(Path("run").glob("*.part"))
    assert train().exit_code == 0 and load_state(Path("run"), "restoration")["images"] == 8


def test_it_trains_and_exports_in_a_plain_pytorch_image(train: Train, tmp_path: Path) -> None:
    """There are torch, numpy, opencv, pillow, click and tqdm, and none of the package's other libraries."""
    others = ("facexlib", "spandrel", "openvino", "safetensors", "platformdirs", "filelock", "torchvision", "skimage")
    script = f"import sys\nfor name in {others}: sys.modules[name] = None\nfrom restorer.cli.group import group\n"
    script += "for words in map(str.split, sys.argv[1:]): group(words, standalone_mode=False)"
    words = ["train restoration faces.zip -o run --recipe recipe.toml", "train export run -o mine.safetensors"]
    words += ["degrade faces.zip -o damaged --preset old"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert load_checkpoint(tmp_path / "mine.safetensors").contract.input_size == 64
    assert len(list((tmp_path / "damaged").glob("*.png"))) == 3
