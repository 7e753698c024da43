"""What every engine offers, whichever library runs the network."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract, Precision

Backend = Literal["torch", "openvino"]


class Engine(Protocol):
    """A network that is ready to run. One thread at a time may call it."""

    contract: NetworkContract
    """What the network expects and gives."""
    device: str
    """``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    precision: Precision
    """Arithmetic inside the network; inputs and outputs are float32 in any case."""
    backend: Backend
    """The library that runs it."""
    warnings: list[str]
    """What did not go as planned and was mended: a cache rebuilt, a batch halved. One sentence each, in order."""

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network.

        Args:
            batch: Shape (N, 3, H, W), colour order and range as the contract says.

        Returns:
            The network's outputs in its own order, float32, each of length N along the first axis.

        Raises:
            OutOfMemoryError: The memory does not suffice even for one sample.
            ValueError: The batch's shape does not fit the contract.
        """
        ...

    def describe(self) -> str:
        """Say in a few words what runs where, such as ``openvino, cpu, bf16``."""
        ...


def check_batch(batch: NDArray[np.float32], contract: NetworkContract) -> None:
    """Raise ValueError unless a batch's shape fits the contract."""
    if batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape:
        raise ValueError(f"{contract.architecture} takes batches of shape (N, 3, H, W), not {batch.shape}")
    height, width = batch.shape[2:]
    if contract.input_size is not None and (height, width) != (contract.input_size, contract.input_size):
        raise ValueError(f"{contract.architecture} takes {contract.input_size} pixels square, not {width}×{height}")
    if height % contract.size_multiple or width % contract.size_multiple:
        raise ValueError(
            f"{contract.architecture} takes sides in multiples of {contract.size_multiple}, not {width}×{height}"
        )


def join_outputs(parts: list[tuple[NDArray[np.float32], ...]]) -> tuple[NDArray[np.float32], ...]:
    """Join the outputs of several runs along the first axis."""
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))
