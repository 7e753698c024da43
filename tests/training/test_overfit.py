"""The tiny recipe learns eight faces by heart, whatever damage they come with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restorer.training.dataset import draw_pair, stack
from restorer.training.loop import LOG
from restorer.training.settings import RECIPES, RestorationSettings, load_recipe
from restorer.training.trainer import RestorationTrainer
from tests.training.faces import drawn_face


def _psnr(images: torch.Tensor, truth: torch.Tensor) -> float:
    error = (images.clamp(-1, 1) - truth).square().mean(dim=(1, 2, 3))
    return float((10 * torch.log10(4 / error)).mean())


@pytest.mark.slow
def test_eight_faces_are_restored_to_more_than_30_decibels(tmp_path: Path) -> None:
    """Judged on damage that the run has not drawn; the loss falls from quarter to quarter of the run."""
    settings = load_recipe(RECIPES / "tiny.toml", RestorationSettings, ["images=3_000", "sheet_every=3_000"])
    faces = [drawn_face(seed) for seed in range(8)]
    trainer = RestorationTrainer(settings, faces, tmp_path)
    trainer.train()
    samples = replace(settings.samples, clean=0.0)
    pairs = [draw_pair(face, samples, np.random.default_rng([7, number])) for number, face in enumerate(faces)]
    batch = stack(pairs)
    with torch.no_grad():
        restored = trainer.average(batch.degraded)
    before, after = _psnr(batch.degraded, batch.truth), _psnr(restored, batch.truth)
    assert before < 28 and after > 30, (before, after)
    losses = [json.loads(line)["loss"] for line in (tmp_path / LOG).read_text().splitlines()]
    quarters = [float(np.mean(part)) for part in np.array_split(losses, 4)]
    assert quarters == sorted(quarters, reverse=True), quarters
