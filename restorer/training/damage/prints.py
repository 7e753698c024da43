"""What happens to a print: its tone, fading, and what decades in a box or an album leave on it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from restorer.training.damage.draws import Draws
from restorer.training.damage.film import from_middle, grid
from restorer.training.damage.filters import each, gaussian_blur

STAIN = (0.55, 0.8, 1.0)
"""How much of red, green and blue a brown stain takes, relative to each other."""
_CUBIC_DEVIATION = 0.88
"""Deviation of white noise after torch's cubic enlargement, measured."""


# Tone: the same at every pixel


def black_and_white(images: Tensor, red: ArrayLike, blue: ArrayLike) -> Tensor:
    """Photograph N×3×H×W on a film that sees no colour.

    Early plates saw blue best and red hardly: skin came out dark, blue eyes light.

    Args:
        images: RGB in 0..255.
        red: Weight of red, 0 to 1.
        blue: Weight of blue; green has the rest.
    """
    first, last = each(red, images), each(blue, images)
    seen = images[:, :1] * first + images[:, 1:2] * (1 - first - last) + images[:, 2:] * last
    return seen.repeat(1, 3, 1, 1)


def develop(images: Tensor, gamma: ArrayLike, contrast: ArrayLike) -> Tensor:
    """Give a film's and paper's tone: a gamma, then a contrast about middle grey, clipped."""
    level = (images.clamp(0, 255) / 255) ** each(gamma, images)
    return (255 * (0.5 + (level - 0.5) * each(contrast, images))).clamp(0, 255)


def fade(images: Tensor, black: ArrayLike, white: ArrayLike) -> Tensor:
    """Squeeze the tones between the levels that black and white have faded to."""
    dark, light = each(black, images), each(white, images)
    return dark + images * ((light - dark) / 255)


def tint(images: Tensor, blue: ArrayLike, red: ArrayLike, paper: ArrayLike) -> Tensor:
    """Tone a print: sepia, selenium, or yellowed paper. Brightness is kept.

    Args:
        images: N×3×H×W in 0..255.
        blue: Chroma Cb of the middle tones in levels; negative is yellow.
        red: Chroma Cr of the middle tones; positive is red.
        paper: Share of that chroma, 0 to 1, that white paper has; black has none.
    """
    level = images.mean(dim=1, keepdim=True).clamp(0, 255) / 255
    share = 4 * level * (1 - level) + each(paper, images) * level * (2 * level - 1)
    cb, cr = each(blue, images) * share, each(red, images) * share
    return images + torch.cat([1.402 * cr, -0.344136 * cb - 0.714136 * cr, 1.772 * cb], dim=1)


# Damage: unlike from place to place


def clouds(draws: Draws, images: Tensor, cells: int) -> Tensor:
    """Return smooth noise N×1×H×W of unit deviation, with about so many hills along each side."""
    coarse = draws.normal(1, cells + 3, cells + 3)
    height, width = images.shape[-2:]
    smooth = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    return smooth / _CUBIC_DEVIATION


def fade_unevenly(images: Tensor, draws: Draws, amount: ArrayLike) -> Tensor:
    """Bleach some regions and darken others by about this many levels."""
    return images + each(amount, images) * clouds(draws, images, 3)


def vignette(images: Tensor, start: ArrayLike, level: ArrayLike, strength: ArrayLike) -> Tensor:
    """Let the edges run out into a level: white as in an oval portrait, dark as behind an old lens.

    Args:
        images: N×3×H×W.
        start: Distance from the middle where it begins; 1 is halfway along the edges.
        level: What the edges become, in levels.
        strength: How much of it at the corners, 0 to 1.
    """
    begin = each(start, images)
    share = ((from_middle(images) - begin) / (math.sqrt(2) - begin)).clamp(0, 1)
    return images + (each(level, images) - images) * (share * share * (3 - 2 * share)) * each(strength, images)


def stain(images: Tensor, draws: Draws, depth: ArrayLike, brown: ArrayLike) -> Tensor:
    """Spill something: a patch with a ragged outline, darker along its rim.

    Args:
        images: N×3×H×W in 0..255.
        draws: Source of place, size and outline.
        depth: Share of the light that it takes, 0 to 1.
        brown: 0 for a grey stain (as a grey scan shows it) to 1 for a brown one.
    """
    height, width = images.shape[-2:]
    side = max(height, width)
    y, x = grid(images)
    across, down = each(draws.uniform(-0.1, 1.1) * width, images), each(draws.uniform(-0.1, 1.1) * height, images)
    radius = each(draws.log_uniform(0.06, 0.45) * side, images)
    distance = torch.hypot(x - across, y - down) / radius + 0.12 * clouds(draws, images, 7)
    inside = torch.sigmoid((1 - distance) * each(draws.uniform(8, 40), images))
    rim = torch.exp(-(((distance - 1) / 0.05) ** 2)) * each(draws.uniform(0, 1), images)
    takes = torch.tensor(STAIN, device=images.device)[:, None, None]
    takes = 1 + (takes - 1) * each(brown, images)
    return images * (1 - each(depth, images) * takes * (0.6 * inside + 0.4 * rim))


def scratch(images: Tensor, draws: Draws, level: ArrayLike, width: ArrayLike) -> Tensor:
    """Scratch once across: a thin, slightly bent line with gaps.

    Args:
        images: N×3×H×W in 0..255.
        draws: Source of its place.
        level: What is added along the line, in levels; below 0 it is dark.
        width: In pixels.
    """
    height, columns = images.shape[-2:]
    side = max(height, columns)
    y, x = grid(images)
    angle = draws.uniform(0, math.pi)
    across = (x - each(draws.uniform(0, columns), images)) / side
    down = (y - each(draws.uniform(0, height), images)) / side
    cosine, sine = each(np.cos(angle), images), each(np.sin(angle), images)
    along = down * cosine - across * sine
    bend = each(draws.uniform(-0.3, 0.3), images) * along * along
    off = (across * cosine + down * sine + bend).abs() * side
    line = (each(width, images) / 2 + 0.5 - off).clamp(0, 1)
    ends = (each(draws.log_uniform(0.04, 0.8), images) - along.abs()).mul(side / 4).clamp(0, 1)
    wave = torch.sin(each(draws.uniform(10, 60), images) * along + each(draws.uniform(0, 6.28), images))
    wave = wave + torch.sin(each(draws.uniform(60, 200), images) * along)
    return images + each(level, images) * line * ends * (0.7 + 0.5 * wave).clamp(0, 1)


def crease(images: Tensor, draws: Draws, level: ArrayLike, width: ArrayLike) -> Tensor:
    """Fold the print once: a ragged light crack, and paper that lies unlike to the light on both sides.

    Args:
        images: N×3×H×W in 0..255.
        draws: Source of its place and edge.
        level: What is added in the crack, in levels.
        width: Of the crack in pixels.
    """
    height, columns = images.shape[-2:]
    y, x = grid(images)
    angle = draws.uniform(0, math.pi)
    place = (x - each(draws.uniform(0.1, 0.9) * columns, images)) * each(np.cos(angle), images)
    place = place + (y - each(draws.uniform(0.1, 0.9) * height, images)) * each(np.sin(angle), images)
    place = place + clouds(draws, images, 12) * each(draws.uniform(0.3, 1.5), images)
    half = each(width, images) / 2
    ragged = half * (1 + 0.7 * clouds(draws, images, 60))
    crack = (ragged + 0.5 - place.abs()).clamp(0, 1)
    shade = torch.exp(-place.abs() / (6 * half + 4)) * torch.sign(place)
    return images + each(level, images) * (crack - 0.12 * shade)


def dust(
    images: Tensor, draws: Draws, density: ArrayLike, size: ArrayLike, level: ArrayLike, *, largest: float
) -> Tensor:
    """Scatter specks of dust.

    Args:
        images: N×3×H×W in 0..255.
        draws: Source of their places.
        density: Specks per pixel.
        size: Standard deviation of a speck in pixels.
        level: What a speck shows: 255 for dust on the negative, 0 on the print.
        largest: Greatest size that can occur.
    """
    height, width = images.shape[-2:]
    points = (draws.noise(1, height, width) < each(density, images)).float()
    # So high that a speck's middle is opaque.
    peak = 1.5 * each(2 * math.pi * np.maximum(np.asarray(size, np.float64), 0.4) ** 2, images)
    specks = (gaussian_blur(points, size, widest=largest) * peak).clamp(0, 1)
    return images + (each(level, images) - images) * specks
