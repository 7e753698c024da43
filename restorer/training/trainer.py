"""Train a face network from scratch on aligned faces: reconstruction first, then with a discriminator."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restorer.errors import OutputError, UsageError, WeightsError
from restorer.networks.discriminators import PatchDiscriminator
from restorer.training import losses
from restorer.training.dataset import AlignedCrop, Pair, draw_numbered
from restorer.training.settings import RestorationSettings

STATE = "state.pt"
LOG = "log.jsonl"


class RestorationTrainer:
    """Everything one run needs: networks, average, optimisers and position."""

    def __init__(self, settings: RestorationSettings, faces: list[AlignedCrop], run: Path, device: str = "cpu") -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.faces, self.run, self.device = settings, faces, run, torch.device(device)
        self.generator = settings.network()
        self.generator.to(self.device)
        self.average = settings.network().to(self.device).requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        self.discriminator = PatchDiscriminator().to(self.device)
        for network in (self.generator, self.average, self.discriminator):
            _channels_last(network)
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), betas=(0.9, 0.99))
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=settings.discriminator_rate, betas=(0.5, 0.99)
        )
        self.images = 0

    def train(
        self, *, minutes: float = math.inf, report: Callable[[dict[str, float]], None] = lambda row: None
    ) -> bool:
        """Train until the run's length or the time is reached, saving on the way; return whether the run is finished.

        Raises:
            WeightsError: if the loss is no longer finite; the last saved state is intact.
            OutputError: if the state cannot be saved.
        """
        settings, end = self.settings, time.monotonic() + 60 * minutes
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "settings.json").write_text(json.dumps(asdict(settings), indent=1), encoding="utf-8")
        for pairs in self._batches():
            started = time.monotonic()
            row = self.step(*(part.to(self.device) for part in _stack(pairs)))
            if not math.isfinite(row["loss"]):
                raise WeightsError(
                    f"The loss is {row['loss']} after {self.images} images: "
                    f"lower the learning rate and resume {self.run}."
                )
            row |= {"images": self.images, "seconds": round(time.monotonic() - started, 3)}
            with (self.run / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            report(row)
            stop = time.monotonic() > end
            if stop or self.images >= settings.images or self.images % settings.save_every < settings.batch:
                self.save()
            if stop:
                break
        return self.images >= settings.images

    def step(self, degraded: Tensor, truth: Tensor, weight: Tensor) -> dict[str, float]:
        """Take one step on N×3×H×W RGB in [−1, 1] and N×1×H×W weights; return the losses."""
        settings, factor = self.settings, self.settings.losses
        adversarial = self.images >= settings.adversarial_from
        for group in self.generator_optimiser.param_groups:
            group["lr"] = self.learning_rate()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.bf16):
            output, pyramid = self.generator.forward_with_pyramid(degraded)
        # plain NCHW: on channels-last the losses' broadcasts over three channels are not vectorised
        output, pyramid = output.float().contiguous(), [image.float() for image in pyramid]
        truth = truth.contiguous()
        terms = {
            "l1": losses.weighted_l1(output, truth, weight),
            "gradient": losses.gradient_l1(output, truth, weight),
        }
        if pyramid:  # a plain U-Net draws no smaller images
            terms["pyramid"] = losses.pyramid_l1(pyramid, truth)
        scores: dict[str, Tensor] = {}
        if adversarial:
            scores["discriminator"] = self._discriminator_step(output.detach(), truth, degraded)
            self.discriminator.requires_grad_(False)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.bf16):
                fake, features = self.discriminator(output, degraded)
                with torch.no_grad():
                    _, wanted = self.discriminator(truth, degraded)
            self.discriminator.requires_grad_(True)
            terms["adversarial"] = losses.generator_logistic(fake.float())
            terms["feature_matching"] = losses.feature_matching(features, wanted).float()
        loss = sum((getattr(factor, name) * term for name, term in terms.items()), output.new_zeros(()))
        self.generator_optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.generator.parameters(), 1.0)
        self.generator_optimiser.step()
        self.images += len(output)
        self._update_average(len(output))
        scores["input_l1"] = losses.weighted_l1(degraded, truth, weight)  # what doing nothing would cost
        return {name: round(float(term.detach()), 5) for name, term in ({"loss": loss} | terms | scores).items()}

    def _discriminator_step(self, output: Tensor, truth: Tensor, degraded: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            real, _ = self.discriminator(truth, degraded)
            fake, _ = self.discriminator(output, degraded)
        loss = losses.discriminator_logistic(real.float(), fake.float())
        self.discriminator_optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.discriminator_optimiser.step()
        return loss

    def learning_rate(self) -> float:
        """Return the generator's rate at this position: linear warm-up, then a cosine to a twentieth."""
        settings = self.settings
        rise = min(1.0, (self.images + settings.batch) / max(1, settings.warmup))
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.images / settings.images)))
        return settings.learning_rate * rise * (0.05 + 0.95 * fall)

    def _update_average(self, images: int) -> None:
        # an average that forgets half in ema_images, shorter at the start so that the first weights do not linger
        half = min(self.settings.ema_images, max(1.0, 0.1 * self.images))
        keep = 0.5 ** (images / half)
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)

    def _batches(self) -> Iterator[list[Pair]]:
        """Yield the batches still to come, each drawn while the one before is computed."""
        settings = self.settings

        def draw(first: int) -> list[Pair]:
            return [
                draw_numbered(self.faces, settings.samples, settings.seed, first + i) for i in range(settings.batch)
            ]

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(draw, self.images)
            while self.images < settings.images:
                pairs = coming.result()
                coming = pool.submit(draw, self.images + settings.batch)
                yield pairs

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "images": self.images,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
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
                f"The training state cannot be saved in {self.run} ({error}): free some space and resume."
            ) from error

    def start_from(self, run: Path) -> None:
        """Begin with the averaged generator and the discriminator of another run, optimisers fresh.

        Raises:
            UsageError: the folder holds no run, or one of other sizes.
        """
        try:
            state = torch.load(run / STATE, map_location=self.device, weights_only=True)
        except FileNotFoundError as error:
            raise UsageError(f"{run} holds no training state ({STATE}): give a run's folder.") from error
        if any(state["settings"].get(kind) != self.state()["settings"][kind] for kind in ("sizes", "plain")):
            raise UsageError(f"{run} trains a network of other sizes: give the recipe the same [sizes].")
        for network in (self.generator, self.average):
            network.load_state_dict(state["average"])
        self.discriminator.load_state_dict(state["discriminator"])

    def resume(self) -> None:
        """Continue from the saved state; UsageError if it belongs to other settings."""
        state = torch.load(self.run / STATE, map_location=self.device, weights_only=True)
        if state["settings"] != self.state()["settings"]:
            raise UsageError(f"{self.run} was started with other settings: give the same recipe or a new folder.")
        for name in ("generator", "average", "discriminator", "generator_optimiser", "discriminator_optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.images = state["images"]


def _channels_last(network: torch.nn.Module) -> None:
    """Lay out every 4-D parameter channels-last (Module.to refuses the 5-D modulated weights)."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _stack(pairs: list[Pair]) -> tuple[Tensor, Tensor, Tensor]:
    """Return degraded and truth as N×3×H×W in [−1, 1] and weights as N×1×H×W."""

    def images(name: str) -> Tensor:
        batch = torch.stack([torch.from_numpy(getattr(pair, name)) for pair in pairs])
        return batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)  # a channels-last view of HWC pixels

    weight = torch.stack([torch.from_numpy(pair.weight) for pair in pairs])[:, None]
    return images("degraded"), images("truth"), weight
