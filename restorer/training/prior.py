"""Train the prior by itself: StyleGAN2 on aligned faces, with augmentation where there are few.

Sources: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020 (losses, lazy regularisation,
path lengths); Karras et al., "A Style-Based Generator Architecture", CVPR 2019 (style mixing, truncation).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

from restorer.networks.stylegan2 import StyleGAN2Prior
from restorer.networks.stylegan2_discriminator import StyleGAN2Discriminator
from restorer.training import losses
from restorer.training.adversarial import r1_penalty
from restorer.training.augment import AdaptiveAugment, DiffAugment
from restorer.training.dataset import AlignedCrop
from restorer.training.equalised import equalised_groups
from restorer.training.loop import Row, Trainer
from restorer.training.prior_settings import PriorSettings
from restorer.training.prior_weights import mean_code
from restorer.training.processes import ALONE, Processes
from restorer.training.sheets import draw_sheet, evenly, to_pixels

SHEET_FACES = 5
"""Rows of a sample sheet."""
TRUNCATIONS = (0.5, 0.7, 1.0)
"""How far from the mean face the samples on a sheet may be; 1: as far as they come."""
PATH_DECAY = 0.01
"""Share of each new measurement in the mean path length."""
PATH_SHRINK = 2
"""Path lengths are measured on a batch so many times smaller."""


class PriorTrainer(Trainer[list[Tensor]]):
    """Everything one run needs: both networks, average, augmentation, optimisers and position.

    A step's work is the parts of its batch of real images that this process computes, N×3×S×S in [−1, 1].
    """

    kind = "prior"

    def __init__(
        self, settings: PriorSettings, faces: list[AlignedCrop], run: Path, processes: Processes = ALONE
    ) -> None:
        """Build the networks; see :class:`Trainer`.

        Raises:
            UsageError: The processes cannot share a batch's parts.
        """
        super().__init__(settings, run, processes)
        self.settings, self.faces = settings, faces
        self.places = processes.share(settings.parts)
        sizes = settings.sizes
        self.discriminator = StyleGAN2Discriminator(settings.discriminator).to(self.device)
        self.generator = StyleGAN2Prior(sizes).initialise().to(self.device)
        self.average = StyleGAN2Prior(sizes).to(self.device).requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        self.augment = _augmentation(settings)
        self.generator_optimiser = torch.optim.Adam(
            equalised_groups(self.generator, settings.learning_rate), betas=settings.betas
        )
        self.discriminator_optimiser = torch.optim.Adam(
            equalised_groups(self.discriminator, settings.discriminator_rate), betas=settings.betas
        )
        self.path_mean = Scalar()

    def parts(self) -> dict[str, Any]:
        """Return all that is saved."""
        found: dict[str, Any] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
            "generator_optimiser": self.generator_optimiser,
            "discriminator_optimiser": self.discriminator_optimiser,
            "path_mean": self.path_mean,
        }
        return found | ({"augment": self.augment} if isinstance(self.augment, AdaptiveAugment) else {})

    def work(self) -> Generator[list[Tensor], None, None]:
        """Yield each step's real images of this process, prepared while those before are computed."""
        settings, size = self.settings, self.settings.batch // self.settings.parts

        def draw(first: int) -> list[Future[Tensor]]:
            numbers = [range(first + place * size, first + (place + 1) * size) for place in self.places]
            return [pool.submit(real_images, self.faces, settings, part) for part in numbers]

        pool = ThreadPoolExecutor(1)
        try:
            coming = draw(self.images)
            while self.images < settings.images:
                now, coming = coming, draw(self.images + settings.batch)
                yield [part.result().to(self.device) for part in now]
        finally:
            pool.shutdown(cancel_futures=True)

    def step(self, work: list[Tensor]) -> Row:
        """Take one step of the discriminator, then one of the generator; return the losses, means over all parts."""
        rows = [self._discriminator_part(place, real, len(work)) for place, real in zip(self.places, work, strict=True)]
        self._update(self.discriminator, self.discriminator_optimiser)
        judged = _mean(rows)
        rows = [
            self._generator_part(place, len(real), len(work)) for place, real in zip(self.places, work, strict=True)
        ]
        self._update(self.generator, self.generator_optimiser)
        row = judged | _mean(rows)
        if "path" in row:
            measured = self.processes.mean([row["path"]])[0]
            # a mean that began at 0 would ask for images that do not move at all
            self.path_mean.value += (PATH_DECAY if self.path_mean.value else 1) * (measured - self.path_mean.value)
        if isinstance(self.augment, AdaptiveAugment):
            self.augment.observe(self.processes.mean([row["sign"]])[0], self.settings.batch)
            row["p"] = self.augment.p
        self.images += self.settings.batch
        self.steps += 1
        self._update_average()
        return row

    def _discriminator_part(self, place: int, real: Tensor, parts: int) -> Row:
        """Add to the discriminator's gradient what one of several parts asks for."""
        settings = self.settings
        self.seed_part(2 * place)
        with torch.no_grad():
            fake = self._draw(len(real))
        seen, drawn = self.augment(real), self.augment(fake)
        with self._autocast():
            real_scores, _ = self.discriminator(seen)
            fake_scores, _ = self.discriminator(drawn)
        real_scores, fake_scores = real_scores.float(), fake_scores.float()
        loss = losses.discriminator_logistic(real_scores, fake_scores)
        row = {"discriminator": loss, "real": real_scores.mean(), "fake": fake_scores.mean()}
        row["sign"] = real_scores.sign().mean()
        if settings.r1 and self.steps % settings.r1_every == 0:
            # on what the discriminator sees: torch cannot differentiate the augmentation's resampling twice
            seen = seen.detach().requires_grad_(True)
            row["r1"] = r1_penalty(self.discriminator(seen)[0], seen)
            loss = loss + settings.r1 / 2 * settings.r1_every * row["r1"]
        torch.autograd.backward(loss / parts)
        return {name: float(value.detach()) for name, value in row.items()}

    def _generator_part(self, place: int, count: int, parts: int) -> Row:
        """Add to the generator's gradient what one of several parts asks for."""
        settings = self.settings
        self.seed_part(2 * place + 1)
        self.discriminator.requires_grad_(False)
        fake = self._draw(count)
        with self._autocast():
            scores, _ = self.discriminator(self.augment(fake))
        self.discriminator.requires_grad_(True)
        loss = losses.generator_logistic(scores.float())
        row = {"generator": loss}
        if settings.path_length and self.steps % settings.path_every == 0:
            codes = self._codes(max(1, count // PATH_SHRINK))
            images = self.generator(codes, noises=self.generator.fresh_noise(len(codes)))
            lengths = path_lengths(self._unfold(images), codes)
            row["path"] = lengths.mean()
            wanted = self.path_mean.value or float(row["path"].detach())  # the first has but itself to be compared with
            row["path_spread"] = (lengths - wanted).square().mean()
            loss = loss + settings.path_length * settings.path_every * row["path_spread"]
        torch.autograd.backward(loss / parts)
        return {name: float(value.detach()) for name, value in row.items()}

    def _codes(self, count: int) -> Tensor:
        """Draw W+ codes N×codes×style_dim, most of them mixed of two at a layer drawn at random."""
        sizes = self.settings.sizes
        first, second = self.generator.map(torch.randn(2 * count, sizes.style_dim, device=self.device)).chunk(2)
        return mix_styles(first, second, sizes.codes, self.settings.style_mixing)

    def _draw(self, count: int) -> Tensor:
        """Draw images with fresh codes and noise."""
        codes = self._codes(count)
        with self._autocast():
            images = self.generator(codes, noises=self.generator.fresh_noise(count))
        return self._unfold(images.float())

    def _unfold(self, images: Tensor) -> Tensor:
        patch = self.settings.sizes.patch
        return F.pixel_shuffle(images, patch) if patch > 1 else images

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _update(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Average the gradients over all processes and take the step."""
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        self.processes.average(gradients)
        self.check_finite(float(torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def _update_average(self) -> None:
        # an average that forgets half in ema_images, shorter at the start so that the first weights do not linger
        half = min(self.settings.ema_images, max(1.0, 0.1 * self.images))
        keep = 0.5 ** (self.settings.batch / half)
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)

    def sheet(self) -> NDArray[np.uint8]:
        """Show what the averaged prior draws for a few fixed latents.

        The columns are nearer to and further from the mean face (truncation), the last are real faces.
        """
        sizes = self.settings.sizes
        real = real_images(self.faces, self.settings, evenly(len(self.faces), SHEET_FACES))
        latents = torch.randn(len(real), sizes.style_dim, generator=torch.Generator().manual_seed(self.settings.seed))
        columns = {}
        with torch.no_grad(), self._autocast():
            codes, middle = (
                self.average.map(latents.to(self.device)),
                mean_code(self.average.style_mlp, sizes.style_dim),
            )
            for share in TRUNCATIONS:
                truncated = torch.lerp(middle.to(codes), codes, share)
                images = self.average(truncated[:, None].expand(-1, sizes.codes, -1))
                columns[f"{share}"] = self._unfold(images)
        columns["real"] = real
        return draw_sheet({heading: to_pixels(images) for heading, images in columns.items()})


class Scalar:
    """A number that is saved with a run."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, float]:
        """Return it."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take it over."""
        self.value = float(state["value"])


def _augmentation(settings: PriorSettings) -> AdaptiveAugment | DiffAugment | nn.Identity:
    if settings.augment == "ada":
        return AdaptiveAugment(target=settings.ada_target, images=settings.ada_images)
    return DiffAugment() if settings.augment == "diffaugment" else nn.Identity()


def real_images(faces: Sequence[AlignedCrop], settings: PriorSettings, numbers: Sequence[int]) -> Tensor:
    """Return the run's real images of these numbers, N×3×S×S in [−1, 1].

    Each depends on nothing but the seed and its number, so that a run can resume; each round visits every face once.
    """
    pictures = []
    for number in numbers:
        visit, place = divmod(number, len(faces))
        order = np.random.default_rng([settings.seed, 0, visit]).permutation(len(faces))
        pixels = faces[order[place]].pixels
        mirrored = settings.mirror and np.random.default_rng([settings.seed, 1, number]).random() < 0.5
        pictures.append(pixels[:, ::-1] if mirrored else pixels)
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return images.float().div_(127.5).sub_(1).contiguous()


def mix_styles(first: Tensor, second: Tensor, layers: int, share: float) -> Tensor:
    """Return W+ codes N×layers×style_dim: one code up to a layer drawn at random, another from there on.

    Args:
        first: N×style_dim.
        second: N×style_dim.
        layers: Codes of an image.
        share: How many of the images are mixed; the others have the first code alone.
    """
    start = torch.randint(1, layers, (len(first), 1))
    start = torch.where(torch.rand(len(first), 1) < share, start, layers)
    other = (torch.arange(layers) >= start)[..., None].to(first.device)
    return torch.where(other, second[:, None], first[:, None])


def path_lengths(images: Tensor, codes: Tensor) -> Tensor:
    """Return how far each image moves in a random direction when its codes do (StyleGAN2, section 3.2): ‖Jᵀy‖, N.

    Args:
        images: N×C×H×W, drawn from the codes with gradients.
        codes: N×layers×style_dim; squares are averaged over the layers.
    """
    direction = torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
    (moved,) = torch.autograd.grad((images * direction).sum(), codes, create_graph=True)
    return (moved.square().sum(dim=2).mean(dim=1) + 1e-8).sqrt()


def _mean(rows: Sequence[Row]) -> Row:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
