"""The detector's trainer: rate, average, resuming, learning, export, command; with tiny views and a random teacher."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from restorer.checkpoints import load_checkpoint, save_checkpoint
from restorer.cli.session import RECIPES
from restorer.cli.train import train_group
from restorer.errors import OutputError, UsageError, WeightsError
from restorer.networks.unet import PlainUNet, UNetSizes
from restorer.training.detector import (
    DetectorSettings,
    DetectorTrainer,
    export_detector,
)
from restorer.training.detector_network import (
    build_network,
    load_teacher,
    raise_variances,
    run_network,
    run_with_features,
    shift_scores,
    start_network,
)
from restorer.training.detector_sources import Source, halvings
from restorer.training.ending import Clock
from restorer.training.settings import load_recipe

CPU = torch.device("cpu")
TINY = DetectorSettings(
    images=8, area=2 * 64 * 64, sizes=(64,), size_shares=(1.0,), warmup=0, seed=3, save_every=4, bf16=False
)


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory) -> Path:
    """A random network that answers strongly, saved as the published files are."""
    network = start_network(CPU, seed=1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "Head" in name and parameter.dim() == 4:
                parameter.mul_(30 if name.startswith("Class") else 3)
    shift_scores(network, 4.0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({f"module.{name}": value for name, value in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    rng = np.random.default_rng(0)
    box = np.array([[20, 20, 60, 70]], np.float32)
    points = np.array([[[30, 40], [50, 40], [40, 50], [32, 60], [48, 60]]], np.float32)
    return [Source(halvings(rng.integers(0, 256, (96, 96, 3), np.uint8)), box, points) for _ in range(3)]


def make_trainer(sources, teacher_file, run, **changes) -> DetectorTrainer:
    return DetectorTrainer(dataclasses.replace(TINY, **changes), sources, load_teacher(teacher_file, CPU), run)


def test_the_bundled_recipe_is_complete():
    settings = load_recipe(RECIPES / "detector-lite.toml", DetectorSettings)
    assert settings.images > 0
    assert all(size % 32 == 0 for size in settings.sizes)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"sizes": (60,)}, "multiples of 32"), ({"sizes": (256,)}, "area"), ({"size_shares": (0.5,)}, "add up")],
)
def test_settings_that_contradict_each_other_are_refused(changes, word):
    with pytest.raises(UsageError, match=word):
        dataclasses.replace(TINY, **changes)


def test_the_first_scores_are_low_everywhere():
    network = start_network(CPU, seed=0).eval()
    with torch.no_grad():
        scores = torch.sigmoid(run_network(network, torch.randn(1, 3, 64, 64)).logits)
    assert 0.001 < scores.min() <= scores.max() < 0.1


def test_features_and_outputs_are_those_of_the_network_itself():
    torch.manual_seed(0)
    network, batch = start_network(CPU, seed=0).eval(), torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        direct, (outputs, features) = run_network(network, batch), run_with_features(network, batch)
    torch.testing.assert_close(outputs.boxes, direct.boxes)
    torch.testing.assert_close(outputs.classes, direct.classes)
    torch.testing.assert_close(outputs.points, direct.points)
    assert [tuple(map_.shape[1:]) for map_ in features] == [
        (64, 12, 8),
        (128, 6, 4),
        (256, 3, 2),
        (64, 12, 8),
        (64, 6, 4),
        (64, 3, 2),
    ]


def test_shifting_scores_moves_every_logit_alike():
    network, batch = start_network(CPU, seed=0).eval(), torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        before = run_network(network, batch).logits
        shift_scores(network, 1.5)
        torch.testing.assert_close(run_network(network, batch).logits, before + 1.5)


def test_small_variances_are_raised_to_a_share_of_the_median():
    layer = torch.nn.BatchNorm2d(3)
    layer.running_var = torch.tensor([1e-6, 2.0, 8.0])
    raise_variances(torch.nn.Sequential(layer), 0.1)
    torch.testing.assert_close(layer.running_var, torch.tensor([0.2, 2.0, 8.0]))


def test_the_learning_rate_rises_and_falls(sources, teacher_file, tmp_path):
    trainer = make_trainer(sources, teacher_file, tmp_path, images=100, warmup=10, learning_rate=0.1)
    rates = []
    for trainer.images in (0, 5, 50, 75, 100):
        rates.append(trainer.learning_rate())
    falls = [0.5 * (1 + math.cos(math.pi * part)) for part in (0.05, 0.5, 0.75)]
    assert rates == pytest.approx([0, 0.05 * falls[0], 0.1 * falls[1], 0.1 * falls[2], 0])


def test_the_average_follows_its_formula(sources, teacher_file, tmp_path):
    trainer = make_trainer(sources, teacher_file, tmp_path, ema_images=20.0)
    trainer.steps = 10_000  # far beyond the quick start
    start = trainer.averaged.state_dict()["ClassHead.0.conv1x1.bias"].clone()
    trainer.step(trainer.draw(0))
    keep = math.exp(-2 / 20)
    expected = keep * start + (1 - keep) * trainer.network.state_dict()["ClassHead.0.conv1x1.bias"]
    torch.testing.assert_close(trainer.averaged.state_dict()["ClassHead.0.conv1x1.bias"], expected)


def test_a_run_learns_from_the_teacher_and_leaves_it_alone(sources, teacher_file, tmp_path):
    trainer = make_trainer(sources, teacher_file, tmp_path, images=1000)
    before = [parameter.clone() for parameter in trainer.teacher.parameters()]
    work = trainer.draw(0)
    rows = [trainer.step(work) for _ in range(12)]
    for name in ("classes", "boxes", "points", "hints"):
        assert rows[-1][name] < 0.98 * rows[0][name], name
    for parameter, copy in zip(trainer.teacher.parameters(), before, strict=True):
        assert torch.equal(parameter, copy)


def test_stopping_and_going_on_equals_running_through(sources, teacher_file, tmp_path):
    through = make_trainer(sources, teacher_file, tmp_path / "through")
    assert through.train().finished
    first = make_trainer(sources, teacher_file, tmp_path / "halves")
    for step in range(2):
        first.step(first.draw(step))
    first.run.mkdir()
    first.save()
    second = make_trainer(sources, teacher_file, tmp_path / "halves")
    second.resume()
    assert second.images == 4
    assert second.train().finished
    for name, value in through.averaged.state_dict().items():
        torch.testing.assert_close(second.averaged.state_dict()[name], value, rtol=0, atol=0)


def test_a_run_stops_in_time_with_a_state(sources, teacher_file, tmp_path):
    trainer = make_trainer(sources, teacher_file, tmp_path)
    assert not trainer.train(Clock(0)).finished
    assert (tmp_path / "state.pt").exists()


def test_other_settings_do_not_go_on_with_a_run(sources, teacher_file, tmp_path):
    make_trainer(sources, teacher_file, tmp_path).save()
    make_trainer(sources, teacher_file, tmp_path, images=99).resume()
    with pytest.raises(UsageError, match="other settings"):
        make_trainer(sources, teacher_file, tmp_path, learning_rate=1.0).resume()


def test_a_state_that_cannot_be_saved_says_where(sources, teacher_file, tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        make_trainer(sources, teacher_file, tmp_path / "nowhere").save()


def test_a_loss_that_is_not_finite_ends_the_run(sources, teacher_file, tmp_path):
    trainer = make_trainer(sources, teacher_file, tmp_path)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="learning rate"):
        trainer.step(trainer.draw(0))


def test_a_teacher_that_finds_no_faces_is_refused(tmp_path):
    from restorer.checkpoints import save_checkpoint
    from restorer.networks.gfpgan import GFPGAN, GFPGANSizes

    sizes = GFPGANSizes(out_size=32, style_dim=8, prior_channels=(8,) * 4, unet_channels=(8,) * 4, mlp_layers=0)
    save_checkpoint(tmp_path / "face.safetensors", GFPGAN(sizes))
    with pytest.raises(WeightsError, match="finds no faces"):
        load_teacher(tmp_path / "face.safetensors", CPU)


def test_an_exported_run_loads_with_its_bias_and_its_facts(sources, teacher_file, tmp_path):
    from safetensors import safe_open

    trainer = make_trainer(sources, teacher_file, tmp_path)
    trainer.save()
    output = tmp_path / "out" / "detector.safetensors"
    settings = dataclasses.replace(TINY, score_bias=0.5, variance_floor=0.0, upright_score=0.97)
    assert export_detector(tmp_path, output, settings) == 0
    loaded = load_checkpoint(output)
    assert loaded.contract.kind == "detector" and loaded.contract.upright_score == 0.97
    expected = trainer.averaged.state_dict()
    for name, value in loaded.module.state_dict().items():
        bias = torch.tensor([0.0, 0.5] * 2) if name.startswith("ClassHead") and name.endswith("bias") else 0
        torch.testing.assert_close(value, expected[name] + bias, rtol=0, atol=0)
    with safe_open(output, "pt") as file:
        facts = json.loads(file.metadata()["training"])
    assert facts["settings"]["score_bias"] == 0.5
    assert facts["images"] == 0
    assert list(output.parent.iterdir()) == [output]


def test_a_run_begins_where_an_exported_one_ended(sources, teacher_file, tmp_path):
    (tmp_path / "first").mkdir()
    first = make_trainer(sources, teacher_file, tmp_path / "first")
    first.save()
    output = tmp_path / "detector.safetensors"
    settings = dataclasses.replace(TINY, score_bias=0.5, variance_floor=0.0, upright_score=0.97)
    export_detector(tmp_path / "first", output, settings)
    second = make_trainer(sources, teacher_file, tmp_path / "second", seed=4)
    second.start_from(output)
    for network in (second.network, second.averaged):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, first.averaged.state_dict()[name], rtol=0, atol=1e-6)


def test_a_run_begins_with_another_program_s_file_as_it_is(sources, teacher_file, tmp_path):
    trainer = make_trainer(sources, teacher_file, tmp_path)
    trainer.start_from(teacher_file)
    wanted = load_teacher(teacher_file, CPU).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in trainer.network.state_dict().items())


def test_a_run_cannot_begin_with_another_network(sources, teacher_file, tmp_path):
    path = tmp_path / "face.safetensors"
    save_checkpoint(path, PlainUNet(UNetSizes(out_size=16, channels=(4, 4, 4))).initialise())
    with pytest.raises(WeightsError, match=r"only retinaface-mobilenet0\.25 can be a start"):
        make_trainer(sources, teacher_file, tmp_path).start_from(path)


def test_exporting_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no training state"):
        export_detector(tmp_path, tmp_path / "x.safetensors", TINY)


def test_the_layout_is_the_published_one():
    from facexlib.detection.retinaface import RetinaFace

    theirs = RetinaFace(network_name="mobile0.25", device=CPU).state_dict()
    ours = build_network(CPU).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def test_the_command_trains_and_exports(teacher_file, tmp_path):
    archive, recipe, output = tmp_path / "photos.zip", tmp_path / "tiny.toml", tmp_path / "detector.safetensors"
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(2):
            content = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(content, "PNG")
            file.writestr(f"{number}.png", content.getvalue())
    recipe.write_text("images = 4\narea = 8192\nsizes = [64]\nsize_shares = [1.0]\n", encoding="utf-8")
    arguments = [
        "detector",
        archive,
        "-o",
        tmp_path / "run",
        "--teacher",
        teacher_file,
        "--recipe",
        recipe,
        "--export",
        output,
    ]
    result = CliRunner().invoke(train_group, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "finished" in result.output
    assert load_checkpoint(output).contract.kind == "detector"
