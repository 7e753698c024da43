"""Make the stored ArcFace reference by running the upstream program.

Run from the repository's root, in an environment that also has ``gfpgan`` (PyPI, 1.3.8)::

    OMP_NUM_THREADS=1 python -m tests.references.make_arcface18

Weights and faces are random, a function of their names (weights_by_name.py), and are not stored. Written beside this
file: ``arcface18.npz`` (what upstream says of two faces, 2×512 float32).
"""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.references.weights_by_name import unit_noise

REFERENCE = Path(__file__).parent / "arcface18.npz"
SEED = 18


def upstream() -> nn.Module:
    """Return upstream's network as its training options ask for it.

    ``basicsr``, which the package loads on import, asks for a torchvision module that is gone since 0.17.
    """
    from torchvision.transforms.functional import rgb_to_grayscale

    name = "torchvision.transforms.functional_tensor"
    shim = types.ModuleType(name)
    shim.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = shim
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from gfpgan.archs.arcface_arch import ResNetArcFace
    finally:
        del sys.modules[name]  # nothing else may come to rely on it
    network: nn.Module = ResNetArcFace(block="IRBlock", layers=[2, 2, 2, 2], use_se=False)
    return network


def weights(network: nn.Module, seed: int = SEED) -> dict[str, Tensor]:
    """Return random weights by name that keep features near one; nothing is a zero or a one as in a fresh network."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return {name: _weight(name, shape, seed) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    noise = unit_noise(name, shape, seed)
    if len(shape) > 1:
        values = noise / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("prelu.weight"):
        values = 0.25 + 0.1 * noise
    elif name.endswith(("running_var", "weight")):
        values = 1 + 0.2 * noise
    else:
        values = 0.2 * noise
    return torch.from_numpy(values.astype(np.float32))


def faces() -> Tensor:
    """Return two grey faces 2×1×128×128."""
    return torch.from_numpy(unit_noise("faces", (2, 1, 128, 128), SEED).astype(np.float32)) / 2


@torch.inference_mode()
def describe(network: nn.Module, images: Tensor) -> Tensor:
    """Return what a network with the random weights says of faces."""
    network.load_state_dict(weights(network))
    described: Tensor = network.eval()(images)
    return described


def main() -> None:
    """Run upstream and write its numbers."""
    np.savez_compressed(REFERENCE, described=describe(upstream(), faces()).numpy())


if __name__ == "__main__":
    main()
