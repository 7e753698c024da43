"""Make the stored GFP-GAN references by running the upstream program, and check this project's network against it.

Run from the repository's root, in an environment that also has ``gfpgan`` (PyPI, 1.3.8)::

    OMP_NUM_THREADS=1 python -m tests.references.make_gfpgan

Weights are random, a function of their names (weights_by_name.py), and are not stored. Written beside this file:
``gfpgan_<case>.npz`` (input uint8, output float32, pyramid float32), ``gfpgan_clean_512_keys.json`` and
``gfpgan_made_by.json`` (versions, settings and what was measured).
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms.functional import rgb_to_grayscale

from restorer.networks.gfpgan import GFPGAN
from tests.references.gfpgan_cases import CASES, FOLDER, FULL_SIZE, KEYS, GFPGANCase, to_network
from tests.references.weights_by_name import gfpgan_weight, gfpgan_weights, unit_noise

TOLERANCE = 1e-5
"""Largest relative error ‖ours − theirs‖ / ‖theirs‖ in fp32."""
SMALLEST_EFFECT = 100 * TOLERANCE
"""Least relative change of the output when one tensor is drawn anew: a tensor used wrongly cannot pass unseen."""
SANE = (0.05, 20.0)
"""Bounds on the standard deviation of every layer's output."""
UNUSED = "stylegan_decoder.style_mlp."
"""The prior's mapping network, which the U-Net's codes bypass."""
Result = tuple[Tensor, list[Tensor]]


def upstream_class() -> Callable[..., nn.Module]:
    """Import upstream's network.

    ``basicsr`` asks for a torchvision module that is gone since 0.17; what it wants from there lives on elsewhere.
    """
    name = "torchvision.transforms.functional_tensor"
    shim = types.ModuleType(name)
    shim.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = shim
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean
    finally:
        del sys.modules[name]  # nothing else may come to rely on it
    network_class: Callable[..., nn.Module] = GFPGANv1Clean
    return network_class


def build_upstream(case: GFPGANCase) -> nn.Module:
    """Return upstream's network with the case's random weights, in evaluation mode."""
    network = upstream_class()(**case.upstream).eval()
    network.load_state_dict(gfpgan_weights(shapes_of(network), case.seed), strict=True)
    return network


def build_ours(case: GFPGANCase) -> GFPGAN:
    """Return this project's network with the same weights."""
    network = GFPGAN(case.sizes).eval()
    network.load_state_dict(gfpgan_weights(shapes_of(network), case.seed), strict=True)
    return network


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor by name, in the network's order."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@torch.inference_mode()
def run_upstream(network: nn.Module, image: Tensor) -> Result:
    """Return upstream's image and its U-Net's pyramid, with the stored noise."""
    out, pyramid = network(image.clone(), return_rgb=True, randomize_noise=False)
    return out, pyramid


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return ‖ours − theirs‖ / ‖theirs‖, summed in float64."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def draw_pixels(case: GFPGANCase) -> NDArray[np.uint8]:
    """Return N×3×side×side pixels with detail at every scale, as the U-Net's coarse levels see averages only."""
    image = np.zeros((case.batch, 3, case.out_size, case.out_size))
    for side in (2**power for power in range(1, int(math.log2(case.out_size)) + 1)):
        block = case.out_size // side
        coarse = unit_noise(f"input{side}", (case.batch, 3, side, side), case.seed)
        image += coarse.repeat(block, axis=2).repeat(block, axis=3)
    pixels: NDArray[np.uint8] = np.clip(127.5 + 40 * image, 0, 255).round().astype(np.uint8)
    return pixels


def effects(network: nn.Module, case: GFPGANCase, image: Tensor) -> dict[str, float]:
    """Return for each tensor how much the result changes when that tensor alone is drawn anew with another seed.

    The result is the image; for ``toRGB``, which the image does not use, the pyramid.
    """
    out, pyramid = run_upstream(network, image)
    found = {}
    for name, tensor in network.state_dict().items():
        kept = tensor.clone()
        tensor.copy_(_another(name, tuple(tensor.shape), case.seed))
        new_out, new_pyramid = run_upstream(network, image)
        tensor.copy_(kept)
        if name.startswith("toRGB."):
            scale = int(name.split(".")[1])
            found[name] = relative_error(new_pyramid[scale], pyramid[scale])
        else:
            found[name] = relative_error(new_out, out)
    return found


def _another(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    return gfpgan_weight(name, shape, seed + 1000)


@contextmanager
def watch_spread(network: nn.Module) -> Iterator[dict[str, float]]:
    """Collect the standard deviation of the output of every module that holds tensors and returns one."""
    found: dict[str, float] = {}
    handles = []
    for name, module in network.named_modules():
        if name and not name.startswith(UNUSED):
            handles.append(module.register_forward_hook(_spread_hook(name, found)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _spread_hook(name: str, found: dict[str, float]) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found[name] = float(output.std())

    return hook


def make(case: GFPGANCase) -> dict[str, Any]:
    """Write one reference and return what was measured on the way."""
    network = build_upstream(case)
    pixels = draw_pixels(case)
    image = torch.from_numpy(to_network(pixels))
    with watch_spread(network) as spread:
        out, pyramid = run_upstream(network, image)
    _check_sane(spread)
    effect = effects(network, case, image)
    _check_effects(effect)
    errors = compare(case, image, out, pyramid)
    arrays: dict[str, Any] = {f"pyramid{scale}": level.numpy() for scale, level in enumerate(pyramid)}
    np.savez_compressed(case.path, input=pixels, output=out.numpy(), **arrays)
    used = {name: value for name, value in effect.items() if not name.startswith(UNUSED)}
    weakest = min(used, key=used.__getitem__)
    return {
        "arguments": case.upstream,
        "tensors": len(effect),
        "weakest_effect": {weakest: used[weakest]},
        "spread_of_layers": [min(spread.values()), max(spread.values())],
        "relative_error": errors,
    }


def _check_sane(spread: dict[str, float]) -> None:
    wild = {name: value for name, value in spread.items() if not SANE[0] < value < SANE[1]}
    if wild:
        raise AssertionError(f"layers whose outputs' spread leaves {SANE}: {wild}")


def _check_effects(effect: dict[str, float]) -> None:
    weak = {name: v for name, v in effect.items() if not name.startswith(UNUSED) and v < SMALLEST_EFFECT}
    strange = {name: v for name, v in effect.items() if name.startswith(UNUSED) and v != 0}
    if weak or strange:
        raise AssertionError(f"tensors with too small an effect: {weak}; unused ones with an effect: {strange}")


@torch.inference_mode()
def compare(case: GFPGANCase, image: Tensor, out: Tensor, pyramid: list[Tensor]) -> dict[str, float]:
    """Return this project's relative errors against upstream's image and against the worst level of its pyramid."""
    ours, levels = build_ours(case).forward_with_pyramid(image)
    pairs = zip(levels, pyramid, strict=True)
    found = {"output": relative_error(ours, out), "pyramid": max(relative_error(*pair) for pair in pairs)}
    if max(found.values()) > TOLERANCE:
        raise AssertionError(f"{case.name}: relative errors {found} exceed {TOLERANCE}")
    return found


def full_size() -> dict[str, Any]:
    """Write the full-size network's names and shapes and compare one run of it; its output is not stored."""
    network = build_upstream(FULL_SIZE)
    shapes = {name: list(shape) for name, shape in shapes_of(network).items()}
    KEYS.write_text(json.dumps(shapes) + "\n", encoding="utf-8")
    image = torch.from_numpy(to_network(draw_pixels(FULL_SIZE)))
    with watch_spread(network) as spread:
        out, pyramid = run_upstream(network, image)
    return {
        "tensors": len(shapes),
        "spread_of_layers": [min(spread.values()), max(spread.values())],
        "relative_error": compare(FULL_SIZE, image, out, pyramid),
    }


def main() -> None:
    """Make every reference and print what was measured."""
    torch.set_num_threads(1)
    for first, second in pairwise(CASES):
        assert first.seed != second.seed, "each case needs weights of its own"
    made = {
        "command": "OMP_NUM_THREADS=1 python -m tests.references.make_gfpgan",
        "network": "gfpgan.archs.gfpganv1_clean_arch.GFPGANv1Clean, forward(return_rgb=True, randomize_noise=False)",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("gfpgan", "basicsr", "torch", "numpy")},
        "cases": {case.name: make(case) for case in CASES},
        "full_size": full_size(),
    }
    text = json.dumps(made, indent=2)
    (FOLDER / "gfpgan_made_by.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
