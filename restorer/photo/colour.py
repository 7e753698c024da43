"""Between a photograph's own colour profile and sRGB, for the pixels that a network sees.

Profiles made of three curves and a matrix (sRGB, Display P3, Adobe RGB, ProPhoto, a camera's) and grey profiles are
computed here in float, without clipping: a colour that sRGB cannot show becomes a value below 0 or above 255 and comes
back as it was. Profiles made of tables (rare for RGB: scanners, sRGB v4 preference) go through littleCMS at 8 bits,
which costs up to a level on the way there and another on the way back, and clips colours to sRGB's gamut.
Structures are those of ICC.1:2022, section numbers in comments.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image, ImageCms

Floats = NDArray[np.float32]

# Red, green and blue of sRGB as D50 XYZ columns, as its ICC profile rounds them.
_SRGB_TO_XYZ = np.array(
    [[0.436066, 0.385147, 0.143066], [0.222488, 0.716873, 0.060608], [0.013916, 0.097076, 0.714096]]
)
_BAND = 128  # rows computed at a time, to bound memory
_TOE = 3 / 255
"""A curve that starts level (a plain power) is made straight below this: where it has no slope, the least rounding of
light would come back as a visible step. It moves a colour by less than a tenth of a level."""
_SAME = 0.5  # levels: a profile nearer to sRGB than this is sRGB with other roundings


class _ProfileError(ValueError):
    """Thrown where a profile is not made of curves and a matrix, or is damaged."""


@dataclass(frozen=True)
class _Power:
    """Y = (aX + b)^g + e from X = d on, cX + f below (ICC.1 10.18, function type 4, which holds all others)."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 0.0

    def decode(self, x: Floats) -> Floats:
        """Return light from encoded values; below ``d`` the straight part goes on, below 0 too."""
        power = np.maximum(self.a * x + self.b, 0) ** self.g + self.e
        return cast("Floats", np.where(x >= self.d, power, self.c * x + self.f).astype(np.float32, copy=False))

    def encode(self, y: Floats) -> Floats:
        """Return encoded values from light."""
        knee = max(self.a * self.d + self.b, 0) ** self.g + self.e
        power = (np.maximum(y - self.e, 0) ** (1 / self.g) - self.b) / self.a
        straight = (y - self.f) / self.c if self.c else np.full_like(y, self.d)
        return cast("Floats", np.where(y >= knee, power, straight).astype(np.float32, copy=False))


@dataclass(frozen=True)
class _Table:
    """A curve given by equally spaced samples in 0..1 (ICC.1 10.6)."""

    samples: tuple[float, ...]

    def decode(self, x: Floats) -> Floats:
        """Return light from encoded values; outside of 0..1 the ends count."""
        return np.interp(x, np.linspace(0, 1, len(self.samples)), self.samples).astype(np.float32)

    def encode(self, y: Floats) -> Floats:
        """Return encoded values from light."""
        rising, first = np.unique(np.maximum.accumulate(self.samples), return_index=True)
        return np.interp(y, rising, np.linspace(0, 1, len(self.samples))[first]).astype(np.float32)


_Curve = _Power | _Table
_SRGB_CURVE = _Power(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1


@dataclass(frozen=True)
class _Profile:
    """Curves for red, green and blue, and the matrix from their light to sRGB's light."""

    curves: tuple[_Curve, _Curve, _Curve]
    to_srgb: NDArray[np.float32]


def to_srgb(pixels: NDArray[Any], icc: bytes | None) -> Floats:
    """Convert pixels from a photograph's profile to sRGB.

    Args:
        pixels: Height×width×3 RGB, uint8, uint16, or float32 in 0..255.
        icc: The photograph's ICC profile; None, sRGB or a damaged one: the values stay as they are.

    Returns:
        Height×width×3 float32, 255 is sRGB's white; not clipped. For sRGB input exactly the pixels (uint16 divided
        by 257).
    """
    values = pixels.astype(np.float32)
    if pixels.dtype == np.uint16:
        values /= np.float32(257)
    profile = _profile(icc)
    if profile is None:
        return values
    if not isinstance(profile, _Profile):
        return _littlecms(values, profile, backwards=False)
    for band in _bands(values):
        band /= np.float32(255)
        light = _each(band, [curve.decode for curve in profile.curves])
        band[:] = _symmetric(_mixed(light, profile.to_srgb)) * np.float32(255)
    return values


def from_srgb(values: Floats, icc: bytes | None, dtype: DTypeLike) -> NDArray[Any]:
    """Convert sRGB values to pixels in a photograph's profile; the reverse of :func:`to_srgb`.

    Args:
        values: Height×width×3 RGB float32, 255 is white; may lie outside of 0..255.
        icc: The photograph's ICC profile; None, sRGB or a damaged one: sRGB.
        dtype: uint8 or uint16 (rounded to nearest and clipped), or float32 (0..255, neither).

    Returns:
        Height×width×3 array of ``dtype``.
    """
    result = values.astype(np.float32)
    profile = _profile(icc)
    if isinstance(profile, _Profile):
        from_light = np.linalg.inv(profile.to_srgb.astype(np.float64)).astype(np.float32)
        for band in _bands(result):
            light = _mixed(_linear(band / np.float32(255)), from_light)
            band[:] = _each(light, [curve.encode for curve in profile.curves]) * np.float32(255)
    elif profile is not None:
        result = _littlecms(result, profile, backwards=True)
    if np.dtype(dtype) == np.float32:
        return result
    if np.dtype(dtype) == np.uint16:
        result *= np.float32(257)
    return np.clip(np.rint(result), 0, np.iinfo(np.dtype(dtype)).max).astype(dtype)


def problem(icc: bytes) -> str | None:
    """Return a sentence about a profile that cannot be used for conversion (sRGB is assumed then), or None."""
    try:
        _load(icc)
    except _ProfileError as error:
        return f"The colour profile cannot be used ({error}): faces are restored as if it were sRGB."
    return None


def _bands(values: Floats) -> list[Floats]:
    return [values[row : row + _BAND] for row in range(0, len(values), _BAND)]


def _each(values: Floats, curves: list[Any]) -> Floats:
    return np.stack([curve(values[..., channel]) for channel, curve in enumerate(curves)], axis=-1)


def _mixed(light: Floats, matrix: NDArray[np.float32]) -> Floats:
    return cast("Floats", cv2.transform(light, matrix))


def _symmetric(light: Floats) -> Floats:
    """Encode light by sRGB's curve, mirrored below 0 so that colours out of gamut survive."""
    return cast("Floats", np.copysign(_SRGB_CURVE.encode(np.abs(light)), light))


def _linear(values: Floats) -> Floats:
    return cast("Floats", np.copysign(_SRGB_CURVE.decode(np.abs(values)), values))


def _profile(icc: bytes | None) -> _Profile | ImageCms.ImageCmsProfile | None:
    """Return how to convert; None for sRGB, no profile and unusable ones."""
    if icc is None:
        return None
    try:
        return _load(icc)
    except _ProfileError:
        return None


@lru_cache(maxsize=32)
def _load(icc: bytes) -> _Profile | ImageCms.ImageCmsProfile | None:
    tags = _tags(icc)
    if icc[16:20] == b"GRAY" and b"kTRC" in tags:
        curve = _curve(tags[b"kTRC"])
        return _Profile((curve, curve, curve), np.eye(3, dtype=np.float32))
    if icc[16:20] == b"RGB " and {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} <= tags.keys():
        red, green, blue = (_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        to_xyz = np.array([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]).T
        if abs(np.linalg.det(to_xyz)) < 1e-6:
            raise _ProfileError("its colours are not independent")
        matrix = (np.linalg.inv(_SRGB_TO_XYZ) @ to_xyz).astype(np.float32)
        profile = _Profile((red, green, blue), matrix)
        return None if _is_srgb(profile) else profile
    try:
        profile_of_tables = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        _transform(profile_of_tables, backwards=False)
        _transform(profile_of_tables, backwards=True)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise _ProfileError("it is damaged or not for RGB pictures") from error
    return profile_of_tables


def _is_srgb(profile: _Profile) -> bool:
    steps = np.linspace(0, 1, 18, dtype=np.float32)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(18, -1, 3)
    light = _each(colours, [curve.decode for curve in profile.curves])
    result = _symmetric(_mixed(light, profile.to_srgb))
    return bool(np.abs(result - colours).max() * 255 < _SAME)


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """Return a profile's tags by signature (ICC.1 7.3)."""
    try:
        (count,) = struct.unpack_from(">I", icc, 128)
        if count > 1000:
            raise _ProfileError("it is damaged")
        found = {}
        for number in range(count):
            signature, offset, size = struct.unpack_from(">4sII", icc, 132 + 12 * number)
            found[signature] = icc[offset : offset + size]
    except struct.error as error:
        raise _ProfileError("it is cut off") from error
    return found


def _xyz(tag: bytes) -> tuple[float, ...]:
    try:
        return tuple(value / 65536 for value in struct.unpack_from(">3i", tag, 8))
    except struct.error as error:
        raise _ProfileError("a colour is cut off") from error


def _curve(tag: bytes) -> _Curve:
    try:
        if tag[:4] == b"curv":
            return _sampled(tag)
        if tag[:4] == b"para":
            return _parametric(tag)
    except struct.error as error:
        raise _ProfileError("a curve is cut off") from error
    raise _ProfileError("a curve is of an unknown kind")


def _sampled(tag: bytes) -> _Curve:
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return _Power(1.0)
    values = struct.unpack_from(f">{count}H", tag, 12) if count * 2 <= len(tag) - 12 else None
    if values is None:
        raise _ProfileError("a curve is cut off")
    if count == 1:
        return _with_toe(_positive(_Power(values[0] / 256)))
    if values[-1] <= values[0]:
        raise _ProfileError("a curve falls")
    samples = np.array(values) / 65535
    toe = int(np.ceil(_TOE * (count - 1)))
    samples[: toe + 1] = np.linspace(samples[0], samples[toe], toe + 1)
    return _Table(tuple(samples.tolist()))


def _parametric(tag: bytes) -> _Power:
    (kind,) = struct.unpack_from(">H", tag, 8)
    counts = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
    if kind not in counts:
        raise _ProfileError("a curve is of an unknown kind")
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{counts[kind]}i", tag, 12))
    if kind in (1, 2):
        a, b, c = (*rest, 0.0)[:3]
        curve = _positive(_Power(g, a, b, 0.0, -b / a if a else 0.0, c, c))
    else:
        curve = _positive(_Power(g, *rest))
    return _with_toe(curve) if curve.b == curve.c == curve.d == curve.e == 0 else curve


def _with_toe(power: _Power) -> _Power:
    return replace(power, c=power.a**power.g * _TOE ** (power.g - 1), d=_TOE)


def _positive(curve: _Power) -> _Power:
    if curve.g <= 0 or curve.a <= 0:
        raise _ProfileError("a curve's exponent is not positive")
    return curve


# Profiles of tables


def _littlecms(values: Floats, profile: ImageCms.ImageCmsProfile, *, backwards: bool) -> Floats:
    image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    converted = ImageCms.applyTransform(image, _transform(profile, backwards=backwards))
    return np.asarray(converted).astype(np.float32)


def _transform(profile: ImageCms.ImageCmsProfile, *, backwards: bool) -> ImageCms.ImageCmsTransform:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    source, target = (srgb, profile) if backwards else (profile, srgb)
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.buildTransform(source, target, "RGB", "RGB", renderingIntent=intent)
