"""The loop: it learns, averages, stops, resumes exactly and leaves a file the pipeline loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from restorer.checkpoints import load_checkpoint, save_checkpoint
from restorer.cli.train import train_group
from restorer.errors import OutputError, UsageError, WeightsError
from restorer.networks.gfpgan import GFPGAN
from restorer.networks.retinaface import RetinaFaceMobileNet
from restorer.training.damage.colour import RELEASED_COLOUR
from restorer.training.dataset import SampleSettings, draw_batch
from restorer.training.ending import Clock
from restorer.training.export import export_run
from restorer.training.loop import LOG
from restorer.training.settings import LossWeights
from restorer.training.state import STATE
from restorer.training.trainer import RestorationTrainer
from tests.training.faces import drawn_face, tiny_settings, write_zip

FACES = [drawn_face(seed) for seed in range(4)]


def _weights(trainer: RestorationTrainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.generator.parameters()])


def test_an_untrained_residual_network_nearly_returns_its_input(tmp_path: Path) -> None:
    trainer = RestorationTrainer(tiny_settings(), FACES, tmp_path)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert (trainer.generator(image) - image).abs().mean() < 0.1


def test_it_learns_one_degraded_face(tmp_path: Path) -> None:
    trainer = RestorationTrainer(tiny_settings(images=300, learning_rate=2e-3), FACES, tmp_path)
    batch = draw_batch(FACES, replace(trainer.settings.samples, clean=0.0), 0, [0])
    before = (batch.degraded - batch.truth).abs().mean()
    rows = [trainer.step([batch]) for _ in range(150)]
    with torch.no_grad():
        after = (trainer.generator(batch.degraded) - batch.truth).abs().mean()
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert after < 0.6 * before


# As in GFP-GAN: lazy R1 and its steps, three more discriminators, a pyramid that is dropped, damage in batches.
LIKE_THE_PAPER = {
    "images": 8,
    "adversarial_from": 0,
    "discriminator": "stylegan2",
    "discriminator_width": 1 / 64,
    "discriminators_first": False,
    "r1": 10.0,
    "r1_every": 2,
    "equalised": True,
    "pyramid_until": 4,
    "losses": LossWeights(component=1.0, component_style=200.0),
    "samples": SampleSettings(old=0.5, on_device=True, colour=RELEASED_COLOUR),
}


@pytest.mark.parametrize("changes", [{}, {"adversarial_from": 6}, LIKE_THE_PAPER], ids=["plain", "patch", "paper"])
def test_stop_and_resume_equals_running_through(tmp_path: Path, changes: dict[str, object]) -> None:
    settings = tiny_settings(**changes)
    whole = RestorationTrainer(settings, FACES, tmp_path / "whole")
    assert whole.train().finished
    first = RestorationTrainer(settings, FACES, tmp_path / "parts")
    assert not first.train(Clock(0)).finished
    second = RestorationTrainer(settings, FACES, tmp_path / "parts")
    second.resume()
    assert 0 < second.images < settings.images
    assert second.train().finished
    assert torch.equal(_weights(whole), _weights(second))
    for ours, theirs in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for name, objective in whole.objectives.items():
        for key, tensor in objective.state_dict().items():
            assert torch.equal(tensor, second.objectives[name].state_dict()[key]), (name, key)


def test_the_log_and_settings_are_kept(tmp_path: Path) -> None:
    trainer = RestorationTrainer(tiny_settings(images=4, adversarial_from=2), FACES, tmp_path)
    trainer.train()
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [row["images"] for row in rows] == [2, 4]
    assert "adversarial" not in rows[0] and rows[1].keys() >= {"adversarial", "discriminator", "feature_matching"}
    assert json.loads((tmp_path / "settings.json").read_text())["sizes"]["out_size"] == 64


def test_another_recipe_cannot_resume_a_run(tmp_path: Path) -> None:
    RestorationTrainer(tiny_settings(), FACES, tmp_path).train(Clock(0))
    with pytest.raises(UsageError, match="other settings"):
        RestorationTrainer(tiny_settings(learning_rate=0.5), FACES, tmp_path).resume()


def test_a_loss_that_is_not_finite_stops_the_run_with_the_state_intact(tmp_path: Path) -> None:
    trainer = RestorationTrainer(tiny_settings(), FACES, tmp_path)
    trainer.train(Clock(0))
    saved = (tmp_path / STATE).read_bytes()
    with torch.no_grad():
        trainer.generator.conv_body_first.weight.fill_(float("nan"))
    with pytest.raises(WeightsError, match="is nan after 2 images"):
        trainer.train()
    assert (tmp_path / STATE).read_bytes() == saved


def test_a_full_disk_leaves_the_last_state_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = RestorationTrainer(tiny_settings(), FACES, tmp_path)
    trainer.train(Clock(0))
    saved = (tmp_path / STATE).read_bytes()

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        trainer.save()
    assert (tmp_path / STATE).read_bytes() == saved
    assert not list(tmp_path.glob("*.part"))


def test_the_average_follows_its_formula(tmp_path: Path) -> None:
    trainer = RestorationTrainer(tiny_settings(ema_images=8.0), FACES, tmp_path)
    trainer.images = 1000
    start = trainer.average.conv_body_first.weight.clone()
    with torch.no_grad():
        trainer.generator.conv_body_first.weight.add_(1.0)
    trainer._update_average(8)  # one half-life
    assert torch.allclose(trainer.average.conv_body_first.weight, start + 0.5, atol=1e-6)


def test_an_exported_run_loads_and_restores_like_the_average(tmp_path: Path) -> None:
    trainer = RestorationTrainer(tiny_settings(images=4), FACES, tmp_path / "run")
    trainer.train()
    assert export_run(tmp_path / "run", tmp_path / "lite.safetensors") == 4
    checkpoint = load_checkpoint(tmp_path / "lite.safetensors")
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(checkpoint.module(image), trainer.average(image), atol=5e-3)
    assert checkpoint.contract.input_size == 64
    with pytest.raises(UsageError, match="no training state"):
        export_run(tmp_path, tmp_path / "x.safetensors")


def test_a_second_run_begins_with_the_first_ones_average_and_they_can_be_mixed(tmp_path: Path) -> None:
    first = RestorationTrainer(tiny_settings(images=4, adversarial_from=2), FACES, tmp_path / "first")
    first.train()
    second = RestorationTrainer(tiny_settings(images=4, seed=5), FACES, tmp_path / "second")
    second.start_from(tmp_path / "first")
    for network in (second.generator, second.average):
        for mine, theirs in zip(network.parameters(), first.average.parameters(), strict=True):
            assert torch.equal(mine, theirs)
    discriminators = [run.objectives["adversarial"].discriminators for run in (first, second)]
    for mine, theirs in zip(discriminators[1].parameters(), discriminators[0].parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert second.images == 0 and not second.generator_optimiser.state
    second.train()
    export_run(tmp_path / "second", tmp_path / "mixed.safetensors", blend=tmp_path / "first", share=0.25)
    mixed = load_checkpoint(tmp_path / "mixed.safetensors").module.state_dict()
    for name, value in second.average.state_dict().items():
        expected = 0.75 * first.average.state_dict()[name] + 0.25 * value
        assert torch.allclose(mixed[name].float(), expected, atol=2e-3), name


def test_a_run_begins_with_a_file_of_weights(tmp_path: Path) -> None:
    first = RestorationTrainer(tiny_settings(images=4), FACES, tmp_path / "first")
    first.train()
    export_run(tmp_path / "first", tmp_path / "first.safetensors")
    second = RestorationTrainer(tiny_settings(seed=5), FACES, tmp_path / "second")
    second.start_from(tmp_path / "first.safetensors")
    for network in (second.generator, second.average):
        for mine, theirs in zip(network.parameters(), first.average.parameters(), strict=True):
            assert mine.dtype == torch.float32 and torch.equal(mine, theirs.half().float())
    assert second.images == 0 and not second.generator_optimiser.state
    second.train()
    assert second.images == second.settings.images


def test_a_file_of_other_sizes_or_of_another_kind_is_no_start(tmp_path: Path) -> None:
    sizes = replace(tiny_settings().sizes, style_dim=tiny_settings().sizes.style_dim * 2)
    save_checkpoint(tmp_path / "other.safetensors", GFPGAN(sizes))
    save_checkpoint(tmp_path / "detector.safetensors", RetinaFaceMobileNet())
    (tmp_path / "text.safetensors").write_text("no weights")
    trainer = RestorationTrainer(tiny_settings(), FACES, tmp_path / "run")
    with pytest.raises(UsageError, match="other sizes"):
        trainer.start_from(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no face network"):
        trainer.start_from(tmp_path / "detector.safetensors")
    with pytest.raises(WeightsError, match=r"text\.safetensors"):
        trainer.start_from(tmp_path / "text.safetensors")


def test_runs_of_other_sizes_do_not_mix(tmp_path: Path) -> None:
    RestorationTrainer(tiny_settings(), FACES, tmp_path / "one").train(Clock(0))
    sizes = replace(tiny_settings().sizes, style_dim=tiny_settings().sizes.style_dim * 2)
    other = RestorationTrainer(tiny_settings(sizes=sizes), FACES, tmp_path / "other")
    with pytest.raises(UsageError, match="other sizes"):
        other.start_from(tmp_path / "one")
    with pytest.raises(UsageError, match="no training state"):
        other.start_from(tmp_path / "nowhere")
    other.train(Clock(0))
    with pytest.raises(UsageError, match="cannot be mixed"):
        export_run(tmp_path / "other", tmp_path / "x.safetensors", blend=tmp_path / "one")
    with pytest.raises(UsageError, match="between 0 and 1"):
        export_run(tmp_path / "other", tmp_path / "x.safetensors", blend=tmp_path / "other", share=1.5)
    assert not (tmp_path / "x.safetensors").exists()


def test_the_command_trains_resumes_and_exports(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        "images = 4\nbatch = 2\nbf16 = false\n[sizes]\nout_size = 64\nstyle_dim = 8\nprior_channels = [8, 8, 8, 8, 8]\n"
        "unet_channels = [4, 4, 4, 4, 4]\n"
    )
    faces = write_zip(tmp_path / "faces.zip", FACES)
    arguments = ["restoration", str(faces), "-o", str(tmp_path / "run"), "--recipe", str(recipe)]
    first = CliRunner().invoke(train_group, [*arguments, "--minutes", "0"])
    assert first.exit_code == 0 and "2 of 4 images, saved, to be continued" in first.output
    second = CliRunner().invoke(train_group, arguments)
    assert second.exit_code == 0 and "4 of 4 images, finished" in second.output
    exported = CliRunner().invoke(train_group, ["export", str(tmp_path / "run"), "-o", str(tmp_path / "n.safetensors")])
    assert exported.exit_code == 0 and (tmp_path / "n.safetensors").exists()
