"""The pictures behind niqe.json, made of a photograph that comes with scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.data import astronaut


def noisy() -> NDArray[Any]:
    noise = np.random.default_rng(1).normal(0, 12, (300, 400, 3))
    return np.clip(np.rint(astronaut()[50:350, 60:460] + noise), 0, 255).astype(np.uint8)


def soft() -> NDArray[Any]:
    picture = astronaut().astype(np.float64)
    return np.rint((picture[:-2] + 2 * picture[1:-1] + picture[2:]) / 4).astype(np.uint8)


PICTURES: dict[str, Callable[[], NDArray[Any]]] = {"astronaut": astronaut, "noisy": noisy, "soft": soft}
