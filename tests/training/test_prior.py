"""The prior's training: its losses by hand, exact resume, agreement of processes' shares, and that it learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from restorer.errors import UsageError, WeightsError
from restorer.networks.gfpgan import GFPGANSizes
from restorer.training.augment import AdaptiveAugment
from restorer.training.dataset import AlignedCrop
from restorer.training.ending import Clock
from restorer.training.prior import PriorTrainer, mix_styles, path_lengths, real_images
from restorer.training.prior_settings import PriorSettings
from restorer.training.state import load_state
from tests.training.faces import drawn_face

pytestmark = pytest.mark.usefixtures("torch_rng")
SIZES = GFPGANSizes(out_size=16, style_dim=8, prior_channels=(8, 8, 4), unet_channels=(4, 4, 2), mlp_layers=1)


def _small(seed: int) -> AlignedCrop:
    face = drawn_face(seed)
    return dataclasses.replace(face, pixels=cv2.resize(face.pixels, (16, 16), interpolation=cv2.INTER_AREA))


FACES = [_small(seed) for seed in range(6)]


def _settings(**changes: object) -> PriorSettings:
    values: dict[str, object] = {
        "images": 48,
        "sizes": SIZES,
        "batch": 8,
        "r1_every": 3,
        "path_every": 2,
        "bf16": False,
        "save_every": 16,
        "ada_images": 100.0,
        "ada_target": -1.0,  # p rises from the start
    }
    return PriorSettings(**(values | changes))  # type: ignore[arg-type]


def _trainer(run: Path, **changes: object) -> PriorTrainer:
    return PriorTrainer(_settings(**changes), FACES, run)


def _tensors(trainer: PriorTrainer) -> torch.Tensor:
    networks = (trainer.generator, trainer.average, trainer.discriminator)
    return torch.cat([parameter.detach().flatten() for network in networks for parameter in network.parameters()])


class TestPathLengths:
    def test_of_a_linear_generator_by_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An image A·w moves by Aᵀy; with a known y its length is known."""
        matrix, direction = torch.randn(2, 3 * 4, 5), torch.randn(2, 1, 3, 4)
        codes = torch.randn(2, 2, 5, requires_grad=True)
        images = sum(torch.einsum("pd,nd->np", matrix[layer], codes[:, layer]) for layer in range(2))
        assert isinstance(images, torch.Tensor)
        monkeypatch.setattr(torch, "randn_like", lambda images: direction)
        lengths = path_lengths(images.reshape(2, 1, 3, 4), codes)
        y = direction.flatten(1) / 12**0.5
        moved = torch.stack([y @ matrix[layer] for layer in range(2)], dim=1)
        assert torch.allclose(lengths, moved.square().sum(dim=2).mean(dim=1).sqrt(), atol=1e-5)

    def test_of_a_rotation_is_one_over_the_root_of_the_pixels(self) -> None:
        """‖Jᵀy‖² of an orthogonal J is ‖y‖², on average the numbers of an image over its pixels."""
        rotation = torch.linalg.qr(torch.randn(48, 48))[0]
        codes = torch.randn(2000, 1, 48, requires_grad=True)
        lengths = path_lengths((codes[:, 0] @ rotation).reshape(2000, 3, 4, 4), codes)
        assert float(lengths.detach().square().mean()) == pytest.approx(48 / 16, rel=0.05)

    def test_they_can_be_made_smaller(self, tmp_path: Path) -> None:
        trainer = _trainer(tmp_path)
        codes = trainer._codes(4)
        lengths = path_lengths(trainer.generator(codes), codes)
        torch.autograd.backward(lengths.square().mean())
        moved = {name for name, parameter in trainer.generator.named_parameters() if parameter.grad is not None}
        assert {"style_mlp.1.weight", "style_convs.0.modulated_conv.weight", "to_rgb1.modulated_conv.weight"} <= moved


class TestStyles:
    def test_mixed_styles_change_once(self) -> None:
        first, second = torch.zeros(400, 3), torch.ones(400, 3)
        codes = mix_styles(first, second, 6, 1.0)
        assert codes.shape == (400, 6, 3)
        starts = 6 - codes[..., 0].sum(dim=1)
        assert set(starts.tolist()) == {1, 2, 3, 4, 5}
        assert bool((codes.diff(dim=1) >= 0).all())  # never back to the first

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
    def test_the_share_of_mixed_images(self, share: float) -> None:
        codes = mix_styles(torch.zeros(4000, 2), torch.ones(4000, 2), 4, share)
        assert float((codes.sum(dim=(1, 2)) > 0).float().mean()) == pytest.approx(share, abs=0.03)


class TestRealImages:
    def test_each_round_visits_every_face_once(self) -> None:
        settings = _settings(mirror=False)
        images = real_images(FACES, settings, range(12))
        wanted = sorted(face.pixels.astype(int).sum() for face in FACES)
        for half in images.chunk(2):
            found = sorted(round(float(((image + 1) * 127.5).double().sum())) for image in half)
            assert np.allclose(found, wanted, atol=2)

    def test_mirroring_is_of_every_second_image(self) -> None:
        numbers = range(600)
        plain, mirrored = (real_images(FACES, _settings(mirror=m), numbers) for m in (False, True))
        flipped = [not torch.equal(a, b) for a, b in zip(plain, mirrored, strict=True)]
        assert all(torch.equal(b, a.flip(-1)) for a, b, f in zip(plain, mirrored, flipped, strict=True) if f)
        assert 0.4 < np.mean(flipped) < 0.6


class TestRun:
    @pytest.mark.parametrize("augment", ["ada", "diffaugment"])
    def test_stop_and_resume_equals_running_through(self, tmp_path: Path, augment: str) -> None:
        whole = _trainer(tmp_path / "whole", augment=augment)
        assert whole.train().finished
        first = _trainer(tmp_path / "parts", augment=augment)
        assert not first.train(Clock(0)).finished
        second = _trainer(tmp_path / "parts", augment=augment)
        second.resume()
        assert 0 < second.images < 48
        assert second.train().finished
        assert torch.equal(_tensors(whole), _tensors(second))
        assert whole.path_mean.value == second.path_mean.value > 0
        if isinstance(whole.augment, AdaptiveAugment) and isinstance(second.augment, AdaptiveAugment):
            assert whole.augment.state_dict() == second.augment.state_dict()
            assert whole.augment.p > 0

    def test_the_log_has_lazy_terms_when_they_were_taken(self, tmp_path: Path) -> None:
        _trainer(tmp_path).train()
        rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert ["r1" in row for row in rows] == [True, False, False, True, False, False]
        assert ["path" in row for row in rows] == [True, False] * 3
        assert rows[-1]["p"] > 0

    def test_parts_are_averaged(self, tmp_path: Path) -> None:
        """Two equal parts of a batch give the gradient of one: what processes rely on."""
        trainer = _trainer(tmp_path, parts=2, path_length=0.0, augment="none")
        real = real_images(FACES, trainer.settings, range(4))
        trainer.seed_part = lambda part: torch.manual_seed(part % 2)  # type: ignore
        trainer._discriminator_part(0, real, 1)
        alone = [parameter.grad.clone() for parameter in trainer.discriminator.parameters()]
        trainer.discriminator.zero_grad()
        for place in (0, 2):
            trainer._discriminator_part(place, real, 2)
        for parameter, wanted in zip(trainer.discriminator.parameters(), alone, strict=True):
            assert torch.allclose(parameter.grad, wanted, atol=1e-6)

    def test_each_network_learns_in_its_own_half_of_a_step(self, tmp_path: Path) -> None:
        trainer = _trainer(tmp_path)
        (real,) = next(trainer.work())
        trainer._discriminator_part(0, real, 1)
        assert all(parameter.grad is None for parameter in trainer.generator.parameters())
        assert all(parameter.grad is not None for parameter in trainer.discriminator.parameters())
        trainer.discriminator.zero_grad()
        trainer._generator_part(0, len(real), 1)
        assert all(parameter.grad is None for parameter in trainer.discriminator.parameters())
        assert all(parameter.grad is not None for parameter in trainer.generator.parameters())

    def test_a_sheet_shows_truncation(self, tmp_path: Path) -> None:
        trainer = _trainer(tmp_path)
        sheet = trainer.sheet()
        assert sheet.shape == (28 + 5 * 20, 4 * 20 - 4, 3)
        assert np.array_equal(sheet, trainer.sheet())
        columns = [sheet[28:, left : left + 16].astype(float) for left in (0, 20, 40)]
        spread = [
            np.std([column[top : top + 16].mean(axis=(0, 1)) for top in range(0, 100, 20)], axis=0).mean()
            for column in columns
        ]
        assert spread[0] < spread[1] < spread[2]

    def test_nan_ends_the_run_and_leaves_the_state(self, tmp_path: Path) -> None:
        trainer = _trainer(tmp_path)
        trainer.train(Clock(0))
        before = load_state(tmp_path, "prior")
        trainer.generator.to_rgb1.bias.data.fill_(torch.nan)
        with pytest.raises(WeightsError, match="nan after 8 images"):
            trainer.train()
        after = load_state(tmp_path, "prior")
        assert after["images"] == before["images"] == 8
        assert all(torch.equal(after["generator"][name], value) for name, value in before["generator"].items())

    def test_other_settings_are_refused_on_resume(self, tmp_path: Path) -> None:
        _trainer(tmp_path).train(Clock(0))
        with pytest.raises(UsageError, match=r"r1 was 10.0 and is 5.0"):
            _trainer(tmp_path, r1=5.0).resume()

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"augment": "flip"}, "no augmentation 'flip'"),
            ({"parts": 3}, "cannot be cut into 3"),
            ({"path_every": 0}, "must be at least 1"),
            ({"sizes": dataclasses.replace(SIZES, residual=True)}, "residual = false"),
            ({"sizes": dataclasses.replace(SIZES, out_size=32)}, "do not fit together: prior_channels"),
            ({"discriminator_channels": (4, 4)}, "as many as prior_channels"),
        ],
    )
    def test_settings_that_make_no_sense_are_refused(self, changes: dict[str, object], sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            _settings(**changes)

    def test_it_learns_the_colours_of_the_faces(self, tmp_path: Path) -> None:
        """A run of seconds draws no faces, but comes from noise to the right colours."""
        trainer = _trainer(
            tmp_path,
            images=640,
            augment="none",
            r1=0.3,
            path_length=0.0,
            learning_rate=1e-2,
            discriminator_rate=1e-2,
            ema_images=60.0,
        )
        real = real_images(FACES, trainer.settings, range(6))

        def distance() -> float:
            with torch.no_grad():
                drawn = trainer.average(trainer._codes(64), noises=trainer.average.fresh_noise(64))
            return float((drawn.mean(dim=0) - real.mean(dim=0)).abs().mean())

        before = distance()
        trainer.train()
        assert distance() < 0.7 * before
