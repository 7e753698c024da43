"""Pictures to the numbers a network works with, and back, as its contract says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract


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
