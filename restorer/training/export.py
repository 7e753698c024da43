"""From a training run's state to the file the pipeline loads."""

from __future__ import annotations

from pathlib import Path

import torch

from restorer.checkpoints import save_checkpoint
from restorer.errors import UsageError
from restorer.training.state import load_state
from restorer.training.trainer import saved_settings


def export_run(run: Path, output: Path, *, blend: Path | None = None, share: float = 0.5) -> int:
    """Write a restoration run's averaged generator as half-precision safetensors.

    Args:
        run: The run's folder.
        output: The file to write.
        blend: A run that this one began from; the weights of both are mixed, which keeps most of the sharpness of
            an adversarial run and loses most of its artefacts (network interpolation: Wang et al., ESRGAN, 2018,
            section 3.4).
        share: The share of ``run`` in the mixture, 0 to 1.

    Returns:
        The images that ``run`` has seen.

    Raises:
        UsageError: if a folder holds no run, the two runs' networks differ in size, or the share is out of range.
        WeightsError: if a state is damaged.
        OutputError: if the file cannot be written.
    """
    state = load_state(run, "restoration")
    weights = state["average"]
    if blend is not None:
        if not 0 <= share <= 1:
            raise UsageError(f"The share of a run in a mixture is {share}, but must lie between 0 and 1.")
        other = load_state(blend, "restoration")
        mine, theirs = saved_settings(run, state), saved_settings(blend, other)
        if (mine.sizes, mine.plain) != (theirs.sizes, theirs.plain):
            raise UsageError(f"{blend} trains a network of other sizes than {run}: they cannot be mixed.")
        weights = {name: torch.lerp(other["average"][name], value, share) for name, value in weights.items()}
    network = saved_settings(run, state).network()
    network.load_state_dict(weights)
    save_checkpoint(output, network, dtype=torch.float16)
    return int(state["images"])
