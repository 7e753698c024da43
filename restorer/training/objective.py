"""What every loss that carries networks offers to the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from restorer.training.batch import Batch


class Objective:
    """A loss with networks of its own: discriminators that learn along, or frozen ones that only look.

    Terms are raw: the loop multiplies each by its weight. They are float32 scalars.
    """

    def __init__(self) -> None:
        self.discriminators = nn.ModuleDict()
        """Networks that learn; the loop steps them on :meth:`discriminator_terms` and saves them with the run."""
        self.frozen: tuple[nn.Module, ...] = ()
        """Networks that stay as published; they are not saved with the run."""

    def generator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return what the face network is to make small.

        Args:
            output: Restored faces, N×3×S×S RGB, about [−1, 1]; gradients go through them.
            truth: What they should be, of the same shape.
            batch: What else is known of them.
        """
        raise NotImplementedError

    def discriminator_terms(self, output: Tensor, truth: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return what the discriminators are to make small; empty where there are none.

        Args:
            output: Restored faces, cut off from the face network's gradients.
            truth: What they should be.
            batch: What else is known of them.
        """
        return {}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the discriminators' parameters."""
        return self.discriminators.parameters()

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the parameters as groups for Adam, each with its learning rate; empty where none learns."""
        parameters = list(self.parameters())
        return [{"params": parameters, "lr": rate}] if parameters else []

    def state_dict(self) -> dict[str, Tensor]:
        """Return the discriminators' tensors."""
        return dict(self.discriminators.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the discriminators' tensors; every one must fit."""
        self.discriminators.load_state_dict(state)

    def to(self, device: torch.device | str) -> Objective:
        """Move all networks to a device; return the objective."""
        for network in (self.discriminators, *self.frozen):
            network.to(device)
        return self


class looking_only:  # noqa: N801 - used as a statement
    """Let gradients pass through discriminators to the image without reaching their weights."""

    def __init__(self, network: nn.Module) -> None:
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def __enter__(self) -> None:
        """Switch the weights' gradients off."""
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        """Switch them on again."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)
