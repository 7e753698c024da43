"""The pictures to be restored: read, or made from the truth by degrading it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restorer.errors import PhotoError
from restorer.evaluation.metric import Pixels
from restorer.training.damage.presets import damage
from restorer.training.degradations import PRESETS

DEGRADATIONS = tuple(PRESETS)


@dataclass(frozen=True)
class Case:
    """One picture under judgement, by name."""

    stem: str
    truth: Pixels | None
    degraded: Pixels | None
    """As read or made, at the truth's size."""
    given: Pixels | None
    """What a model restores: the degraded picture, or what is left of it after super-resolution's reduction."""


def degrade_truth(truth: Pixels, stem: str, preset: str, seed: int) -> Pixels:
    """Degrade a picture as the paper does; the result depends on its name and the seed, not on its neighbours."""
    return damage(truth, stem, preset, seed).pixels


def reduce_and_enlarge(picture: Pixels, factor: int) -> Pixels:
    """Reduce a picture by a factor and enlarge it again, both with a cubic kernel (reducing widens it).

    With a degraded picture and a factor of 4 this is how the paper's second table (4× super-resolution) is read here:
    its bicubic row differs from the first table's input row by what this step does (SSIM +0.014, PSNR about equal).
    """
    height, width = picture.shape[:2]
    small = cubic(picture, max(1, width // factor), max(1, height // factor))
    return cubic(small, width, height)


def cubic(picture: Pixels, width: int, height: int) -> Pixels:
    """Bring a picture to a size with a cubic kernel (a = -0.5, as MATLAB's)."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class InputMaker:
    """Makes each case of a run."""

    truth: Callable[[str], Pixels] | None
    source: Callable[[str], Pixels] | None
    """Reads the pictures to be restored; None: they are made, or there are none."""
    preset: str | None = None
    seed: int = 0
    factor: int = 1
    """Of super-resolution; 1: none."""

    def __call__(self, stem: str) -> Case:
        """Make a case.

        Raises:
            PhotoError: One of its pictures cannot be read.
        """
        truth = None if self.truth is None else self.truth(stem)
        degraded: NDArray[np.uint8] | None = None
        if self.source is not None:
            degraded = self.source(stem)
        elif truth is not None and (self.preset is not None or self.factor > 1):
            degraded = truth if self.preset is None else degrade_truth(truth, stem, self.preset, self.seed)
        given = degraded
        if degraded is not None and self.factor > 1:
            if truth is None:
                raise PhotoError("Super-resolution is judged against a truth.")
            height, width = truth.shape[:2]
            if degraded.shape == truth.shape:
                given = reduce_and_enlarge(degraded, self.factor)
            else:
                # A small picture is the reduced one already.
                given = degraded = cubic(degraded, width, height)
        return Case(stem, truth, degraded, given)
