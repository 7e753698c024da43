"""From a training run's state to the file the pipeline loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from restorer.checkpoints import save_checkpoint
from restorer.errors import UsageError
from restorer.training.settings import RestorationSettings, build
from restorer.training.trainer import STATE


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
        OutputError: if the file cannot be written.
    """
    state = _state(run)
    weights = state["average"]
    if blend is not None:
        if not 0 <= share <= 1:
            raise UsageError(f"The share of a run in a mixture is {share}, but must lie between 0 and 1.")
        other = _state(blend)
        if any(other["settings"].get(kind) != state["settings"].get(kind) for kind in ("sizes", "plain")):
            raise UsageError(f"{blend} trains a network of other sizes than {run}: they cannot be mixed.")
        weights = {name: torch.lerp(other["average"][name], value, share) for name, value in weights.items()}
    network = build(RestorationSettings, _given(state["settings"]), f"{run}").network()
    network.load_state_dict(weights)
    save_checkpoint(output, network, dtype=torch.float16)
    return int(state["images"])


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a saved run without those that were not given."""
    return {key: value for key, value in settings.items() if value is not None}


def _state(run: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(run / STATE, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{run} holds no training state ({STATE}): give a run's folder.") from error
    return state
