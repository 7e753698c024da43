"""CUDA graphs: a network's hundreds of launches recorded once for a shape of input, then replayed as one.

At small batches a GPU waits for Python to launch the next kernel; a replay has no such gaps. A graph is recorded only
for shapes that come again, is compared with the plain run before it is used, and is done without where anything about
it fails.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

GRAPHS_VARIABLE = "RESTORER_GRAPHS"
"""Environment variable: 0 switches CUDA graphs off."""
CAPTURE_AFTER = 3
"""Plain runs of a shape before it is worth recording: fewer and one photograph would pay for it in vain."""
MOST_GRAPHS = 8
"""Shapes recorded per network: each holds memory of its own."""

Outputs = tuple[Tensor, ...]
Run = Callable[[Tensor], Outputs]
Capture = Callable[[Run, Tensor], Run]
"""A network and an input of the shape to record -> what replays it."""


class Graphs:
    """A network that is recorded shape by shape; called like the network itself."""

    def __init__(self, run: Run, capture: Capture, *, after: int = CAPTURE_AFTER, most: int = MOST_GRAPHS) -> None:
        """Wrap a network.

        Args:
            run: The network.
            capture: Records it; raises RuntimeError where it cannot.
            after: Plain runs of a shape before it is recorded.
            most: Number of shapes that are recorded.
        """
        self._run, self._capture, self._after, self._most = run, capture, after, most
        self._uses: Counter[tuple[int, ...]] = Counter()
        self._replays: dict[tuple[int, ...], Run] = {}
        self.fault: str | None = None
        """Why nothing is recorded any more; None as long as it is."""

    def __call__(self, images: Tensor) -> Outputs:
        """Run the network on N×3×H×W; the outputs are the caller's own."""
        shape = tuple(images.shape)
        replay = self._replays.get(shape)
        if replay is not None:
            return replay(images)
        outputs = self._run(images)
        self._uses[shape] += 1
        if self.fault is None and self._uses[shape] >= self._after and len(self._replays) < self._most:
            self._record(shape, images, outputs)
        return outputs

    def drop(self, reason: str) -> bool:
        """Give the graphs' memory back and record no more; tell whether there was anything to give back."""
        held = bool(self._replays)
        self._replays.clear()
        self.fault = self.fault or reason
        return held

    def _record(self, shape: tuple[int, ...], images: Tensor, expected: Outputs) -> None:
        try:
            replay = self._capture(self._run, images)
            same = all(torch.equal(a, b) for a, b in zip(replay(images), expected, strict=True))
        except RuntimeError as error:  # short memory and what CUDA refuses to record are RuntimeErrors, too
            self.drop((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))
            return
        if same:
            self._replays[shape] = replay
        else:
            self.drop("its numbers differ from the plain run's")


def graphs_wanted() -> bool:
    """Tell whether the environment leaves CUDA graphs on."""
    return os.environ.get(GRAPHS_VARIABLE, "1").strip() != "0"


def cuda_capture() -> Capture:
    """Return what records CUDA graphs that share one pool of memory, as graphs that never run at once may."""
    pools: list[Any] = []
    new_stream: Callable[[], Any] = torch.cuda.Stream

    def capture(run: Run, images: Tensor) -> Run:
        if not pools:
            pools.append(torch.cuda.graph_pool_handle())
        torch.cuda.empty_cache()  # the graph gets memory of its own beside what the plain runs hold
        given = images.clone()
        side = new_stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # CUDA wants kernels loaded before they are recorded, and not on the main stream
            run(given)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads may go on with other networks meanwhile
        with torch.cuda.graph(graph, pool=pools[0], capture_error_mode="thread_local"):
            outputs = run(given)

        def replay(fresh: Tensor) -> Outputs:
            given.copy_(fresh)
            graph.replay()
            return tuple(output.clone() for output in outputs)

        return replay

    return capture
