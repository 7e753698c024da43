"""Train a face network on aligned faces: reconstruction first, then with discriminators."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorer.checkpoints import load_checkpoint
from restorer.checkpoints.architectures import FirstOutput
from restorer.errors import UsageError, WeightsError
from restorer.networks.gfpgan import GFPGAN
from restorer.networks.unet import PlainUNet
from restorer.training import losses
from restorer.training.batch import Batch
from restorer.training.dataset import AlignedCrop, draw_batch, draw_pair, stack
from restorer.training.equalised import rate_factors
from restorer.training.loop import Row, Trainer, mean_of, row_of
from restorer.training.objectives import build_objectives
from restorer.training.prior_weights import DECODER, start_from_prior
from restorer.training.processes import ALONE, PartStatistics, Processes, gathering
from restorer.training.settings import RestorationSettings, build, given
from restorer.training.sheets import draw_sheet, evenly, to_pixels
from restorer.training.state import load_parts, load_state

Terms: TypeAlias = dict[str, Tensor]
SHEET_FACES = 4
"""Rows of a sample sheet."""


class RestorationTrainer(Trainer[list[Batch]]):
    """Everything one run needs: networks, average, objectives, optimisers and position.

    A step's work is the parts of its batch that this process computes.
    """

    kind = "restoration"

    def __init__(
        self, settings: RestorationSettings, faces: list[AlignedCrop], run: Path, processes: Processes = ALONE
    ) -> None:
        super().__init__(settings, run, processes)
        self.settings, self.faces = settings, faces
        self.places = processes.share(settings.parts)
        self.generator = settings.network().to(self.device)
        self.average = settings.network().to(self.device).requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        self.objectives = build_objectives(settings, self.device, bf16=self.bf16)
        for network in (self.generator, self.average, *(one.discriminators for one in self.objectives.values())):
            _channels_last(network)
        self.generator_optimiser = torch.optim.Adam(self._groups(), betas=settings.betas)
        self.discriminator_optimiser = torch.optim.Adam(
            [group for one in self.objectives.values() for group in one.groups(settings.discriminator_rate)],
            betas=settings.discriminator_betas,
        )
        unused = settings.pyramid_until < settings.images or bool(settings.sizes and settings.sizes.mlp_layers)
        self.shared = processes.shared(_WithPyramid(self.generator), some_unused=unused)
        networks = [objective.discriminators for objective in self.objectives.values()]
        self.statistics = PartStatistics(networks, settings.parts, processes)

    def _groups(self) -> list[dict[str, Any]]:
        """Return the generator's parameters for Adam, those of one rate together, each with the factor of its rate."""
        settings, groups = self.settings, dict[float, list[nn.Parameter]]()
        factors = rate_factors(self.generator) if settings.equalised else {}
        for name, parameter in self.generator.named_parameters():
            factor = factors.get(name, 1.0) * (settings.prior_rate if name.startswith(DECODER) else 1.0)
            groups.setdefault(factor, []).append(parameter)
        for parameter in groups.pop(0.0, []):
            parameter.requires_grad_(False)
        return [{"params": group, "factor": factor} for factor, group in groups.items()]

    def _learning(self) -> list[nn.Parameter]:
        return [parameter for objective in self.objectives.values() for parameter in objective.parameters()]

    def parts(self) -> dict[str, Any]:
        """Return all that is saved."""
        return {
            "generator": self.generator,
            "average": self.average,
            "generator_optimiser": self.generator_optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
        } | {f"objective.{name}": objective for name, objective in self.objectives.items()}

    def migrated(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state of version 0.1, which kept the one discriminator under its name, in today's layout."""
        state.setdefault("step", state["images"] // self.settings.batch)
        if "discriminator" in state:
            discriminator = state.pop("discriminator")
            state["objective.adversarial"] = {f"face.{name}": value for name, value in discriminator.items()}
        for group in state["generator_optimiser"]["param_groups"]:
            group.setdefault("factor", 1.0)
        return state

    def work(self) -> Generator[list[Batch], None, None]:
        """Yield each step's parts of this process, drawn while those before are computed."""
        settings, size = self.settings, self.settings.batch // self.settings.parts

        def draw(first: int) -> list[Future[Batch]]:
            numbers = [range(first + place * size, first + (place + 1) * size) for place in self.places]
            arguments = (self.faces, settings.samples, settings.seed)
            return [pool.submit(draw_batch, *arguments, part, self.device) for part in numbers]

        pool = ThreadPoolExecutor(1)
        try:
            coming = draw(self.images)
            while self.images < settings.images:
                now, coming = coming, draw(self.images + settings.batch)
                yield [dataclasses.replace(part.result(), step=self.steps) for part in now]
        finally:
            pool.shutdown(cancel_futures=True)

    def step(self, work: list[Batch]) -> Row:
        """Take one step and return the losses, means over all parts."""
        adversarial = self.images >= self.settings.adversarial_from
        before = adversarial and self.settings.discriminators_first
        scores: Row = {}
        # the discriminators, where they come first; one part's output is kept, of several each is computed again
        kept = [self._restore(work[0])] if before and len(work) == 1 else []
        if before:
            scores = self._step_discriminators(work, [out.detach() for out, _ in kept] or self._outputs(work))
        # the generator
        for group in self.generator_optimiser.param_groups:
            group["lr"] = self.learning_rate() * group["factor"]
        self.generator_optimiser.zero_grad(set_to_none=True)
        self.statistics.begin()
        rows, outputs = [], []
        for number, batch in enumerate(work):
            with gathering(self.shared, last=number + 1 == len(work)), self.statistics.of_part():
                output, pyramid = kept[0] if kept else self._restore(batch)
                self.seed_part(2 * self.places[number])
                terms = self._terms(batch, output, pyramid, adversarial=adversarial)
                loss = self._weighted(terms)
                torch.autograd.backward(loss / len(work) if len(work) > 1 else loss)
            rows.append(row_of({"loss": loss} | terms | {"input_l1": _input_l1(batch)}))
            outputs.append(output.detach())
        self.statistics.end()
        norm = torch.nn.utils.clip_grad_norm_(self.generator.parameters(), self.settings.clip)
        self.check_finite(float(norm))
        self.generator_optimiser.step()
        # the discriminators, where they come last
        if adversarial and not before:
            scores = self._step_discriminators(work, outputs)
        self.images += self.settings.batch
        self.steps += 1
        self._update_average(self.settings.batch)
        return mean_of(rows) | scores

    def _restore(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            output, pyramid = self.shared(batch.degraded, self.images < self.settings.pyramid_until)
        # plain NCHW: on channels-last the losses' broadcasts over three channels are not vectorised
        return output.float().contiguous(), [image.float() for image in pyramid]

    def _outputs(self, work: Sequence[Batch]) -> list[Tensor]:
        with torch.no_grad():
            return [self._restore(batch)[0] for batch in work]

    def _terms(self, batch: Batch, output: Tensor, pyramid: list[Tensor], *, adversarial: bool) -> Terms:
        """Return what the generator is to make small, before weighting."""
        truth = batch.truth.contiguous()
        terms = {
            "l1": losses.weighted_l1(output, truth, batch.weight),
            "gradient": losses.gradient_l1(output, truth, batch.weight),
        }
        if pyramid:  # a plain U-Net draws no smaller images
            terms["pyramid"] = losses.pyramid_l1(pyramid, truth)
        for objective in self.objectives.values():
            if adversarial or not any(True for _ in objective.parameters()):
                terms |= objective.generator_terms(output, truth, batch)
        return terms

    def _weighted(self, terms: Terms) -> Tensor:
        factor = self.settings.losses
        return sum((getattr(factor, name) * term for name, term in terms.items()), torch.zeros((), device=self.device))

    def _step_discriminators(self, work: Sequence[Batch], outputs: Sequence[Tensor]) -> Row:
        """Let every discriminator take a step on these outputs."""
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        self.statistics.begin()
        rows = []
        for place, batch, output in zip(self.places, work, outputs, strict=True):
            self.seed_part(2 * place + 1)
            with self.statistics.of_part():
                terms: Terms = {}
                for objective in self.objectives.values():
                    terms |= objective.discriminator_terms(output, batch.truth.contiguous(), batch)
                loss = sum(terms.values(), torch.zeros((), device=self.device))
                torch.autograd.backward(loss / len(work) if len(work) > 1 else loss)
            rows.append(row_of(terms))
        self.statistics.end()
        gradients = [parameter.grad for parameter in self._learning() if parameter.grad is not None]
        self.processes.average(gradients)
        self.check_finite(float(torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))))
        self.discriminator_optimiser.step()
        return mean_of(rows)

    def learning_rate(self) -> float:
        """Return the generator's rate at this position.

        A linear warm-up, then a cosine to a twentieth, or a constant that is halved where the settings say so.
        """
        settings = self.settings
        rise = min(1.0, (self.images + settings.batch) / max(1, settings.warmup))
        if settings.halvings:
            return settings.learning_rate * rise * 0.5 ** sum(self.images >= place for place in settings.halvings)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.images / settings.images)))
        return settings.learning_rate * rise * (0.05 + 0.95 * fall)

    def _update_average(self, images: int) -> None:
        # an average that forgets half in ema_images, shorter at the start so that the first weights do not linger
        half = min(self.settings.ema_images, max(1.0, 0.1 * self.images))
        keep = 0.5 ** (images / half)
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)

    def sheet(self) -> NDArray[np.uint8]:
        """Show what the averaged network makes of a few fixed faces, damaged in a fixed way."""
        samples = dataclasses.replace(self.settings.samples, clean=0.0)
        places = evenly(len(self.faces), SHEET_FACES)
        generators = [np.random.default_rng([self.settings.seed, 2, place]) for place in places]
        faces = zip(places, generators, strict=True)
        batch = stack([draw_pair(self.faces[place], samples, rng) for place, rng in faces]).to(self.device)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            restored = self.average(batch.degraded)
        columns = {"input": batch.degraded, f"after {self.images:,} images": restored, "truth": batch.truth}
        return draw_sheet({heading: to_pixels(images) for heading, images in columns.items()})

    def start_from_prior(self, path: Path) -> None:
        """Begin with a trained prior; see :func:`start_from_prior`."""
        assert isinstance(self.generator, GFPGAN)  # the settings see to it
        start_from_prior(self.generator, path)
        self.average.load_state_dict(self.generator.state_dict())

    def start_from(self, start: Path) -> None:
        """Begin with a network that is trained already, optimisers fresh.

        Args:
            start: Another run's folder, whose averaged generator and discriminators are taken; or a file of weights,
                an export or a published checkpoint, which holds a generator alone.

        Raises:
            UsageError: The folder holds no run, or the network has other sizes.
            WeightsError: The state or the file is damaged, or the file holds another kind of network.
        """
        if start.is_file():
            self._start_from_file(start)
        else:
            self._start_from_run(start)

    def _start_from_file(self, path: Path) -> None:
        module = load_checkpoint(path).module
        module = module.inner if isinstance(module, FirstOutput) else module
        if not isinstance(module, (GFPGAN, PlainUNet)):
            raise WeightsError(f"{path} holds no face network of this project's layout: give a GFP-GAN.")
        if type(module) is not type(self.generator) or module.sizes != self.generator.sizes:
            raise UsageError(f"{path} holds a network of other sizes: give the recipe the same [sizes].")
        for network in (self.generator, self.average):
            network.load_state_dict(module.state_dict())

    def _start_from_run(self, run: Path) -> None:
        state = self.migrated(load_state(run, self.kind, self.device))
        before = saved_settings(run, state)
        if (before.sizes, before.plain) != (self.settings.sizes, self.settings.plain):
            raise UsageError(f"{run} trains a network of other sizes: give the recipe the same [sizes].")
        for network in (self.generator, self.average):
            network.load_state_dict(state["average"])
        if before.discriminator == self.settings.discriminator:
            names = [name for name in self.parts() if name.startswith("objective.") and name in state]
            load_parts({name: self.parts()[name] for name in names}, state, run)


class _WithPyramid(nn.Module):
    """What of a face network a step runs, as the one ``forward`` that DistributedDataParallel looks at."""

    def __init__(self, generator: GFPGAN | PlainUNet) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, degraded: Tensor, with_pyramid: bool) -> tuple[Tensor, list[Tensor]]:
        return self.generator.forward_with_pyramid(degraded) if with_pyramid else (self.generator(degraded), [])


def saved_settings(run: Path, state: Mapping[str, Any]) -> RestorationSettings:
    """Return the settings that a restoration's state was saved with."""
    return build(RestorationSettings, given(state["settings"]), f"The saved settings of {run}")


def _channels_last(network: nn.Module) -> None:
    """Lay out every 4-D parameter channels-last (Module.to refuses the 5-D modulated weights)."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _input_l1(batch: Batch) -> Tensor:
    """Return what doing nothing would cost."""
    return losses.weighted_l1(batch.degraded, batch.truth.contiguous(), batch.weight)
