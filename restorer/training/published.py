"""Published weights of the networks that losses look through, from the table of weight files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from restorer.checkpoints.reading import check_finite, first_line, read
from restorer.errors import WeightsError

if TYPE_CHECKING:
    from restorer.weights import WeightStore


def fill(network: nn.Module, name: str, loss: str, store: WeightStore | None = None, *, prefix: str = "") -> nn.Module:
    """Give a network its published weights, downloaded if they are absent, and freeze it.

    Args:
        network: A network whose tensors have the published names.
        name: The weights' name in the table.
        loss: The loss that wants them, for messages.
        store: Where weights come from; None: a new one.
        prefix: Take the tensors whose names begin so; others are left out.

    Returns:
        The network, in evaluation mode and without gradients of its own.

    Raises:
        WeightsError: They cannot be had, or are not what the table means; the message names the loss.
    """
    try:
        path = (store or _store()).get(name).path
        state = read(path).state
        check_finite(path, state)
    except WeightsError as error:
        raise WeightsError(
            f"The {loss} loss needs {name}, which cannot be had: {error} To train without it, give it the weight 0 "
            "in the recipe's [losses]."
        ) from error
    wanted: Mapping[str, Tensor] = {key: value for key, value in state.items() if key.startswith(prefix)}
    try:
        network.load_state_dict(wanted)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not hold {name}, which the {loss} loss needs ({first_line(error)}): get it anew with "
            f"`restorer weights remove {name}` and `restorer weights get {name}`."
        ) from error
    return network.eval().requires_grad_(False)


def _store() -> WeightStore:
    try:
        from restorer.weights import WeightStore
    except ImportError as error:  # training must run where only torch, numpy, opencv, pillow, click and tqdm are
        raise WeightsError(f"finding weight files takes a library that is not installed here ({error}).") from error
    return WeightStore()
