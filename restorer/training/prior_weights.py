"""A trained prior's weights: from a run or a file into a GFP-GAN, and from a run into a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from restorer.checkpoints import save_checkpoint
from restorer.checkpoints.reading import check_finite, read
from restorer.errors import UsageError, WeightsError
from restorer.networks.gfpgan import GFPGAN
from restorer.networks.stylegan2 import mapping_network
from restorer.training.state import load_state

DECODER = "stylegan_decoder."
"""What the prior's tensors are called after within a GFP-GAN."""
MAPPING = "style_mlp."
LATENTS = 4096
"""Latents whose codes are averaged."""
QUIET = 0.1
"""What the U-Net adds to a trained prior begins so much smaller than for a prior from scratch."""


def read_prior(path: Path) -> dict[str, Tensor]:
    """Read a prior's tensors, without the name of the network they lie in.

    Args:
        path: The folder of a run that trained a prior, a file exported from one, or a GFP-GAN.

    Raises:
        UsageError: The folder holds no such run.
        WeightsError: The file holds no prior, or is damaged.
    """
    if path.is_dir():
        return dict(load_state(path, "prior")["average"])
    state = read(path).state
    check_finite(path, state)
    state = {name.removeprefix(DECODER): tensor.float() for name, tensor in state.items() if name.startswith(DECODER)}
    if "constant_input.weight" not in state:
        raise WeightsError(f"{path} holds no prior: give the folder of a run of `restorer train prior`, or its export.")
    return state


def start_from_prior(network: GFPGAN, path: Path) -> None:
    """Give a fresh GFP-GAN a trained prior, which at first draws little but the mean face.

    The codes begin at the mean of the prior's, and what the U-Net adds begins small, so that the prior is not pushed
    from where it draws faces before the U-Net has learned anything (the paper does not say how it begins).

    Raises:
        UsageError: The network adds its input to what a prior draws, or the prior has other sizes.
        WeightsError: The prior cannot be read.
    """
    if network.sizes.residual:
        raise UsageError("A trained prior draws whole faces: give the recipe's [sizes] residual = false.")
    state, prior = read_prior(path), network.stylegan_decoder
    mapping = {name.removeprefix(MAPPING): tensor for name, tensor in state.items() if name.startswith(MAPPING)}
    own = prior.state_dict()
    if not network.sizes.mlp_layers:  # unused on the way of a photograph, so that small networks leave it out
        state = {name: tensor for name, tensor in state.items() if not name.startswith(MAPPING)}
    differing = next(
        (n for n in (*own, *state) if n not in own or n not in state or own[n].shape != state[n].shape), None
    )
    if differing is not None:
        shapes = [tuple(found[differing].shape) if differing in found else "missing" for found in (state, own)]
        raise UsageError(
            f"The prior of {path} has other sizes than the recipe ({differing} is {shapes[0]}, not {shapes[1]}): give "
            "both recipes the same [sizes]."
        )
    prior.load_state_dict(state)
    with torch.no_grad():
        codes = 1 if not network.sizes.code_per_layer else network.sizes.codes
        network.final_linear.bias.copy_(_mean_of(mapping, network.sizes.style_dim).repeat(codes))
        network.final_linear.weight.mul_(QUIET)
        for shift in network.condition_shift:
            for parameter in shift.get_submodule("2").parameters():
                parameter.mul_(QUIET)


def _mean_of(mapping: dict[str, Tensor], style_dim: int) -> Tensor:
    network = mapping_network(style_dim, sum(1 for name in mapping if name.endswith("weight")))
    network.load_state_dict(mapping)
    return mean_code(network, style_dim)


def mean_code(mapping: nn.Module, style_dim: int) -> Tensor:
    """Return the mean of a mapping network's codes, always of the same latents; it draws the mean face."""
    device = next((parameter.device for parameter in mapping.parameters()), torch.device("cpu"))
    latents = torch.randn(LATENTS, style_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean: Tensor = mapping(latents.to(device)).float().mean(dim=0)
    return mean


def export_prior(run: Path, output: Path) -> int:
    """Write a run's averaged prior as half-precision safetensors; return the images it has seen.

    Raises:
        UsageError: The folder holds no run.
        WeightsError: Its state is damaged.
        OutputError: The file cannot be written.
    """
    from restorer.networks.stylegan2 import StyleGAN2Prior
    from restorer.training.prior_settings import PriorSettings
    from restorer.training.settings import build, given

    state = load_state(run, "prior")
    sizes = build(PriorSettings, given(state["settings"]), f"The saved settings of {run}").sizes
    prior = StyleGAN2Prior(sizes)
    prior.load_state_dict(state["average"])
    save_checkpoint(output, nn.ModuleDict({DECODER.rstrip("."): prior}), dtype=torch.float16)
    return int(state["images"])
