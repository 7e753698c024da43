"""Begin to open the face network beside other work: before it is known whether there is a face, or even a photograph.

Importing this module loads no more than a weight store and the runtime do: the command begins here, and loads the rest
of the program meanwhile.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from restorer import runtime
from restorer.errors import RestorerError
from restorer.options import RestoreOptions
from restorer.runtime.engine import Engine
from restorer.weights import WeightStore

OPENING = "restorer-open"
"""Begins the name of the thread: when the process ends, nobody waits for it."""


def begin_to_open(store: WeightStore, options: RestoreOptions) -> Future[Engine] | None:
    """Begin to open the face network in a thread of its own where it is in the cache and its file is known.

    Compiling it keeps one core busy for most of a second, time enough to find the faces; that is cheap enough should
    there be none.

    Returns:
        The network to come, or what went wrong with it; None where it is not cheap, or where it cannot be told.
    """
    with suppress(RestorerError):
        weights = store.remembered_face_model(options.model)
        if weights is not None and runtime.opens_from_cache(weights, device=options.device):
            # loaded here: two threads that load Python modules only wait for each other
            from restorer.runtime import openvino_engine  # noqa: F401
            from restorer.runtime.openvino_library import import_openvino

            import_openvino()
            opener = ThreadPoolExecutor(1, OPENING)
            early = opener.submit(runtime.open_engine, weights, device=options.device, precision=options.precision)
            opener.shutdown(wait=False)
            return early
    return None
