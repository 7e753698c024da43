"""Old photographs: a lens and film of their time, perhaps a press, decades in an album, a scanner, JPEG twice.

Every photograph has its tone first (black-and-white, sepia, faded ...), then damage. A restorer takes off the damage
and leaves the tone: :func:`age` gives both, the aged photograph and the same one undamaged in its tone.

The ranges were set by eye beside scans of portraits from about 1860 to 1970.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorer.training.damage import film, prints, scan
from restorer.training.damage.colour import saturation
from restorer.training.damage.draws import Draws, Numbers, Rows
from restorer.training.damage.filters import Sizes, enlarge, gaussian_blur, reduce, repeat_edges
from restorer.training.damage.jpeg import jpeg
from restorer.training.degradations import Range

WIDEST_PERIOD = 9.0
"""Greatest distance of a screen's dots in pixels of the face: beyond it nothing of the face is left."""
WIDEST_HALO = 1.6
"""Greatest standard deviation of a sharpening mask in pixels of the scan."""
ROOM = math.ceil(3.5 * WIDEST_HALO)
"""How far a sharpening mask reaches."""


@dataclass(frozen=True)
class OldSettings:
    """Shares and ranges from which one old photograph is drawn. Lengths are in pixels of the face, levels of 0..255."""

    # Tone
    black_and_white: float = 0.85
    """Share without colour; the others are faded colour prints."""
    toned: float = 0.5
    """Share of the black-and-white ones that are sepia or yellowed."""
    gamma: Range = (0.75, 1.4)
    contrast: Range = (0.75, 1.5)
    black: Range = (0.0, 85.0)
    """Level to which black has faded; low levels more often."""
    white: Range = (150.0, 255.0)
    """Level to which white has faded; high levels more often."""
    sepia_blue: Range = (3.0, 26.0)
    """How far below zero chroma Cb of a toned print's middle lies: how yellow it is."""
    sepia_red: Range = (2.0, 14.0)
    """Chroma Cr of a toned print's middle: how red it is."""
    # Camera and film
    lens: Range = (0.3, 2.2)
    """Standard deviation of the blur in the middle; at the edges up to twice that."""
    grain: float = 0.6
    grain_size: Range = (0.4, 2.0)
    """Standard deviation of a grain."""
    grain_amount: Range = (3.0, 17.0)
    """Standard deviation of the grain in levels."""
    # Print
    halftone: float = 0.25
    """Share printed through a dot screen."""
    halftone_period: Range = (2.2, 4.5)
    """Distance of the dots in pixels of the scan."""
    halftone_hardness: Range = (2.5, 14.0)
    uneven: float = 0.4
    uneven_amount: Range = (3.0, 14.0)
    vignette: float = 0.2
    stains: float = 0.2
    stain_depth: Range = (0.1, 0.45)
    scratches: float = 0.25
    scratch_level: Range = (25.0, 130.0)
    crease: float = 0.07
    dust: float = 0.3
    dust_density: Range = (1e-5, 2e-4)
    # Scan and file
    shrink: Range = (0.9, 5.0)
    """Pixels of the face for one of the scan."""
    noise: Range = (0.0, 5.0)
    """Standard deviation of the scanner's noise in levels."""
    streaks: float = 0.08
    sharpen: float = 0.45
    sharpen_amount: Range = (0.4, 2.2)
    quality: Range = (40.0, 96.0)
    """Of the JPEG."""
    twice: float = 0.5
    """Share of files that were JPEG before."""


@dataclass(frozen=True)
class _Kinds:
    """What is known of the photographs of a batch before anything happens to them."""

    grey: NDArray[np.bool_]
    """Black-and-white."""
    toned: NDArray[np.bool_]
    shrink: Numbers
    grey_scan: NDArray[np.bool_]
    """Scanned without colour."""


def age(images: Tensor, settings: OldSettings, draws: Draws) -> tuple[Tensor, Tensor]:
    """Make old photographs.

    Args:
        images: RGB N×3×H×W in 0..255.
        settings: What may happen.
        draws: Randomness, one generator for each image.

    Returns:
        The aged photographs, and the same ones undamaged in their tone: both N×3×H×W in whole numbers 0..255.
    """
    kinds = _kinds(images, settings, draws)
    seen = _exposed(images, settings, draws, kinds)
    tone = _tone(settings, draws, kinds)
    aged = tone(_photographed(seen, settings, draws, kinds))
    aged = _kept_in_an_album(aged.clamp(0, 255), settings, draws, kinds)
    aged = _scanned(aged.clamp(0, 255), settings, draws, kinds)
    return aged.clamp(0, 255).round(), tone(seen).clamp(0, 255).round()


def _kinds(images: Tensor, settings: OldSettings, draws: Draws) -> _Kinds:
    grey = _mask(draws, settings.black_and_white)
    # A face that is grey already stays without colour.
    grey |= (images.amax(dim=1) - images.amin(dim=1)).amax(dim=(1, 2)).cpu().numpy() == 0
    toned = _mask(draws, settings.toned) & grey
    return _Kinds(grey, toned, draws.log_uniform(*settings.shrink), _mask(draws, 0.5) & grey & ~toned)


def _mask(draws: Draws, probability: float) -> NDArray[np.bool_]:
    mask = np.zeros(len(draws), np.bool_)
    mask[draws.chosen(probability)] = True
    return mask


def _some(images: Tensor, draws: Draws, rows: Rows, change: Callable[[Tensor, Draws], Tensor]) -> Tensor:
    """Change some of the images."""
    if not len(rows):
        return images
    images = images.clone()
    images[torch.from_numpy(rows).to(images.device)] = change(images[rows], draws.subset(rows))
    return images


# Tone


def _exposed(images: Tensor, settings: OldSettings, draws: Draws, kinds: _Kinds) -> Tensor:
    """Take the photographs: without colour, or with what is left of it."""

    def without_colour(part: Tensor, some: Draws) -> Tensor:
        # From plates that see mostly blue to the eye's own weights.
        modern = some.uniform(0, 1)
        return prints.black_and_white(part, 0.05 + 0.25 * modern, 0.45 - 0.33 * modern)

    images = _some(images, draws, np.flatnonzero(kinds.grey), without_colour)
    gamma = np.exp(draws.uniform(*np.log(settings.gamma)))
    return prints.develop(images, gamma, draws.uniform(*settings.contrast))


def _towards_first(draws: Draws, bounds: Range) -> Numbers:
    return np.asarray(bounds[0] + (bounds[1] - bounds[0]) * draws.uniform(0, 1) ** 2, np.float64)


def _tone(settings: OldSettings, draws: Draws, kinds: _Kinds) -> Callable[[Tensor], Tensor]:
    """Draw how the prints' tone has changed; the result can be used more than once."""
    black = _towards_first(draws, settings.black)
    white = _towards_first(draws, settings.white[::-1])
    blue = -draws.log_uniform(*settings.sepia_blue)
    # Redder than that a print is pink, and with less red it is green.
    red = np.clip(draws.uniform(*settings.sepia_red), -0.3 * blue, 5 - 0.6 * blue)
    paper = draws.uniform(0.4, 1.3)
    left = draws.uniform(0.35, 1)  # saturation of colour prints
    cast_blue, cast_red = draws.uniform(-25, 8), draws.uniform(-2, 20)
    blue, red = (
        np.where(kinds.toned, mine, np.where(kinds.grey, 0, other))
        for mine, other in ((blue, cast_blue), (red, cast_red))
    )

    def tone(images: Tensor) -> Tensor:
        images = saturation(images, np.where(kinds.grey, 1.0, left))
        return prints.tint(prints.fade(images, black, white), blue, red, paper)

    return tone


# Damage


def _photographed(images: Tensor, settings: OldSettings, draws: Draws, kinds: _Kinds) -> Tensor:
    """Lens, grain, and the press."""
    centre = draws.log_uniform(*settings.lens)
    images = film.soft_lens(images, centre, centre * draws.uniform(1, 2), widest=2 * settings.lens[1])
    printed = draws.chosen(settings.halftone)

    def grain(part: Tensor, some: Draws) -> Tensor:
        size, amount = some.uniform(*settings.grain_size), some.log_uniform(*settings.grain_amount)
        return film.grain(part, some, size, amount, largest=settings.grain_size[1])

    def halftone(part: Tensor, some: Draws) -> Tensor:
        period = np.clip(some.log_uniform(*settings.halftone_period) * kinds.shrink[printed], 2.2, WIDEST_PERIOD)
        angle = np.where(some.uniform(0, 1) < 0.6, math.pi / 4, 0) + some.uniform(-0.15, 0.15)
        hardness = some.log_uniform(*settings.halftone_hardness)
        dots = film.halftone(part, period, angle, hardness, colour=~kinds.grey[printed])
        # Ink spreads on the paper.
        return gaussian_blur(dots, period * some.uniform(0.1, 0.22), widest=0.22 * WIDEST_PERIOD)

    images = _some(images, draws, draws.chosen(settings.grain), grain)
    return _some(images.clamp(0, 255), draws, printed, halftone)


def _kept_in_an_album(images: Tensor, settings: OldSettings, draws: Draws, kinds: _Kinds) -> Tensor:
    """Uneven fading, vignettes, stains, scratches, creases, dust."""
    brown = (~kinds.grey_scan).astype(np.float64)

    def uneven(part: Tensor, some: Draws) -> Tensor:
        return prints.fade_unevenly(part, some, some.uniform(*settings.uneven_amount))

    def vignette(part: Tensor, some: Draws) -> Tensor:
        level = np.where(some.uniform(0, 1) < 0.6, some.uniform(190, 250), some.uniform(10, 60))
        return prints.vignette(part, some.uniform(0.5, 0.95), level, some.uniform(0.3, 1))

    def stains(part: Tensor, some: Draws, rows: Rows) -> Tensor:
        for number in range(3):
            depth = some.uniform(*settings.stain_depth) * (some.uniform(0, 1) < 0.6**number)
            part = prints.stain(part, some, depth, brown[rows] * some.uniform(0.3, 1))
        return part

    def scratches(part: Tensor, some: Draws) -> Tensor:
        for number in range(5):
            level = some.uniform(*settings.scratch_level) * np.where(some.uniform(0, 1) < 0.75, 1, -1)
            part = prints.scratch(part, some, level * (some.uniform(0, 1) < 0.8**number), some.log_uniform(0.5, 2))
        return part

    def crease(part: Tensor, some: Draws) -> Tensor:
        return prints.crease(part, some, some.uniform(30, 120), some.uniform(0.8, 3))

    def dust(part: Tensor, some: Draws) -> Tensor:
        level = np.where(some.uniform(0, 1) < 0.7, some.uniform(200, 255), some.uniform(0, 50))
        density = some.log_uniform(*settings.dust_density)
        return prints.dust(part, some, density, some.uniform(0.4, 1.3), level, largest=1.3)

    images = _some(images, draws, draws.chosen(settings.uneven), uneven)
    images = _some(images, draws, draws.chosen(settings.vignette), vignette)
    stained = draws.chosen(settings.stains)
    images = _some(images, draws, stained, lambda part, some: stains(part, some, stained))
    for probability, change in ((settings.scratches, scratches), (settings.crease, crease), (settings.dust, dust)):
        images = _some(images, draws, draws.chosen(probability), change)
    return images


def _scanned(images: Tensor, settings: OldSettings, draws: Draws, kinds: _Kinds) -> Tensor:
    """Bring to the scan's resolution; noise, streaks, sharpening and JPEG there; and back to the face's size."""
    height, width = images.shape[-2:]
    sides = np.array([[height, width]])
    sizes: Sizes = np.maximum(np.rint(sides / kinds.shrink[:, None]), 1).astype(np.intp)
    small = reduce(images, sizes, antialias=True)
    # Room beyond the largest, so that filters meet the same repeated edge in every batch.
    rows, columns = (side + ROOM for side in small.shape[-2:])
    small = repeat_edges(small, sizes, rows, columns)
    coloured = np.where(kinds.grey_scan, 0.0, draws.uniform(0, 0.7))
    small = scan.scanner_noise(small, draws, sizes, noise := draws.uniform(*settings.noise), noise * coloured)
    streaked = draws.chosen(settings.streaks)
    small = _some(
        small, draws, streaked, lambda part, some: scan.streaks(part, some, sizes[streaked], some.uniform(4, 25))
    )
    small = repeat_edges(small.clamp(0, 255), sizes, rows, columns)
    small = _some(small, draws, draws.chosen(settings.sharpen), lambda part, some: _sharpened(part, settings, some))
    small = jpeg(small, draws.uniform(*settings.quality), sizes)
    again = draws.chosen(settings.twice)

    def twice(part: Tensor, some: Draws) -> Tensor:
        shift = np.stack([some.integers(0, 7), some.integers(0, 7)], axis=1)
        return scan.jpeg_again(part, some.uniform(*settings.quality), sizes[again], shift)

    small = _some(small, draws, again, twice)
    return enlarge(small, sizes, height, width, kernel="cubic")


def _sharpened(images: Tensor, settings: OldSettings, draws: Draws) -> Tensor:
    sigma = draws.uniform(0.6, WIDEST_HALO)
    return scan.sharpen(images, sigma, draws.uniform(*settings.sharpen_amount), widest=WIDEST_HALO)
