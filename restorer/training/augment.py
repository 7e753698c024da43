"""Augmentation in front of a discriminator, so that few faces suffice: differentiable, the same for real and drawn.

Sources: Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, section 2 and
appendix B (ADA: each transformation with a probability p that follows the overfitting); Zhao et al., "Differentiable
Augmentation for Data-Efficient GAN Training", NeurIPS 2020, section 3 (DiffAugment: always, colour, translation and
cutout).

Images are RGB N×3×S×S in [−1, 1]. Random numbers come from a CPU generator, the default one if none is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own idiom)

SCALING = 0.2 * math.log(2)
"""Deviation of the logarithm of a size or an aspect (ADA, appendix B, as are all that follow)."""
SHIFT, DRIFT = 1 / 8, 1 / 8
"""Largest shift by whole pixels, and deviation of the finer one, as shares of the side."""
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5 * math.log(2), math.log(2)
"""Deviations of an added grey and of the logarithms of two factors."""
INTERVAL = 4
"""Batches from one adjustment of p to the next."""


# Geometry: 3×3 matrices that act on points, the image being the square from −1 to 1


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Return N×3×3 matrices that multiply coordinates by x and y (N); −1 mirrors."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrices([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def rotation(angle: Tensor) -> Tensor:
    """Return N×3×3 matrices that turn by angles in radians (N)."""
    sin, cos, zero, one = angle.sin(), angle.cos(), torch.zeros_like(angle), torch.ones_like(angle)
    return _matrices([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Return N×3×3 matrices that move by x and y (N); 2 is the whole side."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrices([[one, zero, x], [zero, one, y], [zero, zero, one]])


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """Read images at moved points: bilinear, beyond the border mirrored.

    The paper filters with wavelets where this is bilinear; both sides of the game get the same blur.

    Args:
        images: N×3×S×S.
        inverse: N×3×3, from a point of the result to the point where it is read.
    """
    theta = inverse[:, :2].to(images.device, images.dtype)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


# Colour: 4×4 matrices that act on (red, green, blue, 1)


def recolour(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply an affine map of colours, N×4×4, to each image."""
    matrices = matrices.to(images.device, images.dtype)
    return torch.einsum("nij,njhw->nihw", matrices[:, :3, :3], images) + matrices[:, :3, 3, None, None]


def _grey_axis() -> Tensor:
    """Return v·vᵀ for the axis of greys, 4×4."""
    axis = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
    return axis[:, None] * axis


def brightness(amount: Tensor) -> Tensor:
    """Return N×4×4 matrices that add a grey (N)."""
    matrices = torch.eye(4).repeat(len(amount), 1, 1)
    matrices[:, :3, 3] = amount[:, None]
    return matrices


def contrast(factor: Tensor) -> Tensor:
    """Return N×4×4 matrices that multiply all channels (N)."""
    return torch.diag_embed(torch.stack([factor, factor, factor, torch.ones_like(factor)], dim=-1))


def luma_flip(flip: Tensor) -> Tensor:
    """Return N×4×4 matrices that mirror the greys and keep the hues, where ``flip`` (N) is 1 rather than 0."""
    return torch.eye(4) - 2 * flip[:, None, None] * _grey_axis()


def hue_rotation(angle: Tensor) -> Tensor:
    """Return N×4×4 matrices that turn colours about the axis of greys by angles in radians (N)."""
    third = 1 / math.sqrt(3)
    cross = torch.zeros(4, 4)
    cross[:3, :3] = torch.tensor([[0, -third, third], [third, 0, -third], [-third, third, 0]])
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    rotated = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])) * cos + cross * sin + _grey_axis() * (1 - cos)
    rotated[:, 3, 3] = 1
    return rotated


def saturation(factor: Tensor) -> Tensor:
    """Return N×4×4 matrices that multiply the distance from grey (N)."""
    grey = _grey_axis()
    grey[3, 3] = 1
    return grey + (torch.eye(4) - grey) * factor[:, None, None]


class _Dice:
    """Draws for each image whether a transformation happens, and how."""

    def __init__(self, count: int, p: float, generator: Generator | None) -> None:
        self.count, self.p, self.generator = count, p, generator

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.count, generator=self.generator)

    def normal(self, deviation: float) -> Tensor:
        return deviation * torch.randn(self.count, generator=self.generator)

    def whole(self, options: int) -> Tensor:
        return torch.randint(options, (self.count,), generator=self.generator).float()

    def happens(self, values: Tensor, otherwise: float, p: float | None = None) -> Tensor:
        """Keep each value with probability p."""
        chosen = torch.rand(self.count, generator=self.generator) < (self.p if p is None else p)
        return torch.where(chosen, values, torch.full_like(values, otherwise))


def draw_geometry(count: int, p: float, size: int, generator: Generator | None = None) -> Tensor:
    """Draw ADA's geometric transformations, each with probability p, as inverse N×3×3 matrices for :func:`warp`."""
    dice = _Dice(count, p, generator)
    half_turns = 1 - math.sqrt(1 - p)  # before or after the aspect: together they happen with probability p
    mirrored = dice.happens(1 - 2 * dice.whole(2), 1)
    quarter = dice.happens(dice.whole(4), 0) * (math.pi / 2)
    shifts = [(dice.uniform(-SHIFT, SHIFT) * size).round() * 2 / size for _ in range(2)]
    there = dice.happens(torch.ones(count), 0)
    size_factor = dice.happens(dice.normal(SCALING).exp(), 1)
    first = dice.happens(dice.uniform(-math.pi, math.pi), 0, half_turns)
    aspect = dice.happens(dice.normal(SCALING).exp(), 1)
    second = dice.happens(dice.uniform(-math.pi, math.pi), 0, half_turns)
    drifts = [2 * dice.normal(DRIFT) for _ in range(2)]
    drifting = dice.happens(torch.ones(count), 0)
    return (
        scaling(mirrored, torch.ones(count))
        @ rotation(quarter)
        @ translation(shifts[0] * there, shifts[1] * there)
        @ scaling(1 / size_factor, 1 / size_factor)
        @ rotation(first)
        @ scaling(1 / aspect, aspect)
        @ rotation(second)
        @ translation(drifts[0] * drifting, drifts[1] * drifting)
    )


def draw_colours(count: int, p: float, generator: Generator | None = None) -> Tensor:
    """Draw ADA's transformations of colour, each with probability p, as N×4×4 matrices for :func:`recolour`."""
    dice = _Dice(count, p, generator)
    matrices = brightness(dice.happens(dice.normal(BRIGHTNESS), 0))
    matrices = contrast(dice.happens(dice.normal(CONTRAST).exp(), 1)) @ matrices
    matrices = luma_flip(dice.happens(dice.whole(2), 0)) @ matrices
    matrices = hue_rotation(dice.happens(dice.uniform(-math.pi, math.pi), 0)) @ matrices
    return saturation(dice.happens(dice.normal(SATURATION).exp(), 1)) @ matrices


class AdaptiveAugment:
    """ADA: geometry and colour, each with probability p, which rises while the discriminator overfits.

    The sign of the discriminator's scores on real images is the measure: r_t = E[sign D], 0 without overfitting, 1
    where every real image is recognised (section 3.1 of the paper).
    """

    def __init__(self, *, target: float = 0.6, images: float = 500_000, p: float = 0.0) -> None:
        """Begin.

        Args:
            target: The r_t to be held.
            images: Images in which p can go from 0 to 1.
            p: To begin with.
        """
        self.target, self.images, self.p = target, images, p
        self.r_t = 0.0
        """As measured last."""
        self._signs = self._seen = self._batches = 0.0

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Augment N×3×S×S images; with p = 0 they come back as they are."""
        if self.p == 0:
            return images
        count, size = len(images), images.shape[-1]
        images = warp(images, draw_geometry(count, self.p, size, generator))
        return recolour(images, draw_colours(count, self.p, generator))

    def observe(self, mean_sign: float, images: int) -> None:
        """Take note of a batch of real images; every fourth one adjusts p.

        Args:
            mean_sign: Mean sign of the discriminator's scores.
            images: Images in the batch, over all processes.
        """
        self._signs += mean_sign
        self._seen += images
        self._batches += 1
        if self._batches == INTERVAL:
            self.r_t = self._signs / self._batches
            step = math.copysign(self._seen / self.images, self.r_t - self.target)
            self.p = min(1.0, max(0.0, self.p + step))
            self._signs = self._seen = self._batches = 0.0

    def state_dict(self) -> dict[str, float]:
        """Return what a resumed run needs."""
        return {"p": self.p, "r_t": self.r_t, "signs": self._signs, "seen": self._seen, "batches": self._batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state."""
        self.p, self.r_t = float(state["p"]), float(state["r_t"])
        self._signs, self._seen, self._batches = (float(state[name]) for name in ("signs", "seen", "batches"))


class DiffAugment:
    """DiffAugment: every image, always: colour, a shift by up to 1/8 of the side, a square of half the side cut out."""

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Augment N×3×S×S images."""
        return cut_out(move(jitter(images, generator), generator), generator)


def jitter(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Change brightness by up to ±0.5, saturation by a factor of 0 to 2 and contrast by one of 0.5 to 1.5."""
    added, saturated, contrasted = (
        (low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)).to(images)
        for low, high in ((-0.5, 0.5), (0.0, 2.0), (0.5, 1.5))
    )
    images = images + added
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * saturated + grey
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - middle) * contrasted + middle


def move(images: Tensor, generator: Generator | None = None, share: float = 1 / 8) -> Tensor:
    """Move each image by whole pixels, up to a share of the side each way; 0 (mid-grey) comes in."""
    size = images.shape[-1]
    most = round(share * size)
    padded = F.pad(images, (most,) * 4)
    places = torch.randint(2 * most + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(padded, places, strict=True)])


def cut_out(images: Tensor, generator: Generator | None = None, share: float = 0.5) -> Tensor:
    """Set a square in each image to 0 (mid-grey); its middle is anywhere in the image."""
    size = images.shape[-1]
    side = round(share * size)
    keep = torch.ones(len(images), 1, size, size)
    starts = torch.randint(size + (1 - side % 2), (len(images), 2), generator=generator) - side // 2
    for mask, (y, x) in zip(keep, starts.tolist(), strict=True):
        mask[:, max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = 0
    return images * keep.to(images)
