"""The detector's network in training: the small RetinaFace, seeded, giving logits; teacher in, safetensors out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restorer.checkpoints import load_checkpoint
from restorer.checkpoints.reading import CONFIG_KEY
from restorer.checkpoints.safetensors_file import read_metadata, save_safetensors
from restorer.contract import NetworkContract
from restorer.errors import WeightsError
from restorer.networks.retinaface import RetinaFaceMobileNet
from restorer.training.detector_losses import Outputs

ARCHITECTURE = "retinaface-mobilenet0.25"
FACE_PRIOR = 0.01
"""Score an untrained network gives everywhere, so that the first steps are not lost on background (Lin et al. 2017)."""


def build_network(device: torch.device) -> nn.Module:
    """Return RetinaFace with a quarter-width MobileNet, giving logits, laid out channels-last."""
    network: nn.Module = RetinaFaceMobileNet(phase="train")
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def start_network(device: torch.device, seed: int) -> nn.Module:
    """Build a network with seeded weights whose first scores are ``FACE_PRIOR``."""
    torch.manual_seed(seed)
    network = build_network(device)
    for name, parameter in network.named_parameters():
        head = name.startswith(("ClassHead", "BboxHead", "LandmarkHead"))
        if parameter.dim() == 4 and head:
            nn.init.normal_(parameter, std=0.01)
        elif parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter, a=0.1, nonlinearity="leaky_relu")
        elif head:
            nn.init.zeros_(parameter)
    shift_scores(network, float(np.log(FACE_PRIOR / (1 - FACE_PRIOR))))
    return network


def shift_scores(network: nn.Module, bias: float) -> None:
    """Add ``bias`` to the face logit of every prior (the odd channels of the class heads), in place."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("ClassHead") and name.endswith("bias"):
                parameter[1::2] += bias


def raise_variances(network: nn.Module, floor: float) -> None:
    """Raise small running variances of batch normalisation to ``floor`` × the layer's median, in place.

    A channel that is silent on nearly all training pictures has a tiny variance; where another picture wakes it, its
    output is many hundred standard deviations, and the next layers amplify it to a cluster of faces out of nothing.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.clamp_(min=floor * float(module.running_var.median()))


def load_teacher(path: Path, device: torch.device) -> nn.Module:
    """Load a RetinaFace of the same priors as a teacher: frozen, giving logits.

    Raises:
        WeightsError: The file cannot be read or holds another network.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.contract.kind != "detector":
        raise WeightsError(f"{path} holds {checkpoint.contract.architecture}, which finds no faces: give a RetinaFace.")
    network = checkpoint.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.phase = "train"  # facexlib's name for logits instead of probabilities
    return network.eval().requires_grad_(False)  # type: ignore[no-any-return]


def load_start(path: Path) -> tuple[dict[str, Tensor], float]:
    """Load a detector of the trained layout to begin with.

    Returns:
        The weights, and what their export added to the face logit: 0 for files that another program wrote.

    Raises:
        WeightsError: The file cannot be read or holds another network.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.contract.architecture != ARCHITECTURE:
        raise WeightsError(f"{path} holds {checkpoint.contract.architecture}: only {ARCHITECTURE} can be a start.")
    return checkpoint.module.state_dict(), _exported_bias(path)


def _exported_bias(path: Path) -> float:
    """Return the score bias that :func:`save_detector` wrote down; 0 where another program wrote the file."""
    try:
        facts = json.loads(read_metadata(path).get("training", "{}"))
    except ValueError:
        return 0.0  # a pickle
    return float(facts.get("settings", {}).get("score_bias", 0.0))


def run_network(network: nn.Module, batch: Tensor) -> Outputs:
    """Run a network of this module on an NCHW batch, BGR minus mean."""
    return Outputs(*network(batch))


def run_with_features(network: nn.Module, batch: Tensor) -> tuple[Outputs, tuple[Tensor, ...]]:
    """Run a network of this module on an NCHW batch and return what it computes on the way, too.

    Returns:
        The outputs, and six maps: the backbone's three stages and the three context modules before the heads.
    """
    stages = list(network.body(batch).values())  # type: ignore[operator]
    levels = network.fpn(stages)  # type: ignore[operator]
    contexts = [getattr(network, f"ssh{level + 1}")(levels[level]) for level in range(3)]

    def answers(head: str) -> Tensor:
        modules = zip(getattr(network, head), contexts, strict=True)
        return torch.cat([module(context) for module, context in modules], dim=1).float()

    outputs = Outputs(answers("BboxHead"), answers("ClassHead"), answers("LandmarkHead"))
    return outputs, tuple(map_.float() for map_ in (*stages, *contexts))


class WithFeatures(nn.Module):
    """:func:`run_with_features` as a module's ``forward``, flat: boxes, classes, points, maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return outputs and maps of an NCHW batch, BGR minus mean."""
        outputs, maps = run_with_features(self.network, batch)
        return outputs.boxes, outputs.classes, outputs.points, *maps


def save_detector(
    path: Path,
    state: dict[str, Tensor],
    facts: dict[str, Any],
    *,
    score_bias: float = 0.0,
    variance_floor: float = 0.0,
    upright_score: float = NetworkContract.upright_score,
) -> None:
    """Write a detector as safetensors, whole or not at all.

    Args:
        path: The file; an existing one is replaced.
        state: The network's state dict.
        facts: What is to be known about its training; written as JSON into the file's metadata.
        score_bias: Added to the face logit of every prior, see :func:`shift_scores`.
        variance_floor: See :func:`raise_variances`.
        upright_score: See :class:`NetworkContract`.

    Raises:
        OutputError: The file cannot be written.
    """
    network = build_network(torch.device("cpu"))
    network.load_state_dict(state)
    shift_scores(network, score_bias)
    raise_variances(network, variance_floor)
    metadata = {"format": "pt", "architecture": ARCHITECTURE, "training": json.dumps(facts)}
    metadata[CONFIG_KEY] = json.dumps({"contract": {"upright_score": upright_score}})
    save_safetensors(path, network.state_dict(), metadata)
