"""Cut a face out of a photograph, turned upright and scaled so that its five points lie on the FFHQ template."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorer.errors import RestorerError
from restorer.faces import AlignedFace, Face
from restorer.resample import Matrix, cut_square, invert, scaling, transform

TEMPLATE_SIZE = 512
TEMPLATE: NDArray[np.float64] = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Where the five points lie in a 512×512 crop: the numbers GFP-GAN was trained with (facexlib's 512 template)."""
TEMPLATE.flags.writeable = False

_LEAST_SPREAD = 1.0
"""Root mean square distance of the points from their middle, in pixels; below it they are one point in effect."""
_LEAST_LIKENESS = 0.4
"""Correlation with the template after the best similarity: a frontal face has 1, a full profile about 0.7, a mirrored
or jumbled set of points 0.1."""


class GeometryError(RestorerError, ValueError):
    """Thrown where a face's five points allow no sensible crop; the face is left alone, the message its reason."""


def template(size: int = TEMPLATE_SIZE) -> NDArray[np.float64]:
    """Return the five points' places in a size×size crop, shape (5, 2)."""
    return transform(scaling(size / TEMPLATE_SIZE, size / TEMPLATE_SIZE), TEMPLATE)


def similarity(points: NDArray[Any], targets: NDArray[Any]) -> Matrix:
    """Fit rotation, one scale and a shift that bring points onto targets with the least squared error.

    Umeyama's problem in two dimensions without reflections: with points and targets as complex numbers p and q about
    their means, the factor is Σ p̄·q / Σ |p|².

    Args:
        points: Shape (N, 2).
        targets: Shape (N, 2).

    Returns:
        2×3 float64 transform from points to targets.

    Raises:
        GeometryError: The points are not finite, coincide, or resemble the targets in no orientation.
    """
    source, target = np.asarray(points, np.float64), np.asarray(targets, np.float64)
    if not np.isfinite(source).all():
        raise GeometryError("the face's five points are not finite numbers, so it cannot be aligned")
    p, q = source @ [1, 1j], target @ [1, 1j]
    p_mean, q_mean = p.mean(), q.mean()
    p, q = p - p_mean, q - q_mean
    p_power, q_power = float(np.vdot(p, p).real), float(np.vdot(q, q).real)
    if p_power < len(p) * _LEAST_SPREAD**2:
        raise GeometryError("the face's five points lie within a pixel of each other, so it cannot be aligned")
    covariance = np.vdot(p, q)
    if abs(covariance) < _LEAST_LIKENESS * math.sqrt(p_power * q_power):
        raise GeometryError("the face's five points do not lie like those of a face, so it cannot be aligned")
    factor = covariance / p_power
    shift = q_mean - factor * p_mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def align(pixels: NDArray[Any], face: Face, size: int = TEMPLATE_SIZE) -> AlignedFace:
    """Cut a face out of a photograph as a square crop.

    Only the face's own region of the photograph is read. Where the crop reaches beyond the photograph, the photograph
    is mirrored, as in the pictures the networks were trained on. A face larger than the crop is reduced without
    aliasing.

    Args:
        pixels: H×W×3 RGB, uint8, uint16 or float32 (0..255).
        face: The face, its points in pixels of this photograph.
        size: Side of the crop.

    Returns:
        The crop as float32 in 0..255, with its 2×3 transform.

    Raises:
        GeometryError: The points allow no sensible crop (see :func:`similarity`), or lie outside the photograph.
    """
    photo_to_crop = similarity(face.landmarks, template(size))
    crop = cut_square(pixels, invert(photo_to_crop), size)
    if crop is None:
        raise GeometryError("the face's five points lie outside the photograph, so it cannot be aligned")
    return AlignedFace(face=face, crop=crop, photo_to_crop=photo_to_crop)
