"""Recipes: a training run's settings, read from TOML, checked against a dataclass, saved with the run."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
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


RECIPES = Path(__file__).parent / "recipes"
"""Where the recipes of this package lie."""
BASE = "base"
"""A recipe's key that names the recipe it changes."""
NEVER = 10**12
"""A number of images that no run reaches."""


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Factor of each loss in the generator's sum; a loss of factor 0 that needs networks of its own is left out."""

    l1: float = 1.0
    pyramid: float = 0.25
    gradient: float = 1.0
    adversarial: float = 0.02
    feature_matching: float = 0.5
    component: float = 0.0
    """Discriminators of eyes and mouth."""
    component_style: float = 0.0
    """Gram matrices of their features."""
    perceptual: float = 0.0
    """Features of VGG-19; needs its published weights."""
    style: float = 0.0
    """Gram matrices of these features."""
    identity: float = 0.0
    """Features of ArcFace's ResNet-18; needs its published weights."""


@dataclasses.dataclass(frozen=True)
class RestorationSettings:
    """A run that trains a face network: a GFP-GAN, its prior from scratch or trained before, or a plain U-Net.

    Lengths are counted in images.
    """

    images: int
    """Length of the run."""
    sizes: GFPGANSizes | None = None
    """Sizes of the GFP-GAN to train."""
    plain: UNetSizes | None = None
    """Sizes of the plain U-Net to train instead, the twin that shows what the prior is good for."""
    batch: int = 4
    parts: int = 1
    """Parts of a batch that are computed one after the other, or shared among processes; their gradients are averaged.
    What is measured over images of a batch is measured within a part."""
    seed: int = 0
    learning_rate: float = 6e-4
    """Adam's at the top; it rises over ``warmup`` images and falls along a cosine to a twentieth."""
    warmup: int = 1000
    halvings: tuple[int, ...] = ()
    """Images after which the rate is halved; where given, it does not follow the cosine."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's memory of the gradient and of its square."""
    clip: float = 1.0
    """Largest norm of the generator's gradient."""
    equalised: bool = False
    """Let each weight learn in proportion to the size it was drawn with, as StyleGAN2 and GFP-GAN do."""
    prior: str = ""
    """A trained prior to begin with: the folder of a run of ``restorer train prior``, or a file. Without it the prior
    is trained from scratch along with the rest."""
    prior_rate: float = 1.0
    """Factor of the prior's learning rate; 0: the prior stays as it is."""
    pyramid_until: int = NEVER
    """Images after which the pyramid loss is dropped."""
    adversarial_from: int = 10**9
    """Images after which the discriminators join."""
    discriminator: str = "patch"
    """``patch``: many local judgements, beside the degraded face; ``stylegan2``: one for the whole face."""
    discriminator_width: float = 1.0
    """Channels of the ``stylegan2`` discriminator in shares of StyleGAN2's own."""
    discriminators_first: bool = True
    """Update the discriminators before the generator in each step, rather than after it as GFP-GAN's own code does."""
    discriminator_rate: float = 2e-4
    discriminator_betas: tuple[float, float] = (0.5, 0.99)
    r1: float = 0.0
    """R1's γ on the whole face's discriminator; 0: none."""
    r1_every: int = 16
    """Steps from one R1 to the next (lazy regularisation)."""
    ema_images: float = 2000.0
    """Images over which the averaged generator forgets half."""
    losses: LossWeights = LossWeights()
    samples: SampleSettings = SampleSettings()
    bf16: bool = True
    """Autocast to bfloat16 where the device computes in it; weights, losses and optimiser stay float32."""
    save_every: int = 1000
    """Images between two saved states."""
    log_every: int = 1
    """Images between two lines of the log, which hold means."""
    sheet_every: int = 1000
    """Images between two sheets of samples."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if (self.sizes is None) == (self.plain is None):
            raise UsageError("A recipe names one network: give it a table [sizes] (GFP-GAN) or [plain] (U-Net).")
        if self.parts < 1 or self.batch < 1 or self.batch % self.parts:
            raise UsageError(f"A batch of {self.batch} cannot be cut into {self.parts} equal parts.")
        if self.prior and self.sizes is None:
            raise UsageError("A plain U-Net has no prior: leave out prior, or give the recipe a table [sizes].")
        if self.discriminator not in ("patch", "stylegan2"):
            raise UsageError(f"There is no discriminator {self.discriminator!r}: choose patch or stylegan2.")
        if min(self.save_every, self.log_every, self.sheet_every) < 1:
            raise UsageError("save_every, log_every and sheet_every count images and must be at least 1.")

    @property
    def out_size(self) -> int:
        """Side of the faces in pixels."""
        sizes = self.sizes or self.plain
        assert sizes is not None
        return sizes.out_size

    def network(self) -> GFPGAN | PlainUNet:
        """Return a new network with weights drawn for training.

        Raises:
            UsageError: The sizes do not fit together.
        """
        try:
            if self.sizes is not None:
                return GFPGAN(self.sizes).initialise()
            assert self.plain is not None
            return PlainUNet(self.plain).initialise()
        except ValueError as error:
            raise UsageError(f"The recipe's sizes cannot be built: {error}.") from error


def _fits(value: object, hint: object) -> bool:
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        length_fits = kinds[-1] is Ellipsis or (isinstance(value, list) and len(value) == len(kinds))
        return isinstance(value, list) and length_fits and all(_fits(item, kinds[0]) for item in value)
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


def described(settings: object) -> list[str]:
    """Return a line for each table of a run's settings, for people."""
    values = given(dataclasses.asdict(settings))  # type: ignore[call-overload]
    return list(_lines(values, "settings"))


def _lines(values: Mapping[str, Any], name: str) -> Iterator[str]:
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    if plain:
        yield f"{name}: " + ", ".join(f"{key} {_word(value)}" for key, value in plain.items())
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, key if name == "settings" else f"{name}.{key}")


def _word(value: object) -> str:
    if isinstance(value, list):
        return "[" + " ".join(_word(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved settings without those that were not given (None), as :func:`build` wants them."""
    return {
        key: given(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if value is not None
    }


def load_recipe(path: Path, cls: type[T], changes: Sequence[str] = ()) -> T:
    """Read a TOML recipe into a settings dataclass.

    Args:
        path: The recipe. Its key ``base`` may name another one to begin with: a bundled one, or a .toml file beside it.
        cls: The dataclass.
        changes: Settings to change, each as ``key=value`` with dots between tables and keys and the value in TOML, such
            as ``losses.l1=0.1``.

    Raises:
        UsageError: Something is wrong with it; the message says what and where.
    """
    values = _read(path)
    for change in changes:
        _change(values, change)
    return build(cls, values, f"The recipe {path.name}")


def _read(path: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe's tables, over those of the recipe it is based on."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"The recipe {path} cannot be read: {error.strerror}; recipes of this package: "
            f"{', '.join(sorted(file.stem for file in RECIPES.glob('*.toml')))}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe {path} is not TOML: {error}.") from error
    if (base := values.pop(BASE, None)) is None:
        return values
    if not isinstance(base, str):
        raise UsageError(f"The recipe {path}: {BASE} is {base!r}, not the name of a recipe.")
    if path.resolve() in before:
        raise UsageError(f"The recipe {path} is based on itself: take {BASE} out of one of the recipes.")
    found = path.parent / base if base.endswith(".toml") else RECIPES / f"{base}.toml"
    below = _read(found, (*before, path.resolve()))
    if "plain" in values:
        below.pop("sizes", None)  # another kind of network takes the place of the one below
    return _merged(below, values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two recipes' tables as one; where both have a value it is that of the one above."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _change(values: dict[str, Any], change: str) -> None:
    """Set one value of a recipe's tables."""
    key, equals, text = change.partition("=")
    *tables, last = key.strip().split(".")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
        if not equals:
            raise ValueError("there is no '=' in it")
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(
            f"The change {change!r} of the recipe is none ({error}): write key=value, the value as in TOML, "
            "such as batch=8 or losses.l1=0.1."
        ) from error
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"The change {change!r} of the recipe names a table {table!r} that is a single value.")
    values[last] = value
