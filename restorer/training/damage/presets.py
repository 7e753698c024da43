"""Damage by the name of a preset, the same for a picture's name and a seed wherever it is done."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restorer.training.degradations import PRESETS as BLIND
from restorer.training.degradations import degrade

Pixels = NDArray[np.uint8]

OLD = "old"
PRESETS = (*BLIND, OLD)
"""The paper's ranges, those of its released options, and old photographs."""


@dataclass(frozen=True)
class Damaged:
    """A damaged picture and what a restorer is to make of it."""

    pixels: Pixels
    """H×W×3 RGB."""
    truth: Pixels
    """The picture itself or, of an old photograph, the undamaged one in the old one's tone; of the same shape."""


def generator_of(name: str, seed: int) -> np.random.Generator:
    """Return the randomness that belongs to a picture's name and a seed, whatever its neighbours are."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])


def damage(picture: Pixels, name: str, preset: str, seed: int) -> Damaged:
    """Damage a picture; lengths are in its own pixels, and the ranges suit faces of about 512 of them.

    Args:
        picture: H×W×3 RGB; it is left as it is.
        name: What the randomness depends on besides the seed: by habit the relative path without suffix.
        preset: One of :data:`PRESETS`.
        seed: At least 0.
    """
    rng = generator_of(name, seed)
    return _aged(picture, rng) if preset == OLD else Damaged(degrade(picture, BLIND[preset], rng), picture)


def _aged(picture: Pixels, rng: np.random.Generator) -> Damaged:
    import torch  # here, because who wants the paper's model does not need it

    from restorer.training.damage.draws import Draws
    from restorer.training.damage.old import OldSettings, age

    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    parts = age(image, OldSettings(), Draws([rng]))
    aged, truth = (np.ascontiguousarray(part[0].byte().permute(1, 2, 0).numpy()) for part in parts)
    return Damaged(aged, truth)
