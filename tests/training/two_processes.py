"""Runs that two processes share over gloo, started by :mod:`tests.training.test_processes`, which compares them."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restorer.errors import DeviceError, WeightsError
from restorer.training.detector import DetectorSettings, DetectorTrainer
from restorer.training.detector_network import shift_scores, start_network
from restorer.training.detector_sources import Source, halvings
from restorer.training.processes import ALONE, Processes, join_processes
from restorer.training.settings import LossWeights
from restorer.training.trainer import RestorationTrainer
from tests.training.faces import drawn_face, tiny_settings

# As in GFP-GAN: one discriminator for the face, three for its parts, all updated after the generator.
LIKE_THE_PAPER = {
    "batch": 8,
    "parts": 4,
    "images": 32,
    "adversarial_from": 8,
    "discriminator": "stylegan2",
    "discriminator_width": 1 / 64,
    "discriminators_first": False,
    "r1": 10.0,
    "r1_every": 2,
    "pyramid_until": 16,
    "losses": LossWeights(component=1.0, component_style=200.0),
}
RUNS: dict[str, dict[str, Any]] = {
    "patch": {"batch": 4, "parts": 2, "adversarial_from": 8},
    "paper": LIKE_THE_PAPER,
    "frozen": {"batch": 4, "parts": 2, "prior_rate": 0.0, "equalised": True},
}
"""Name to settings; two processes compute one or two parts of each batch."""


def restoration(run: Path, processes: Processes = ALONE, **changes: Any) -> RestorationTrainer:
    """A tiny run on drawn faces."""
    return RestorationTrainer(tiny_settings(**changes), [drawn_face(seed) for seed in range(5)], run, processes)


def detector(run: Path, processes: Processes = ALONE, **changes: Any) -> DetectorTrainer:
    """A tiny run on noise with a random teacher that answers strongly."""
    settings = DetectorSettings(
        images=16, area=4 * 64 * 64, parts=2, sizes=(64,), size_shares=(1.0,), warmup=0, bf16=False, label_weight=1.0
    )
    teacher = start_network(torch.device("cpu"), seed=1).eval().requires_grad_(False)
    for name, parameter in teacher.named_parameters():
        if "Head" in name and parameter.dim() == 4:
            parameter.mul_(30 if name.startswith("Class") else 3)
    shift_scores(teacher, 4.0)
    rng = np.random.default_rng(0)
    box = np.array([[20, 20, 60, 70]], np.float32)
    points = np.array([[[30, 40], [50, 40], [40, 50], [32, 60], [48, 60]]], np.float32)
    sources = [Source(halvings(rng.integers(0, 256, (96, 96, 3), np.uint8)), box, points) for _ in range(3)]
    return DetectorTrainer(replace(settings, **changes), sources, teacher, run, processes)


def _diverge(run: Path, processes: Processes) -> None:
    """See that both processes end where the numbers of one are no longer finite."""
    trainer = restoration(run, processes, batch=4, parts=2)
    trainer.step(next(trainer.work()))
    run.mkdir(exist_ok=True)
    trainer.save()
    if processes.rank == 1:
        with torch.no_grad():
            trainer.generator.conv_body_first.weight.fill_(float("nan"))
    try:
        trainer.train()
    except WeightsError as error:
        (run / f"said-{processes.rank}.txt").write_text(str(error))


def _lose(run: Path, processes: Processes) -> None:
    """Let the second process be killed in its third step, after a state was saved."""
    trainer = restoration(run, processes, batch=4, parts=2, save_every=4)
    step = trainer.step

    def deadly(work: Any) -> dict[str, float]:
        if processes.rank == 1 and trainer.steps == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(work)

    trainer.step = deadly  # type: ignore[method-assign]
    trainer.train()


def main(folder: Path) -> int:
    """Be one of the two processes."""
    torch.set_num_threads(1)
    try:
        with join_processes("cpu") as processes:
            for name, changes in RUNS.items():
                restoration(folder / name, processes, **changes).train()
            detector(folder / "detector", processes).train()
            _diverge(folder / "diverged", processes)
            _lose(folder / "lost", processes)
    except DeviceError as error:
        (folder / "lost" / "said.txt").write_text(str(error))
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
