"""Pictures to the numbers a network works with, and back, as its contract says."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract

SEEN = 10.0
"""Levels of 255 that a picture must span for a network to have had something to see."""
BLANK = 1.5
"""Levels of 255 below which a picture counts as of one colour."""


def to_network(crops: NDArray[np.float32], contract: NetworkContract) -> NDArray[np.float32]:
    """Turn pictures into a network's input.

    Args:
        crops: N×H×W×3 RGB float32 in 0..255.
        contract: The network's.

    Returns:
        N×3×H×W float32, C-contiguous: ((pixel − mean) × scale) / std, channels in the contract's order.
    """
    numbers = _numbers(contract)
    planes = (crops.transpose(0, 3, 1, 2) - numbers.mean) * numbers.factor
    return np.ascontiguousarray(planes[:, ::-1] if contract.colour_order == "bgr" else planes, dtype=np.float32)


def from_network(planes: NDArray[np.float32], contract: NetworkContract) -> NDArray[np.float32]:
    """Turn a network's output picture, N×3×H×W, into N×H×W×3 RGB float32 in 0..255, clipped."""
    numbers = _numbers(contract)
    rgb = planes[:, ::-1] if contract.colour_order == "bgr" else planes
    pixels = np.clip(rgb / numbers.factor + numbers.mean, 0, 255).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels, dtype=np.float32)


def went_blank(given: NDArray[np.float32], result: NDArray[np.float32]) -> bool:
    """Tell whether a network made (nearly) one colour of a picture that has more.

    That is how arithmetic without enough range or a driver's fault looks: black, grey or solid where a face was. Noise
    does not count, on either side: what is compared is how far the means of small squares lie apart.

    Args:
        given: H×W×3 float32 in 0..255.
        result: The same picture after the network, of any size.
    """
    return _spread(given) >= SEEN and _spread(result) <= BLANK


def _spread(picture: NDArray[np.float32]) -> float:
    """Return how many levels the means of 8×8 squares lie apart, in the channel where it is most; 5% are left out."""
    step = max(1, min(picture.shape[:2]) // 128)
    squares = cv2.resize(np.ascontiguousarray(picture[::step, ::step]), (8, 8), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(squares, (5, 95), axis=(0, 1))
    return float((high - low).max())


def network_factors(contract: NetworkContract) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and factor of each channel, RGB, shape (3,): a network's number is (pixel − mean) × factor."""
    numbers = _numbers(contract)
    return numbers.mean.reshape(3), numbers.factor.reshape(3)


def _numbers(contract: NetworkContract) -> _Numbers:
    order = -1 if contract.colour_order == "bgr" else 1
    mean = np.array(contract.mean[::order], np.float32).reshape(1, 3, 1, 1)
    std = np.array(contract.std[::order], np.float32).reshape(1, 3, 1, 1)
    return _Numbers(mean, np.float32(contract.scale) / std)


@dataclass(frozen=True)
class _Numbers:
    """A contract's mean and factor per channel, in RGB order, shaped for N×3×H×W."""

    mean: NDArray[np.float32]
    factor: NDArray[np.float32]
