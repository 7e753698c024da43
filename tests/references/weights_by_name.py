"""Random weights that need not be stored: each tensor follows from its name, its shape and a seed alone.

The generator's raw 64-bit words are used rather than NumPy's distributions, because only the former are promised to
stay the same from one NumPy to the next.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray


def unit_noise(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Return uniform noise of mean 0 and variance 1, in ±√3, that depends on nothing but the arguments."""
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    words = np.random.PCG64(int.from_bytes(key[:16], "little")).random_raw(math.prod(shape))
    # the 53 bits a float64 can hold, in 0..1
    uniform: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53
    return (uniform * 2 - 1) * math.sqrt(3)


def gfpgan_weight(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return one float32 tensor of a GFP-GAN.

    The scales keep the features near one at every depth, and no tensor is so small that a fault in its use could hide:
    a trained network's zeros (noise strengths, biases) and ones (modulation biases) are random here, too.
    """
    noise = unit_noise(name, shape, seed)
    return torch.from_numpy((_centre(name, noise) + _spread(name, shape) * noise).astype(np.float32))


def gfpgan_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Return the whole state of a GFP-GAN whose tensors have these names and shapes."""
    return {name: gfpgan_weight(name, tuple(shape), seed) for name, shape in shapes.items()}


def _centre(name: str, noise: NDArray[np.float64]) -> NDArray[np.float64] | float:
    if name.endswith("modulation.bias") or (name.startswith("condition_scale") and name.endswith(".2.bias")):
        return 1.0  # both multiply features
    if _is_noise_strength(name, noise.shape):
        return np.where(noise < 0, -0.2, 0.2)  # away from zero, either sign
    return 0.0


def _spread(name: str, shape: tuple[int, ...]) -> float:
    if ".noises." in name or "constant_input" in name:
        return 1.0
    if _is_noise_strength(name, shape):
        return 0.1
    if name.endswith("bias"):
        return 0.2
    inputs = math.prod(shape[2:] if len(shape) == 5 else shape[1:])  # modulated weights have a leading 1
    gain = 0.5 if name.startswith("condition") or "modulation" in name else 1.0
    return gain / math.sqrt(inputs)


def _is_noise_strength(name: str, shape: tuple[int, ...]) -> bool:
    return shape == (1,) and name.endswith("weight")
