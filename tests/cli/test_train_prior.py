"""``restorer train prior``: from faces to a run, on from where it stopped, and to a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from restorer.checkpoints.reading import read
from restorer.cli.group import group
from restorer.cli.session import RECIPES
from restorer.training.prior_settings import PriorSettings
from restorer.training.settings import load_recipe
from restorer.training.state import load_state
from tests.training.faces import drawn_face, write_zip

RECIPE = """
images = 16
batch = 4
bf16 = false
ada_images = 100
[sizes]
out_size = 64
style_dim = 8
prior_channels = [8, 8, 8, 4]
unet_channels = [4, 4, 4, 4]
mlp_layers = 1
patch = 2
"""


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "faces.zip", [drawn_face(seed) for seed in range(3)])


def _train(faces: Path, run: Path, *more: str, recipe: str = RECIPE) -> Result:
    path = run.parent / "tiny.toml"
    path.write_text(recipe, encoding="utf-8")
    return CliRunner().invoke(group, ["train", "prior", str(faces), "-o", str(run), "--recipe", str(path), *more])


def test_from_faces_to_a_file(faces: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "prior.safetensors"
    first = _train(faces, run, "--minutes", "0")
    assert first.exit_code == 0, first.output
    assert "4 of 16 images, saved, to be continued" in first.stderr
    second = _train(faces, run, "--export", str(file))
    assert second.exit_code == 0, second.output
    assert "16 of 16 images, finished" in second.stderr and "after 16 images" in second.stderr
    assert second.stdout == ""
    state, written = load_state(run, "prior")["average"], read(file).state
    assert set(written) == {f"stylegan_decoder.{name}" for name in state}
    for name, tensor in state.items():
        assert torch.equal(written[f"stylegan_decoder.{name}"], tensor.half())
    assert (run / "sheets" / "000000016.png").exists() and (run / "losses.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--set", "augment='flips'"), 2, "no augmentation 'flips'"),
        (("--set", "sizes.residual=true"), 2, "residual = false"),
        (("--set", "sizes.out_size=128"), 2, "do not fit together"),
        (("--set", "r2=3"), 2, "unknown key 'r2'"),
    ],
)
def test_a_bad_recipe_ends_with_a_sentence(
    faces: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    result = _train(faces, tmp_path / "run", *arguments)
    assert result.exit_code == code
    assert sentence in result.stderr and "Traceback" not in result.stderr


def test_a_run_of_another_kind_is_refused(faces: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    torch.save({"kind": "restoration", "images": 0}, run / "state.pt")
    result = _train(faces, run)
    assert result.exit_code == 2
    assert "another kind of network (restoration, not prior)" in result.stderr


@pytest.mark.parametrize("name", ["prior", "prior-lite"])
def test_the_recipes_that_come_along_are_whole(name: str) -> None:
    settings = load_recipe(RECIPES / f"{name}.toml", PriorSettings)
    sizes = settings.sizes
    assert sizes.inner_size * sizes.patch == sizes.out_size == 512
    assert settings.discriminator.image_size == 512
    assert (settings.batch // settings.parts) % 4 == 0  # whole groups for the deviation over the minibatch
    assert sizes.mlp_layers > 0 and not sizes.residual
