"""Natural image quality evaluator: how far a picture's statistics lie from those of pristine photographs.

Written from Mittal, Soundararajan and Bovik, "Making a 'completely blind' image quality analyzer", IEEE SPL 2013. No
library that is free to use and well kept computes it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.errors import WeightsError
from restorer.evaluation.metric import Judge, Metric, Pixels, Tools

PRISTINE = "niqe"
"""Name of the pristine photographs' statistics in the weights table."""
BLOCK = 96
"""Side of the blocks in pixels; at the second scale half of it."""

METRIC = Metric(
    "niqe",
    "NIQE",
    higher_is_better=False,
    decimals=3,
    needs_truth=False,
    least_side=2 * BLOCK,
    recipe="luminance (Y of BT.601 in 16..235), rounded; blocks of 96×96 at two scales, no border cut beyond whole "
    "blocks; float64",
    source="Mittal et al., IEEE SPL 2013; own code, pristine statistics of the authors as BasicSR brings them",
)

FloatArray = NDArray[np.float64]

_WINDOW_SIDE, _WINDOW_SIGMA = 7, 7 / 6
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Horizontal, vertical and the two diagonal neighbours whose products are measured (section II-B)."""


@dataclass(frozen=True)
class Pristine:
    """Statistics of blocks of pristine photographs: 18 features at two scales."""

    mean: FloatArray
    """Shape (36,)."""
    covariance: FloatArray
    """Shape (36, 36)."""


def open_niqe(tools: Tools) -> Judge:
    """Return the judge.

    Raises:
        Unavailable: The pristine statistics are not to be had.
        WeightsError: Their file holds something else.
    """
    weights = tools.weights(PRISTINE)
    try:
        with np.load(weights.path, allow_pickle=False) as file:
            pristine = Pristine(
                np.asarray(file["mu_pris_param"], np.float64).reshape(36),
                np.asarray(file["cov_pris_param"], np.float64).reshape(36, 36),
            )
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{weights.path} holds no statistics of pristine photographs: get it anew.") from error
    return lambda restored, truth: [niqe(picture, pristine) for picture in restored]


def niqe(picture: Pixels, pristine: Pristine) -> float | None:
    """Return the distance from pristine photographs; None for a picture too small or too flat to have statistics."""
    features = block_features(luminance(picture))
    whole = features[np.isfinite(features).all(axis=1)]
    if len(whole) < 2:
        return None
    mean = np.array([column[np.isfinite(column)].mean() for column in features.T])
    difference = mean - pristine.mean
    spread = (pristine.covariance + np.cov(whole, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(spread) @ difference))


def luminance(picture: Pixels) -> FloatArray:
    """Return Y of BT.601 in studio range, rounded as MATLAB's 8-bit conversion does."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    rounded: FloatArray = np.rint(picture.astype(np.float64) @ weights + 16)
    return rounded


def block_features(plane: FloatArray) -> FloatArray:
    """Return 36 features of each whole block, shape (blocks, 36); not finite where a block is flat."""
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    plane = plane[: rows * BLOCK, : columns * BLOCK]
    scales = []
    for side in (BLOCK, BLOCK // 2):
        normal = _normalised(plane)
        blocks = normal.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
        scales.append(np.array([_features(block) for block in blocks]))
        plane = halved(plane)
    return np.concatenate(scales, axis=1)


def _normalised(plane: FloatArray) -> FloatArray:
    """Subtract the local mean and divide by the local deviation (equation 1)."""
    kernel = cv2.getGaussianKernel(_WINDOW_SIDE, _WINDOW_SIGMA, cv2.CV_64F)

    def local(values: FloatArray) -> FloatArray:
        return np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REPLICATE))

    mean = local(plane)
    deviation = np.sqrt(np.abs(local(plane**2) - mean**2))
    result: FloatArray = (plane - mean) / (deviation + 1)
    return result


def halved(plane: FloatArray) -> FloatArray:
    """Halve a plane with even sides with the cubic kernel of width 8 that MATLAB's imresize uses."""
    distance = np.array([1.75, 1.25, 0.75, 0.25, 0.25, 0.75, 1.25, 1.75])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    kernel = np.where(distance <= 1, near, far) / 2
    for axis in (0, 1):
        width = [(3, 3) if a == axis else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, width, mode="symmetric"), 8, axis=axis)
        plane = (windows[::2] if axis == 0 else windows[:, ::2]) @ kernel
    return plane


def _features(block: FloatArray) -> list[float]:
    alpha, left, right = asymmetric_gaussian(block)
    features = [alpha, (left + right) / 2]
    for shift in _SHIFTS:
        alpha, left, right = asymmetric_gaussian(block * np.roll(block, shift, axis=(0, 1)))
        # Equation 8: the mean of the distribution
        mean = (right - left) * math.gamma(2 / alpha) / math.gamma(1 / alpha)
        features += [alpha, mean, left, right]
    return features


def asymmetric_gaussian(values: FloatArray) -> tuple[float, float, float]:
    """Fit an asymmetric generalised Gaussian by moments: its shape, and its scale to the left and to the right.

    The scales are not finite where all values have one sign or are zero.
    """
    shapes, ratios = _shape_table()
    negative, positive = values[values < 0], values[values > 0]
    if not (negative.size and positive.size):
        return 1.0, math.nan, math.nan
    left, right = math.sqrt(float(np.mean(negative**2))), math.sqrt(float(np.mean(positive**2)))
    skew = left / right
    ratio = float(np.mean(np.abs(values)) ** 2 / np.mean(values**2))
    wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = float(shapes[np.argmin(np.abs(ratios - wanted))])
    to_scale = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
    return shape, left * to_scale, right * to_scale


@functools.cache
def _shape_table() -> tuple[FloatArray, FloatArray]:
    """Return shapes from 0.2 to 10, and the ratio of squared mean magnitude to variance that each implies."""
    shapes = np.arange(200, 10001) / 1000
    ratios = [math.gamma(2 / s) ** 2 / (math.gamma(1 / s) * math.gamma(3 / s)) for s in shapes.tolist()]
    return shapes, np.array(ratios)
