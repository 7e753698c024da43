"""Weight file to ready network and back.

A file is read as data only: torch's ``weights_only`` reader or safetensors, never a free unpickling, which could run
any program. The network is then built in the sizes found and must take every tensor exactly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restorer.checkpoints.architectures import ARCHITECTURES, Checkpoint, FirstOutput
from restorer.checkpoints.reading import CONFIG_KEY, SUPPORTED, check_finite, first_line, quiet, read
from restorer.checkpoints.safetensors_file import save_safetensors
from restorer.contract import NetworkContract
from restorer.errors import WeightsError
from restorer.networks.gfpgan import GFPGAN
from restorer.networks.unet import PlainUNet


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a weight file and build its network.

    Args:
        path: A ``.pth``/``.pt``/``.ckpt`` file or a ``.safetensors`` file; the content decides, not the suffix.

    Returns:
        The network. A face network maps N×3×S×S images to the same; a detector gives box regressions N×A×4, class
        probabilities N×A×2 and landmark regressions N×A×10; a parser gives N×19×S×S logits; an identity network unit
        vectors N×512; an upsampler an image.

    Raises:
        WeightsError: The file is missing, damaged, unsafe, or none of the supported architectures.
    """
    raw = read(path)
    check_finite(path, raw.state)
    build = next((build for recognises, build in ARCHITECTURES if recognises(raw.state)), None)
    if build is None:
        raise WeightsError(
            f"{path} holds no network that is known here: its first tensors are called "
            f"{', '.join(list(raw.state)[:3])}; supported are {SUPPORTED}."
        )
    try:
        with quiet():
            checkpoint = build(raw.state, raw.config)
    except WeightsError as error:
        raise WeightsError(f"{path} {error}") from error
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} looks like a network that is known here, but its tensors do not fit it "
            f"({first_line(error)}): use the file as its publisher gave it."
        ) from error
    checkpoint.module.eval().requires_grad_(False)
    return Checkpoint(checkpoint.module, _stated_contract(path, raw.config, checkpoint.contract))


def save_checkpoint(
    path: Path, module: nn.Module, contract: NetworkContract | None = None, *, dtype: torch.dtype | None = None
) -> None:
    """Write a network as ``.safetensors``, whole or not at all, so that :func:`load_checkpoint` returns the same.

    Args:
        path: The file; an existing one is replaced.
        module: The network; a face network's sizes are written along.
        contract: What the network expects, where that differs from what its architecture implies.
        dtype: Stored type of floating-point tensors, such as ``torch.float16``; None: as they are.

    Raises:
        OutputError: The file cannot be written.
    """
    module = module.inner if isinstance(module, FirstOutput) else module
    tensors = {key: _storable(tensor, dtype) for key, tensor in module.state_dict().items()}
    config: dict[str, Any] = {"contract": contract.to_dict()} if contract else {}
    if isinstance(module, (GFPGAN, PlainUNet)):
        config["sizes"] = module.sizes.to_dict()
    save_safetensors(path, tensors, {"format": "pt", CONFIG_KEY: json.dumps(config)})


def _storable(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def _stated_contract(path: Path, config: dict[str, Any], deduced: NetworkContract) -> NetworkContract:
    """Let the file's own contract overrule the architecture's usual one, but not what the network is."""
    stated = config.get("contract")
    if stated is None:
        return deduced
    try:
        contract = NetworkContract.from_dict({**deduced.to_dict(), **stated})
    except TypeError as error:
        raise WeightsError(
            f"{path} states a contract that this version does not understand: update restorer."
        ) from error
    if (contract.kind, contract.input_size) != (deduced.kind, deduced.input_size):
        raise WeightsError(
            f"{path} states a contract that contradicts its tensors: it is damaged or was tampered with."
        )
    return contract
