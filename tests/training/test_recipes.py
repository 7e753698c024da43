"""The recipes that come with the package, the ablations they allow, and recipes that are based on others."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from restorer.checkpoints import load_checkpoint
from restorer.cli.group import group
from restorer.errors import UsageError
from restorer.faces import AlignedFace, Face
from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from restorer.networks.unet import PlainUNet
from restorer.options import RestoreOptions
from restorer.pipeline.networks import OpenedNetworks
from restorer.training.detector import DetectorSettings
from restorer.training.prior_settings import PriorSettings
from restorer.training.settings import RECIPES, RestorationSettings, load_recipe
from tests.training.faces import drawn_face, write_zip

KINDS = {"detector": DetectorSettings, "prior": PriorSettings}
NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))
SMALL = {
    "images": "2",  # one step
    "batch": "2",
    "parts": "1",
    "bf16": "false",
    "save_every": "4",
    "sizes.out_size": "64",
    "sizes.style_dim": "8",
    "sizes.prior_channels": "[8, 8, 8, 8, 8]",
    "sizes.unet_channels": "[4, 4, 4, 4, 4]",
    "sizes.mlp_layers": "1",
    "discriminator_width": "0.02",
    # these need published weights
    "losses.perceptual": "0",
    "losses.style": "0",
    "losses.identity": "0",
}
"""The full-size recipe, small enough for a test."""
ABLATIONS = {
    "no spatial modulation": {"sizes.sft": "false"},
    "SFT on all channels": {"sizes.sft_half": "false"},
    "no pyramid loss": {"losses.pyramid": "0"},
}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(group, ["train", *map(str, arguments)], prog_name="restorer")


def _sets(*tables: dict[str, str]) -> list[str]:
    merged = {key: value for table in tables for key, value in table.items()}
    return [word for key, value in merged.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zip(tmp_path_factory.mktemp("recipes") / "faces.zip", [drawn_face(seed) for seed in range(3)])


@pytest.fixture(scope="module")
def prior(faces: Path) -> Path:
    """A run that trained a prior of the small sizes."""
    run = faces.parent / "prior"
    small = {key: value for key, value in SMALL.items() if key.startswith("sizes.") or key in ("images", "bf16")}
    narrow = {"batch": "4", "parts": "1", "discriminator_channels": "[8, 8, 8, 8, 8]"}
    result = _run("prior", faces, "-o", run, "--recipe", "prior", *_sets(small, narrow))
    assert result.exit_code == 0, result.output
    return run


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_whole(name: str) -> None:
    load_recipe(RECIPES / f"{name}.toml", KINDS.get(name.partition("-")[0], RestorationSettings))


def test_the_full_size_recipe_is_the_papers() -> None:
    settings = load_recipe(RECIPES / "gfpgan.toml", RestorationSettings)
    assert settings.sizes == GFPGANSizes.official()
    weights = {field.name: getattr(settings.losses, field.name) for field in fields(settings.losses)}
    assert weights == {
        "l1": 0.1,
        "perceptual": 1.0,
        "style": 50.0,
        "adversarial": 0.1,
        "pyramid": 1.0,
        "component": 1.0,
        "component_style": 200.0,
        "identity": 10.0,
        "gradient": 0.0,
        "feature_matching": 0.0,
    }
    assert (settings.batch, settings.images // settings.batch) == (12, 800_000)
    assert (settings.learning_rate, settings.r1, settings.r1_every) == (2e-3, 10.0, 16)
    assert settings.pyramid_until // settings.batch == 50_000 and settings.prior_rate == 0
    assert load_recipe(RECIPES / "prior.toml", PriorSettings).sizes == settings.sizes


@pytest.mark.parametrize(("name", "twin"), [("gfpgan", "gfpgan-unet"), ("lite", "lite-unet")])
def test_the_twin_without_a_prior_is_as_large(name: str, twin: str) -> None:
    with torch.device("meta"):
        own, other = (
            GFPGAN(settings.sizes) if settings.sizes else PlainUNet(settings.plain)
            for settings in (load_recipe(RECIPES / f"{one}.toml", RestorationSettings) for one in (name, twin))
        )
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (own, other)]
    assert isinstance(other, PlainUNet) and sizes[1] == pytest.approx(sizes[0], rel=0.05)


def _restored(file: Path, size: int = 64) -> np.ndarray:
    """What the pipeline makes of a face with an exported network."""
    options = RestoreOptions(model=str(file), device="cpu", precision="fp32", offline=True)
    crop = drawn_face(9, size).pixels.astype(np.float32)
    aligned = AlignedFace(Face((0, 0, 1, 1), 1.0, np.zeros((5, 2), np.float32)), crop, np.eye(2, 3))
    (restored,) = OpenedNetworks(options).face_restorer()([aligned])
    return restored.pixels


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_ablation_trains_on_a_prior_and_loads(name: str, faces: Path, prior: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "mine.safetensors"
    changes = _sets(SMALL, ABLATIONS[name])
    result = _run("restoration", faces, "-o", run, "--recipe", "gfpgan", "--prior", prior, *changes)
    assert result.exit_code == 0, result.output
    assert _run("export", run, "-o", file).exit_code == 0
    sizes = load_checkpoint(file).module.sizes
    assert (sizes.sft, sizes.sft_half) == (name != "no spatial modulation", name != "SFT on all channels")
    _as_trained(run, file)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert rows[-1].keys() >= {"l1", "pyramid", "adversarial", "component", "component_style", "discriminator"}


@pytest.mark.parametrize("recipe", ["gfpgan-joint", "gfpgan-gpen", "gfpgan-unet"])
def test_the_other_recipes_train_and_load(recipe: str, faces: Path, prior: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "mine.safetensors"
    small = {key: value for key, value in SMALL.items() if recipe != "gfpgan-unet" or not key.startswith("sizes.")}
    plain = {"plain.out_size": "64", "plain.channels": "[8, 8, 8, 8]"} if recipe == "gfpgan-unet" else {}
    started = ("--prior", prior) if recipe == "gfpgan-gpen" else ()
    result = _run("restoration", faces, "-o", run, "--recipe", recipe, *started, *_sets(small, plain))
    assert result.exit_code == 0, result.output
    assert _run("export", run, "-o", file).exit_code == 0
    _as_trained(run, file)


def _as_trained(run: Path, file: Path) -> None:
    """See that the pipeline restores with the file as the run's averaged network does."""
    from restorer.training.state import load_state
    from restorer.training.trainer import saved_settings

    state = load_state(run, "restoration")
    network = saved_settings(run, state).network()
    network.load_state_dict(state["average"])
    crop = torch.from_numpy(drawn_face(9).pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        wanted = ((network(crop)[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.abs(_restored(file) - wanted).max() < 1.5


def test_a_frozen_prior_must_come_from_somewhere(faces: Path, tmp_path: Path) -> None:
    result = _run("restoration", faces, "-o", tmp_path / "run", "--recipe", "gfpgan", *_sets(SMALL))
    assert result.exit_code == 2 and "give --prior RUN" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("loss", ["perceptual", "identity"])
def test_a_loss_whose_weights_cannot_be_had_is_named(
    loss: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORER_WEIGHTS", str(tmp_path))
    changes = _sets(SMALL, {f"losses.{loss}": "1", "prior_rate": "1"})
    result = _run("restoration", faces, "-o", tmp_path / "run", "--recipe", "gfpgan", *changes)
    assert result.exit_code == 5 and loss in result.stderr, result.output


# Recipes based on others


def _write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_recipe_changes_what_it_names_of_its_base(tmp_path: Path) -> None:
    _write(
        tmp_path, "middle.toml", 'base = "lite"\nbatch = 3\n[losses]\nl1 = 7\n[samples.degradation]\nnoise = [1, 2]\n'
    )
    path = _write(tmp_path, "mine.toml", 'base = "middle.toml"\nseed = 9\n[losses]\npyramid = 3\n')
    mine, lite = load_recipe(path, RestorationSettings), load_recipe(RECIPES / "lite.toml", RestorationSettings)
    assert (mine.batch, mine.seed, mine.images) == (3, 9, lite.images)
    assert (mine.losses.l1, mine.losses.pyramid, mine.losses.adversarial) == (7, 3, lite.losses.adversarial)
    assert mine.samples.degradation.noise == (1, 2) and mine.sizes == lite.sizes


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('base = "nothing"', r"nothing.toml cannot be read.*recipes of this package: .*gfpgan, .*lite"),
        ("base = 3", "not the name of a recipe"),
        ('base = "mine.toml"', "based on itself"),
        ('base = "lite"\nbatches = 3', "unknown key 'batches'"),
        ('base = "lite"\nsizes = 3', "must be a table"),
    ],
)
def test_a_bad_base_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        load_recipe(_write(tmp_path, "mine.toml", text), RestorationSettings)
