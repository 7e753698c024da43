"""Train the bundled face detector: RetinaFace with a quarter-width MobileNet, distilled from a teacher.

The teacher sees a composed view as it is, the student sees it damaged and learns to answer the same on every prior.
Lengths are counted in images; every random choice follows from the seed and the step, so a run that was stopped goes
on as if it had not been.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restorer.errors import OutputError, UsageError, WeightsError
from restorer.training.detector_degradations import degrade
from restorer.training.detector_losses import Faces, Losses, distillation_loss, hint_loss, priors
from restorer.training.detector_network import (
    build_network,
    load_teacher,
    run_network,
    run_with_features,
    save_detector,
    start_network,
)
from restorer.training.detector_sources import Source, load_sources, network_input
from restorer.training.detector_views import ViewComposer

STATE = "state.pt"
LOG = "log.jsonl"
LABELS = "labels.npz"
LOG_STEPS = 50
"""Steps whose mean losses make a line of the log."""


@dataclass(frozen=True)
class DetectorSettings:
    """What decides a training run, beside its photographs and its teacher. Lengths are counted in images."""

    images: int
    """Length of the run; the learning rate falls to zero at its end."""
    area: int = 819_200
    """Pixels in a batch; the number of views in it follows from their size."""
    sizes: tuple[int, ...] = (224, 320, 448)
    """Sides of the square views in pixels, one of them per batch; multiples of 32."""
    size_shares: tuple[float, ...] = (0.2, 0.55, 0.25)
    """How often each size is drawn; the sum is 1."""
    learning_rate: float = 3e-3
    """AdamW's at the top."""
    warmup: int = 2_000
    """Images over which the learning rate rises from zero."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    clip: float = 10.0
    """Largest norm of the gradient."""
    box_weight: float = 1.0
    """Weight of the boxes' loss relative to the classes'."""
    point_weight: float = 0.4
    """Weight of the points' loss relative to the classes'."""
    hint_weight: float = 4.0
    """Weight of the difference between the two networks' feature maps; needs a teacher of the student's layout."""
    bf16: bool = True
    """Autocast to bfloat16; weights, losses and optimiser stay float32."""
    ema_images: float = 4_000.0
    """Time constant of the averaged weights."""
    score_bias: float = 0.0
    """Added to the face logit on export, so that the customary threshold is the right operating point."""
    variance_floor: float = 0.1
    """Least variance of a channel on export, in medians of its layer, see ``raise_variances``."""
    save_every: int = 4_000
    """Images between two saved states."""
    seed: int = 0
    """Seed of the weights and of all views."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if len(self.sizes) != len(self.size_shares) or abs(sum(self.size_shares) - 1) > 1e-6:
            raise UsageError("Every view size needs its share, and the shares must add up to 1.")
        if any(size % 32 or size * size > self.area for size in self.sizes):
            raise UsageError("View sizes must be multiples of 32 whose square fits into the batch's area.")


@dataclass(frozen=True)
class Batch:
    """Views of one size as the two networks get them, NCHW, BGR minus mean."""

    clean: Tensor
    """For the teacher."""
    damaged: Tensor
    """For the student."""
    faces: tuple[Faces, ...]
    """Known faces, one entry per view."""


class DetectorTrainer:
    """Everything one run needs: student, average, teacher, optimiser and position."""

    def __init__(
        self, settings: DetectorSettings, sources: list[Source], teacher: nn.Module, run: Path, device: str = "cpu"
    ) -> None:
        self.settings, self.teacher, self.run, self.device = settings, teacher, run, torch.device(device)
        self.composer = ViewComposer(sources)
        self.network = start_network(self.device, settings.seed)
        self.averaged = build_network(self.device).requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        decayed = [parameter for parameter in self.network.parameters() if parameter.dim() > 1]
        others = [parameter for parameter in self.network.parameters() if parameter.dim() == 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        self.images = self.steps = 0

    def train(
        self, *, minutes: float = math.inf, report: Callable[[dict[str, float]], None] = lambda row: None
    ) -> bool:
        """Train until the run's length or the time is reached, saving on the way; return whether the run is finished.

        Args:
            minutes: Stop after this time.
            report: Receives every line of the log.

        Raises:
            WeightsError: The loss is no longer finite; the last saved state is intact.
            OutputError: The state cannot be saved.
        """
        started, rows = time.monotonic(), list[Losses]()
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "settings.json").write_text(json.dumps(asdict(self.settings), indent=1), encoding="utf-8")
        while self.images < self.settings.images and time.monotonic() < started + 60 * minutes:
            before = self.images
            rows.append(self.step(self.draw()))
            if len(rows) == LOG_STEPS:
                report(self._log(rows, time.monotonic() - started))
                rows.clear()
            if self.images // self.settings.save_every > before // self.settings.save_every:
                self.save()
        self.save()
        return self.images >= self.settings.images

    def draw(self) -> Batch:
        """Compose the next step's views; the same step of the same seed gives the same views."""
        settings, rng = self.settings, np.random.default_rng((self.settings.seed, self.steps))
        size = int(rng.choice(settings.sizes, p=settings.size_shares))
        views = [self.composer.compose(size, rng) for _ in range(settings.area // (size * size))]
        damaged = [degrade(view.pixels, rng) for view in views]
        faces = [Faces(torch.from_numpy(view.boxes), torch.from_numpy(view.points)) for view in views]
        return Batch(
            network_input([view.pixels for view in views], self.device),
            network_input(damaged, self.device),
            tuple(Faces(known.boxes.to(self.device), known.points.to(self.device)) for known in faces),
        )

    def step(self, batch: Batch) -> Losses:
        """Take one optimiser step and return the losses before it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            with torch.no_grad():
                target, wanted = run_with_features(self.teacher, batch.clean)
            answer, features = run_with_features(self.network.train(), batch.damaged)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        anchors = priors(batch.clean.shape[2], batch.clean.shape[3], self.device)
        losses = distillation_loss(answer, target, batch.faces, anchors)
        total = losses.classes + self.settings.box_weight * losses.boxes + self.settings.point_weight * losses.points
        if self.settings.hint_weight:
            losses = replace(losses, hints=hint_loss(features, wanted))
            total = total + self.settings.hint_weight * losses.hints
        if not bool(torch.isfinite(total)):
            raise WeightsError(f"The loss is {total.item()} after {self.images} images: lower the learning rate.")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        self.images += len(batch.clean)
        self.steps += 1
        self._update_average(len(batch.clean))
        return losses

    def learning_rate(self) -> float:
        """Return the rate at this position: linear warm-up, then half a cosine down to zero."""
        rise = min(1.0, self.images / max(1, self.settings.warmup))
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.images / self.settings.images)))
        return self.settings.learning_rate * rise * fall

    def _update_average(self, images: int) -> None:
        # At the start the average follows quickly, so that it does not remember the random weights.
        keep = min(math.exp(-images / self.settings.ema_images), (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
            for mean, now in pairs:
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)

    def _log(self, rows: list[Losses], seconds: float) -> dict[str, float]:
        row: dict[str, float] = {"images": self.images, "rate": self.learning_rate(), "seconds": round(seconds, 1)}
        for name in ("classes", "boxes", "points", "hints"):
            row[name] = round(float(np.mean([getattr(losses, name).item() for losses in rows])), 5)
        with (self.run / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        return row

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "images": self.images,
            "step": self.steps,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def save(self) -> None:
        """Write the state whole or not at all."""
        part = self.run / (STATE + ".part")
        try:
            torch.save(self.state(), part)
            part.replace(self.run / STATE)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            part.unlink(missing_ok=True)
            raise OutputError(
                f"The training state cannot be saved in {self.run} ({error}): free some space and go on."
            ) from error

    def resume(self) -> None:
        """Go on from the saved state; UsageError if it is of a run with other views or weights."""
        state = torch.load(self.run / STATE, map_location=self.device, weights_only=True)
        free = (
            "images",
            "score_bias",
            "variance_floor",
            "save_every",
        )  # may differ: they change nothing that has been done
        old, new = (
            {k: v for k, v in s.items() if k not in free} for s in (state["settings"], self.state()["settings"])
        )
        if old != new:
            raise UsageError(f"{self.run} was started with other settings: give the same recipe or a new folder.")
        for name in ("network", "averaged", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.images, self.steps = state["images"], state["step"]


def export_detector(run: Path, output: Path, settings: DetectorSettings) -> int:
    """Write a run's averaged network as safetensors that the pipeline loads; return the images it has seen.

    Args:
        run: The run's folder.
        output: The file to write.
        settings: The run's settings; ``score_bias`` and ``variance_floor`` are applied.

    Raises:
        UsageError: The folder holds no run.
        OutputError: The file cannot be written.
    """
    try:
        state = torch.load(run / STATE, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{run} holds no training state ({STATE}): give a run's folder.") from error
    facts = {"images": state["images"], "steps": state["step"], "settings": asdict(settings)}
    facts["torch"] = str(torch.__version__)
    save_detector(
        output, state["averaged"], facts, score_bias=settings.score_bias, variance_floor=settings.variance_floor
    )
    return int(state["images"])


def train_detector(
    settings: DetectorSettings,
    archives: list[Path],
    teacher: Path,
    run: Path,
    *,
    device: str = "cpu",
    minutes: float = math.inf,
    notify: Callable[[str], None] = lambda line: None,
) -> bool:
    """Train a detector, or go on with a run that was stopped.

    Args:
        settings: What decides the run.
        archives: Zip archives of photographs; a face should be on most of them.
        teacher: RetinaFace weights to learn from.
        run: Folder of the state, the log and the labels; gone on with if it holds a state.
        device: Where to train, as PyTorch names it.
        minutes: Stop after this time, with a state to go on from.
        notify: Receives a line on what is done.

    Returns:
        Whether the run is finished.
    """
    run.mkdir(parents=True, exist_ok=True)
    network = load_teacher(teacher, torch.device(device))
    labels = run / LABELS
    sources = load_sources(archives, lambda batch: run_network(network, batch), torch.device(device), labels, notify)
    trainer = DetectorTrainer(settings, sources, network, run, device)
    if (run / STATE).exists():
        trainer.resume()
        notify(f"going on after {trainer.images} images")

    def report(row: dict[str, float]) -> None:
        notify("  ".join(f"{name} {value:g}" for name, value in row.items()))

    return trainer.train(minutes=minutes, report=report)
