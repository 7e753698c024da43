"""From a training run's state to the file the pipeline loads."""

from __future__ import annotations

from pathlib import Path

import torch

from restorer.checkpoints import save_checkpoint
from restorer.errors import UsageError
from restorer.networks.gfpgan import GFPGAN, GFPGANSizes
from restorer.training.trainer import STATE


def export_run(run: Path, output: Path) -> int:
    """Write a restoration run's averaged generator as half-precision safetensors; return the images it has seen.

    Raises:
        UsageError: if the folder holds no run.
        OutputError: if the file cannot be written.
    """
    try:
        state = torch.load(run / STATE, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{run} holds no training state ({STATE}): give a run's folder.") from error
    network = GFPGAN(GFPGANSizes.from_dict(state["settings"]["sizes"]))
    network.load_state_dict(state["average"])
    save_checkpoint(output, network, dtype=torch.float16)
    return int(state["images"])
