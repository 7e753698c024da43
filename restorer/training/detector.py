"""Train the bundled face detector: RetinaFace with a quarter-width MobileNet, distilled from a teacher.

The teacher sees a composed view as it is, the student sees it damaged and learns to answer the same on every prior.
Lengths are counted in images; every random choice follows from the seed and the step, so a run that was stopped goes
on as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorer.errors import UsageError
from restorer.training.detector_degradations import degrade
from restorer.training.detector_losses import (
    Faces,
    Outputs,
    distillation_loss,
    hint_loss,
    multibox_loss,
    priors,
)
from restorer.training.detector_network import (
    WithFeatures,
    build_network,
    load_start,
    load_teacher,
    run_network,
    run_with_features,
    save_detector,
    shift_scores,
    start_network,
)
from restorer.training.detector_sources import Pixels, Source, find_faces, load_sources, network_input
from restorer.training.detector_turned import turned_sources
from restorer.training.detector_views import ViewComposer
from restorer.training.loop import FREE, Row, Trainer, mean_of, row_of
from restorer.training.processes import ALONE, PartStatistics, Processes, gathering
from restorer.training.sheets import draw_faces, draw_sheet
from restorer.training.state import STATE, load_state

LABELS, ASIDE_LABELS = "labels.npz", "labels-aside.npz"
SHEET_VIEWS, SHEET_SIZE = 4, 320
"""Rows of a sample sheet and the side of its views in pixels."""
DOUBT = 0.2
"""Score of the teacher from which a prior that no label covers is not called background."""


@dataclass(frozen=True)
class DetectorSettings:
    """What decides a training run, beside its photographs and its teacher. Lengths are counted in images."""

    images: int
    """Length of the run; the learning rate falls to zero at its end."""
    area: int = 819_200
    """Pixels in a batch; the number of views in it follows from their size."""
    parts: int = 1
    """Parts of a batch that are computed one after the other, or shared among processes; their gradients are averaged.
    What is measured over views of a batch, as by batch normalisation, is measured within a part."""
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
    teacher_weight: float = 1.0
    """Weight of the answers that the teacher gives to the same view before it was damaged, on every prior."""
    label_weight: float = 0.0
    """Weight of RetinaFace's own loss on labelled faces, with mined negatives; the teacher labels the photographs."""
    box_weight: float = 1.0
    """Weight of the boxes' loss relative to the classes'."""
    point_weight: float = 0.4
    """Weight of the points' loss relative to the classes'."""
    hint_weight: float = 4.0
    """Weight of the difference between the two networks' feature maps; needs a teacher of the student's layout."""
    aside: float = 0.0
    """Share of the wanted faces that are turned aside by rendering, see :mod:`restorer.training.turning`."""
    cut: float = 0.0
    """Share of the wanted faces that may lie across the edge of a view or of a part of it."""
    bf16: bool = True
    """Autocast to bfloat16; weights, losses and optimiser stay float32."""
    ema_images: float = 4_000.0
    """Time constant of the averaged weights."""
    score_bias: float = 0.0
    """Added to the face logit on export, so that the customary threshold is the right operating point."""
    variance_floor: float = 0.1
    """Least variance of a channel on export, in medians of its layer, see ``raise_variances``."""
    upright_score: float = 0.998
    """Written down on export, see :class:`NetworkContract`: measure it on faces that stand, lie and hang."""
    save_every: int = 4_000
    """Images between two saved states."""
    log_every: int = 200
    """Images between two lines of the log, which hold means."""
    sheet_every: int = 4_000
    """Images between two sheets of samples."""
    seed: int = 0
    """Seed of the weights and of all views."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if len(self.sizes) != len(self.size_shares) or abs(sum(self.size_shares) - 1) > 1e-6:
            raise UsageError("Every view size needs its share, and the shares must add up to 1.")
        if self.parts < 1 or any(size % 32 or size * size > self.area // self.parts for size in self.sizes):
            raise UsageError("View sizes must be multiples of 32 whose square fits into a part of the batch's area.")
        if self.teacher_weight <= 0 and self.label_weight <= 0:
            raise UsageError("Nothing is to be learned: give teacher_weight or label_weight a value above 0.")


@dataclass(frozen=True)
class Views:
    """Views of one size as the two networks get them, NCHW, BGR minus mean."""

    clean: Tensor
    """For the teacher."""
    damaged: Tensor
    """For the student."""
    faces: tuple[Faces, ...]
    """Known faces, one entry per view."""


class DetectorTrainer(Trainer[list[Views]]):
    """Everything one run needs: student, average, teacher, optimiser and position.

    A step's work is the parts of its batch that this process computes.
    """

    kind = "detector"
    free = FREE | {"images", "score_bias", "variance_floor", "upright_score"}

    def __init__(
        self,
        settings: DetectorSettings,
        sources: list[Source],
        teacher: nn.Module,
        run: Path,
        processes: Processes = ALONE,
        aside: Sequence[Source] = (),
    ) -> None:
        super().__init__(settings, run, processes)
        self.settings, self.teacher = settings, teacher
        self.places = processes.share(settings.parts)
        self.composer = ViewComposer(sources, aside, aside_share=settings.aside, cut=settings.cut)
        self.network = start_network(self.device, settings.seed)
        self.averaged = build_network(self.device).requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        decayed = [parameter for parameter in self.network.parameters() if parameter.dim() > 1]
        others = [parameter for parameter in self.network.parameters() if parameter.dim() == 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        self.shared = processes.shared(WithFeatures(self.network))
        self.statistics = PartStatistics([self.network], settings.parts, processes)

    def start_from(self, path: Path) -> None:
        """Begin with the weights of a detector's file; what its export added to the face logit is taken off again.

        Raises:
            WeightsError: The file cannot be read or holds another network.
        """
        state, bias = load_start(path)
        self.network.load_state_dict(state)
        shift_scores(self.network, -bias)
        self.averaged.load_state_dict(self.network.state_dict())

    def parts(self) -> dict[str, Any]:
        """Return all that is saved."""
        return {"network": self.network, "averaged": self.averaged, "optimizer": self.optimizer}

    def work(self) -> Generator[list[Views], None, None]:
        """Yield each step's parts of this process, composed while those before are computed."""
        pool = ThreadPoolExecutor(1)
        try:
            coming = pool.submit(self.draw, self.steps)
            while self.images < self.settings.images:
                now, coming = coming, pool.submit(self.draw, self.steps + 1)
                yield now.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def draw(self, step: int) -> list[Views]:
        """Compose this process' parts of a step; the same step of the same seed gives the same views."""
        settings, rng = self.settings, np.random.default_rng((self.settings.seed, step))
        size = int(rng.choice(settings.sizes, p=settings.size_shares))
        if settings.parts == 1:
            return [self._compose(size, rng)]
        return [self._compose(size, np.random.default_rng((settings.seed, step, part))) for part in self.places]

    def _compose(self, size: int, rng: np.random.Generator) -> Views:
        count = self.settings.area // self.settings.parts // (size * size)
        views = [self.composer.compose(size, rng) for _ in range(count)]
        damaged = [degrade(view.pixels, rng) for view in views]
        faces = [Faces(torch.from_numpy(view.boxes), torch.from_numpy(view.points)) for view in views]
        return Views(
            network_input([view.pixels for view in views], self.device),
            network_input(damaged, self.device),
            tuple(Faces(known.boxes.to(self.device), known.points.to(self.device)) for known in faces),
        )

    def step(self, work: list[Views]) -> Row:
        """Take one optimiser step and return the losses before it, means over all parts."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        self.network.train()
        self.statistics.begin()
        rows = []
        for number, views in enumerate(work):
            with gathering(self.shared, last=number + 1 == len(work)), self.statistics.of_part():
                terms = self._terms(views)
                total = self._weighted(terms)
                torch.autograd.backward(total / len(work) if len(work) > 1 else total)
            rows.append(row_of({"loss": total} | terms))
        self.statistics.end()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.check_finite(float(norm))
        rate = self.learning_rate()
        self.optimizer.step()
        count = len(work[0].clean) * self.settings.parts
        self.images += count
        self.steps += 1
        self._update_average(count)
        return mean_of(rows) | {"rate": rate}

    def _terms(self, views: Views) -> dict[str, Tensor]:
        """Return the losses of one part, before weighting."""
        settings = self.settings
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            with torch.no_grad():
                target, wanted = run_with_features(self.teacher, views.clean)
            boxes, classes, points, *features = self.shared(views.damaged)
        answer = Outputs(boxes, classes, points)
        anchors = priors(views.clean.shape[2], views.clean.shape[3], self.device)
        terms: dict[str, Tensor] = {}
        if settings.teacher_weight:
            losses = distillation_loss(answer, target, views.faces, anchors)
            terms |= {"classes": losses.classes, "boxes": losses.boxes, "points": losses.points}
            if settings.hint_weight:
                terms["hints"] = hint_loss(features, wanted)
        if settings.label_weight:
            doubtful = torch.sigmoid(target.logits) > DOUBT  # faces that no label tells of: cut off, covered
            losses = multibox_loss(answer, views.faces, anchors, ignored=doubtful)
            terms |= {"label_classes": losses.classes, "label_boxes": losses.boxes, "label_points": losses.points}
        return terms

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        settings = self.settings
        within = {"classes": 1.0, "boxes": settings.box_weight, "points": settings.point_weight}
        factors = {name: settings.teacher_weight * factor for name, factor in within.items()}
        factors |= {f"label_{name}": settings.label_weight * factor for name, factor in within.items()}
        factors["hints"] = settings.teacher_weight * settings.hint_weight
        return sum((factors[name] * term for name, term in terms.items()), torch.zeros((), device=self.device))

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

    def sheet(self) -> NDArray[np.uint8]:
        """Show what the averaged network finds on a few fixed views, beside the teacher's answers."""
        self.averaged.eval()
        answers: dict[str, list[Pixels]] = {"teacher": [], f"after {self.images:,} images": []}
        for number in range(SHEET_VIEWS):
            rng = np.random.default_rng((self.settings.seed, 2**31, number))
            view = self.composer.compose(SHEET_SIZE, rng)
            shown = (view.pixels, degrade(view.pixels, rng))
            for pictures, network, pixels in zip(answers.values(), (self.teacher, self.averaged), shown, strict=True):
                rows = find_faces(partial(run_network, network), pixels, self.device)
                pictures.append(draw_faces(pixels, rows))
        return draw_sheet({heading: np.stack(pictures) for heading, pictures in answers.items()})


def export_detector(run: Path, output: Path, settings: DetectorSettings) -> int:
    """Write a run's averaged network as safetensors that the pipeline loads; return the images it has seen.

    Args:
        run: The run's folder.
        output: The file to write.
        settings: The run's settings; ``score_bias``, ``variance_floor`` and ``upright_score`` are applied.

    Raises:
        UsageError: The folder holds no run of a detector.
        WeightsError: Its state is damaged.
        OutputError: The file cannot be written.
    """
    state = load_state(run, "detector")
    facts = {"images": state["images"], "steps": state["step"], "settings": asdict(settings)}
    facts["torch"] = str(torch.__version__)
    save_detector(
        output,
        state["averaged"],
        facts,
        score_bias=settings.score_bias,
        variance_floor=settings.variance_floor,
        upright_score=settings.upright_score,
    )
    return int(state["images"])


def open_detector_run(
    settings: DetectorSettings,
    archives: list[Path],
    teacher: Path,
    run: Path,
    processes: Processes = ALONE,
    notify: Callable[[str], None] = lambda line: None,
    start: Path | None = None,
) -> DetectorTrainer:
    """Label the photographs, or take the labels that the run's folder holds, and go on with its state if it has one.

    Args:
        settings: What decides the run.
        archives: Zip archives of photographs; a face should be on most of them.
        teacher: RetinaFace weights to learn from.
        run: Folder of the state, the log and the labels.
        processes: Those that share the run.
        notify: Receives a line on what is done.
        start: A detector's file to begin with, where the folder holds no state; None: random weights.

    Raises:
        UsageError: No photograph shows a face, or the run was started with other settings.
        WeightsError: The teacher, the start or the state cannot be read.
        OutputError: The labels cannot be written.
    """
    network = load_teacher(teacher, processes.device)
    answers = partial(run_network, network)

    def load(notify: Callable[[str], None]) -> tuple[list[Source], list[Source]]:
        sources = load_sources(archives, answers, processes.device, run / LABELS, notify)
        if not settings.aside:
            return sources, []
        return sources, turned_sources(sources, answers, processes.device, run / ASIDE_LABELS, notify)

    if processes.first:
        sources, aside = load(notify)
    processes.wait()  # the others take the labels that the first has written
    if not processes.first:
        sources, aside = load(lambda line: None)
    trainer = DetectorTrainer(settings, sources, network, run, processes, aside)
    if (run / STATE).exists():
        trainer.resume()
    elif start is not None:
        trainer.start_from(start)
    return trainer
