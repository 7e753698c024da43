"""Recipes: a training run's settings, read from TOML, checked against a dataclass, saved with the run."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from restorer.errors import UsageError
from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from restorer.networks.unet import PlainUNet, UNetSizes
from restorer.training.dataset import SampleSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Factor of each loss in the generator's sum."""

    l1: float = 1.0
    pyramid: float = 0.25
    gradient: float = 1.0
    adversarial: float = 0.02
    feature_matching: float = 0.5


@dataclasses.dataclass(frozen=True)
class RestorationSettings:
    """A run that trains a face network from scratch: a GFP-GAN, prior and U-Net together, or a plain U-Net.

    Lengths are counted in images.
    """

    images: int
    """Length of the run."""
    sizes: GFPGANSizes | None = None
    """Sizes of the GFP-GAN to train."""
    plain: UNetSizes | None = None
    """Sizes of the plain U-Net to train instead, the twin that shows what the prior is good for."""
    batch: int = 4
    seed: int = 0
    learning_rate: float = 6e-4
    """Adam's at the top; it rises over ``warmup`` images and falls along a cosine to a twentieth."""
    warmup: int = 1000
    adversarial_from: int = 10**9
    """Images after which the discriminator joins."""
    discriminator_rate: float = 2e-4
    ema_images: float = 2000.0
    """Images over which the averaged generator forgets half."""
    losses: LossWeights = LossWeights()
    samples: SampleSettings = SampleSettings()
    bf16: bool = True
    """Autocast to bfloat16; weights, losses and optimiser stay float32."""
    save_every: int = 1000
    """Images between two saved states."""

    def __post_init__(self) -> None:
        """Check that one network is asked for."""
        if (self.sizes is None) == (self.plain is None):
            raise UsageError("A recipe names one network: give it a table [sizes] (GFP-GAN) or [plain] (U-Net).")

    @property
    def out_size(self) -> int:
        """Side of the faces in pixels."""
        sizes = self.sizes or self.plain
        assert sizes is not None
        return sizes.out_size

    def network(self) -> GFPGAN | PlainUNet:
        """Return a new network with weights drawn for training."""
        if self.sizes is not None:
            return GFPGAN(self.sizes).initialise()
        assert self.plain is not None
        return PlainUNet(self.plain).initialise()


def _fits(value: object, hint: object) -> bool:
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        return isinstance(value, list) and all(_fits(item, kinds[0]) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint)


def build(cls: type[T], values: dict[str, Any], where: str) -> T:
    """Build a settings dataclass from plain values, checking every key and type.

    Raises:
        UsageError: for an unknown key, a missing one or a value of the wrong type, naming it.
    """
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise UsageError(f"{where} has an unknown key {key!r}: known are {', '.join(hints)}.")
        hint = hints[key]
        if isinstance(hint, UnionType):  # a table that may be left out
            hint = next(kind for kind in get_args(hint) if kind is not type(None))
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {key} must be a table.")
            arguments[key] = build(hint, value, f"{where}, [{key}]")  # type: ignore[arg-type]
        elif not _fits(value, hint):
            raise UsageError(f"{where}: {key} is {value!r}, not of type {getattr(hint, '__name__', hint)}.")
        else:
            arguments[key] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**arguments)
    except TypeError as error:
        raise UsageError(f"{where} is incomplete: {error}.") from error


def load_recipe(path: Path, cls: type[T]) -> T:
    """Read a TOML recipe into a settings dataclass; UsageError says what is wrong with it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe {path} is not TOML: {error}.") from error
    return build(cls, values, f"The recipe {path.name}")
