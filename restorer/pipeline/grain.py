"""Give restored faces the grain of the photograph around them.

A face network paints clean skin. Pasted into a grainy scan it looks cut out, so grain of the same strength and fineness
is laid over it. Both are measured in flat patches around the face; the strength is bounded by what the photograph shows
in the face itself, so that a hedge behind a person does not count as grain, and follows the brightness as it does in
the photograph: in most scans shadows have more of it than bright skin. The grain is drawn anew from its measured power
spectrum: scratches and dust, which the network removed, do not come back, and a printing screen's dots are no grain. It
is the same in red, green and blue, and the same in every run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.fft import fft2, fftfreq, ifft2
from numpy.typing import NDArray

from restorer.resample import to_dtype, to_float

Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in the canvas, ends exclusive."""

LUMA: Floats = np.array([0.299, 0.587, 0.114], np.float32)
PATCH = 24
"""Least side of a patch in pixels of the canvas."""
FINE = (2.0, 5.0)
"""Grain is what a Gaussian takes away whose standard deviation is a hundredth of the face's width, but at least and at
most so many pixels of the photograph."""
MOST_PATCHES = 400
"""Patches measured around a face and in it, evenly spread."""
_LEAST_PATCHES = 4
_FLAT = 10.0
"""A patch is flat when what is not fine has a standard deviation below this, in levels of 255."""
_CLIPPED = (8.0, 247.0)
"""Patches whose mean is nearer to black or white show no grain, whatever the film has."""
_LEAST, _MOST = 1.0, 14.0
"""Standard deviation of grain in levels: less is not seen and may be rounding; more is no grain any more."""
_MISSING = 0.2
"""Part of the grain's variance that a restored face may lack before any is laid over it."""
_SCREEN = (5.0, 20.0)
"""Structures of at least this standard deviation whose power spectrum's peak, in the face and around it, is this many
times its mean are a printing screen or an engraver's lines. Measured on 24 scans, as they are and enlarged twice:
screens and lines 21 to 49, grain of that strength at most 16; weaker grain may have any spectrum."""
_ALIKE = 16.0
"""Patches whose brightness differs by so many levels (a standard deviation) count as equally bright."""
_UNLIKE = 2.0
"""Grain in bright and in dark parts of a face differs in variance from its usual by at most so many times."""
_PERIOD = 256
"""Side of the drawn grain in pixels; it repeats."""
_ROUNDS = 12
"""Times the bands of the drawn grain are put right; they overlap, so that once is not enough."""
_SAMPLE = 640
"""Side of the part of a large face in which its own fine detail is measured."""


@dataclass(frozen=True)
class Graining:
    """Measures and draws the grain that a pasted face lacks."""

    scale: float
    """Canvas side divided by photograph side."""

    def sample(self, box: Box) -> Box:
        """Return the middle part of a face's box, where the restored face is looked at."""
        x0, y0, x1, y1 = box
        left, top = x0 + max(0, (x1 - x0 - _SAMPLE) // 2), y0 + max(0, (y1 - y0 - _SAMPLE) // 2)
        return left, top, min(x1, left + _SAMPLE), min(y1, top + _SAMPLE)

    def __call__(self, canvas: NDArray[Any], box: Box, mask: Floats, colours: Callable[[], Floats]) -> Grain | None:
        """Measure the grain around a face, and draw as much as the restored face lacks.

        Args:
            canvas: H×W×3 RGB, uint8 or uint16, the photograph before faces are pasted.
            box: The face's place in the canvas.
            mask: The face's mask in its box.
            colours: Gives the restored face in ``sample(box)``, 0..255.

        Returns:
            None where there is no grain to speak of, too little flat ground to measure it, or the face has it already.
        """
        gauge = _gauge(box, self.scale)
        inside = _inside(canvas, box, mask, gauge)
        if len(inside) < _LEAST_PATCHES or not _strength(inside) ** 0.5 >= _LEAST:
            return None
        around = _outside(canvas, box, mask, gauge)
        if len(around) < _LEAST_PATCHES:
            return None
        # band by band: texture behind a person that is coarser than anything on the skin is no grain of the skin's
        shares, own = (_shares(patches, gauge.fine) for patches in (around, inside))
        alike = np.minimum(1, _strength(inside) * own / np.maximum(_strength(around) * shares, 1e-6))
        part = float((shares * alike).sum() / max(float(shares.sum()), 1e-6))
        wanted = _strength(around) * part
        if not _LEAST <= wanted**0.5 <= _MOST:
            return None
        missing = wanted - _strength(inside) * _kept(canvas, colours(), inside, self.sample(box), gauge)
        if not missing >= _MISSING * wanted:
            return None
        if wanted**0.5 >= _SCREEN[0] and _peak([*around, *inside]) >= _SCREEN[1]:
            return None
        pattern = _drawn(_spectrum(around), shares * alike / part, seed=box[:2], fine=gauge.fine)
        return Grain(pattern, np.sqrt(missing * _by_brightness(inside, around)).astype(np.float32), box[:2])


@dataclass(frozen=True)
class Grain:
    """Grain to be laid over a restored face."""

    pattern: Floats
    """Period×period, repeating; what is fine in it has variance 1."""
    strength: Floats
    """Its standard deviation in levels, by the brightness 0..255 it is laid on."""
    corner: tuple[int, int]
    """Where in the canvas (x, y) the pattern begins."""

    def lay_over(self, colours: Floats, window: Box, share: Floats) -> Floats:
        """Return a face's pixels with grain.

        Args:
            colours: H×W×3 in 0..255.
            window: Where in the canvas they lie.
            share: H×W, how much of the face will be blended in, 0..1. Where it is half, the two grains, which know
                nothing of each other, would average out; the laid one is made stronger there by as much.
        """
        x0, y0, x1, y1 = window
        rows = np.arange(y0 - self.corner[1], y1 - self.corner[1]) % len(self.pattern)
        columns = np.arange(x0 - self.corner[0], x1 - self.corner[0]) % len(self.pattern)
        known = np.clip(share, 0.1, 1)
        # to a level: grain of a strength between two levels' looks like either
        level = to_dtype(np.asarray(cv2.transform(colours, LUMA[None]), np.float32), np.dtype(np.uint8))
        strength = self._by_level()[level.reshape(colours.shape[:2])]
        laid = self.pattern[rows[:, None], columns] * strength * np.sqrt((2 - known) / known)
        grainy: Floats = colours + laid[..., None]
        return np.clip(grainy, 0, 255, out=grainy)

    def _by_level(self) -> Floats:
        """Return the strength by level; film and paper show no grain in pure black and white."""
        levels = np.arange(256, dtype=np.float32)
        return np.asarray(self.strength * np.clip(np.minimum(levels, 255 - levels) / 24, 0, 1))


def fine_energy(canvas: NDArray[Any], box: Box, mask: Floats, scale: float) -> tuple[float, float]:
    """Return the variance of fine detail in flat patches of a face, and around it; the measure grain is matched by.

    Args:
        canvas: H×W×3 RGB, uint8 or uint16.
        box: The face's place in the canvas.
        mask: The face's mask in its box.
        scale: Canvas side divided by photograph side.

    Returns:
        Two medians over patches in squared levels of 255; NaN where there is no flat patch.
    """
    gauge = _gauge(box, scale)
    return _strength(_inside(canvas, box, mask, gauge)), _strength(_outside(canvas, box, mask, gauge))


@dataclass(frozen=True)
class _Gauge:
    """How grain is measured: in pixels of the canvas."""

    fine: float
    """Standard deviation of the Gaussian that takes the grain away."""
    patch: int
    """Side of a patch."""


def _gauge(box: Box, scale: float) -> _Gauge:
    """Return the gauge for the box of a face's mask, which is about 1.3 times as wide as the face."""
    scale = max(1.0, scale)
    fine = float(np.clip(min(box[2] - box[0], box[3] - box[1]) / 130, FINE[0] * scale, FINE[1] * scale))
    return _Gauge(fine, max(PATCH, 2 * round(3 * fine)))


@dataclass(frozen=True)
class _Patch:
    """A flat patch of the canvas."""

    x: int
    y: int
    part: Floats
    """The brightness of its pixels, with what a blur needs beside it."""
    place: tuple[slice, slice]
    """Where in ``part`` it lies."""
    residue: Floats
    """What is fine in it."""
    level: int
    """Its mean brightness."""


def _inside(canvas: NDArray[Any], box: Box, mask: Floats, gauge: _Gauge) -> list[_Patch]:
    return [patch for patch in _flat(canvas, box, gauge) if _within(patch, box, mask, whole=True)]


def _outside(canvas: NDArray[Any], box: Box, mask: Floats, gauge: _Gauge) -> list[_Patch]:
    return [patch for patch in _flat(canvas, _grown(box, canvas.shape), gauge) if not _within(patch, box, mask)]


def _flat(canvas: NDArray[Any], box: Box, gauge: _Gauge) -> Iterator[_Patch]:
    """Yield the flat patches of a box, at most ``MOST_PATCHES`` looked at."""
    x0, y0, x1, y1 = box
    columns, rows = (x1 - x0) // gauge.patch, (y1 - y0) // gauge.patch
    every = max(1, int(np.ceil((columns * rows / MOST_PATCHES) ** 0.5)))
    for row in range(0, rows, every):
        for column in range(0, columns, every):
            x, y = x0 + column * gauge.patch, y0 + row * gauge.patch
            part, place = _around(canvas, x, y, gauge)
            ground = cv2.GaussianBlur(part, (0, 0), gauge.fine)[place]
            if _CLIPPED[0] < float(ground.mean()) < _CLIPPED[1] and float(ground.std()) < _FLAT:
                yield _Patch(x, y, part, place, part[place] - ground, round(float(ground.mean())))


def _around(canvas: NDArray[Any], x: int, y: int, gauge: _Gauge) -> tuple[Floats, tuple[slice, slice]]:
    """Return the brightness of a patch with what a blur needs beside it, and the patch's place in that."""
    margin, side = int(np.ceil(3 * gauge.fine)), gauge.patch
    top, left = max(0, y - margin), max(0, x - margin)
    part = to_float(canvas[top : y + side + margin, left : x + side + margin]) @ LUMA
    return part, np.s_[y - top : y - top + side, x - left : x - left + side]


def _grown(box: Box, shape: tuple[int, ...]) -> Box:
    """Return a box with half its size added on every side, cut at the canvas' edges."""
    x0, y0, x1, y1 = box
    wide, high = max(PATCH * 4, (x1 - x0) // 2), max(PATCH * 4, (y1 - y0) // 2)
    return max(0, x0 - wide), max(0, y0 - high), min(shape[1], x1 + wide), min(shape[0], y1 + high)


def _within(patch: _Patch, box: Box, mask: Floats, *, whole: bool = False) -> bool:
    """Return whether a face's mask touches a patch, or covers the whole of it."""
    top, left, side = patch.y - box[1], patch.x - box[0], len(patch.residue)
    part = mask[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    if whole:
        return part.shape == (side, side) and float(part.min()) > 0.9
    return bool(part.size and part.max() > 0)


def _strength(patches: list[_Patch]) -> float:
    """Return the median variance of patches; NaN for none."""
    return float(np.median([patch.residue.var() for patch in patches])) if patches else float("nan")


def _by_brightness(inside: list[_Patch], around: list[_Patch]) -> NDArray[np.float64]:
    """Return the variance of grain at every brightness 0..255, where 1 is usual in the face.

    It is the median of equally bright patches; beyond the brightness of nearly all patches, as there.
    """
    patches = [*inside, *around]
    power = np.array([float(patch.residue.var()) for patch in patches])
    order = np.argsort(power)
    levels = np.array([patch.level for patch in patches], np.float64)[order]
    nodes, values = np.arange(0, 256, 5), []
    for node in np.clip(nodes, *np.quantile(levels, (0.05, 0.95))):
        weights = np.cumsum(np.exp(-0.5 * ((levels - node) / _ALIKE) ** 2))
        values.append(power[order][np.searchsorted(weights, weights[-1] / 2)])
    curve = np.interp(np.arange(256), nodes, values)
    usual = float(np.median([curve[patch.level] for patch in inside]))
    return np.asarray(np.clip(curve / max(usual, 1e-6), 1 / _UNLIKE, _UNLIKE))


def _kept(canvas: NDArray[Any], colours: Floats, patches: list[_Patch], window: Box, gauge: _Gauge) -> float:
    """Return the median share of the photograph's fine variance that a restored face still has, patch by patch."""
    x0, y0, x1, y1 = window
    shares = []
    for patch in patches:
        if x0 <= patch.x and y0 <= patch.y and patch.x + gauge.patch <= x1 and patch.y + gauge.patch <= y1:
            part, place = _around(colours, patch.x - x0, patch.y - y0, gauge)
            residue = (part - cv2.GaussianBlur(part, (0, 0), gauge.fine))[place]
            shares.append(float(residue.var()) / max(float(patch.residue.var()), 1e-3))
    return float(np.median(shares)) if shares else 1.0


def _spectrum(patches: list[_Patch]) -> NDArray[np.float64]:
    """Return the mean power spectrum, patch×patch, of the patches of middling strength."""
    by_strength = sorted(patches, key=lambda patch: float(patch.residue.var()))
    middling = by_strength[len(by_strength) // 4 : len(by_strength) * 3 // 4 + 1]
    side = len(patches[0].residue)
    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    return np.asarray(np.mean([np.abs(fft2(patch.residue * window)) ** 2 for patch in middling], axis=0))


def _peak(patches: list[_Patch]) -> float:
    """Return the highest of patches' mean spectrum, one part its mean, as in patches of the least side."""
    power = _spectrum(patches)
    return float(power.max() / power.mean()) * (PATCH / len(power)) ** 2


def _sigmas(fine: float) -> list[float]:
    """Return the standard deviations of the Gaussians that part what is fine into bands, an octave each."""
    return [sigma for sigma in (fine / 8, fine / 4, fine / 2) if sigma > 0.4] + [fine]


def _shares(patches: list[_Patch], fine: float) -> NDArray[np.float64]:
    """Return the median share of each band in the variance of patches, from the finest on."""
    found = []
    for patch in patches:
        smooth = [patch.part, *(cv2.GaussianBlur(patch.part, (0, 0), sigma) for sigma in _sigmas(fine))]
        bands = [(finer - coarser)[patch.place].var() for finer, coarser in itertools.pairwise(smooth)]
        found.append(np.array(bands) / max(float(patch.residue.var()), 1e-6))
    return np.asarray(np.median(found, axis=0))


def _drawn(power: NDArray[np.float64], shares: NDArray[np.float64], seed: tuple[int, int], fine: float) -> Floats:
    """Draw a repeating pattern with a power spectrum, and with given shares of the bands in its variance of 1."""
    # A spectrum of few patches is rough, and its peaks would draw stripes: neighbouring frequencies are averaged, by
    # their logarithms, lest strong ones drown the weak.
    logarithm = np.log(np.maximum(power, 1e-6 * power.max())).astype(np.float32)
    tiled = cv2.GaussianBlur(np.tile(logarithm, (3, 3)), (0, 0), 1.0)
    smooth = tiled[len(power) : 2 * len(power), len(power) : 2 * len(power)]
    across = fftfreq(_PERIOD).astype(np.float32)
    x, y = np.meshgrid(across * len(power), across * len(power))
    wanted = np.exp(cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))
    # The window around each patch still carries power from where it is strong to where it is weak: what the bands have
    # is put right.
    squared = across[:, None] ** 2 + across[None] ** 2
    passed = [np.exp(-2 * np.pi**2 * sigma**2 * squared) for sigma in (0.0, *_sigmas(fine))]
    bands = np.array([finer - coarser for finer, coarser in itertools.pairwise(passed)])
    gains = np.ones(len(bands))
    for _ in range(_ROUNDS):
        shaped = wanted * np.tensordot(gains, bands, 1) ** 2
        has = (shaped * bands**2).sum(axis=(1, 2)) / max(float((shaped * bands.sum(axis=0) ** 2).sum()), 1e-9)
        gains *= np.sqrt(shares / np.maximum(has, 1e-9))
    from numpy.random import default_rng  # loaded where it is needed; why not as np.random, see tests/test_imports.py

    spectrum = fft2(default_rng([7, *seed]).standard_normal((_PERIOD, _PERIOD)))
    spectrum *= np.sqrt(wanted) * np.tensordot(gains, bands, 1)
    fine_part = ifft2(spectrum * bands.sum(axis=0)).real
    return np.asarray(ifft2(spectrum).real / max(float(fine_part.std()), 1e-6), np.float32)
