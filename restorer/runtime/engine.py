"""What every engine offers, whichever library runs the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from restorer.contract import NetworkContract, Precision

Backend = Literal["torch", "openvino"]


class Engine(Protocol):
    """A network that is ready to run. Any thread may call it; it then waits for its turn."""

    contract: NetworkContract
    """What the network expects and gives."""
    device: str
    """``cpu``, ``cuda``, ``cuda:N``, ``mps``, ``intel`` or ``intel:N``."""
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


@runtime_checkable
class PictureEngine(Engine, Protocol):
    """An engine that turns pictures into the network's numbers, and back, on its device."""

    def pictures(self, pictures: Sequence[NDArray[np.float32]], at_once: int) -> Iterator[NDArray[np.float32]]:
        """Run an image-to-image network on pictures, in groups, the next on its way while one is computed.

        On a GPU a group that is not full is filled up, so that a picture's result does not depend on how many others
        happened to be there: kernels are chosen by the shape of the whole group.

        Args:
            pictures: H×W×3 RGB float32 in 0..255, all of one shape; at least one.
            at_once: Pictures in a group; fewer where memory is short, and one on a processor.

        Yields:
            For each group N×H'×W'×3 RGB float32 in 0..255, NaN where the network gave no finite number.

        Raises:
            OutOfMemoryError: The memory does not suffice even for one picture.
            ValueError: The pictures' shape does not fit the contract.
        """
        ...

    def room(self, side: int, most: int) -> int:
        """Return how many square images of ``side`` pixels at once, up to ``most``, are worth while and fit."""
        ...


def check_batch(batch: NDArray[np.float32], contract: NetworkContract) -> None:
    """Raise ValueError unless a batch's shape fits the contract."""
    check_shape(batch.shape, contract)


def check_shape(shape: tuple[int, ...], contract: NetworkContract) -> None:
    """Raise ValueError unless the shape of a batch fits the contract."""
    if len(shape) != 4 or shape[1] != 3 or 0 in shape:
        raise ValueError(f"{contract.architecture} takes batches of shape (N, 3, H, W), not {shape}")
    height, width = shape[2:]
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
