"""What a weight file holds: read as data only, names cleaned, damage told apart from danger."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restorer.checkpoints.safetensors_file import read_safetensors
from restorer.errors import WeightsError

StateDict = dict[str, Tensor]

SUPPORTED = (
    "GFP-GAN (clean: 1.2, 1.3, 1.4), RetinaFace (ResNet-50, MobileNet-0.25), BiSeNet (19 classes), ArcFace (IR-SE-50) "
    "and Real-ESRGAN (RRDB, compact)"
)
"""The architectures, as messages name them."""

CONFIG_KEY = "restorer"
"""Key of this project's own JSON in a file's metadata: ``contract`` and, for GFP-GAN, ``sizes``."""
_WEIGHT_GROUPS = ("params_ema", "params", "state_dict")
"""Where training programs keep the weights inside a checkpoint, the best first (EMA: averaged over training)."""


@dataclass(frozen=True)
class RawCheckpoint:
    """What a file holds, before anybody asked what it is."""

    state: StateDict
    config: dict[str, Any]


def read(path: Path) -> RawCheckpoint:
    """Read a weight file of either format; the content decides which, not the suffix.

    Raises:
        WeightsError: The file is missing, no weight file, damaged, or wants to run code.
    """
    try:
        with path.open("rb") as file:
            start = file.read(256)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights: fetch the file itself with 'git lfs pull'.")
    if start.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not weights: download the file itself.")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= 100_000_000:  # the format's own limit
        return _read_safetensors(path)
    if start.startswith(b"PK\x03\x04") or re.match(rb"\x80[\x02-\x05]", start):
        return _read_torch(path)
    reason = "it is empty" if size == 0 else "it starts like no such file"
    raise WeightsError(f"{path} is neither a PyTorch checkpoint nor a safetensors file: {reason}; download it again.")


def _read_safetensors(path: Path) -> RawCheckpoint:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        return _read_safetensors_alone(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return RawCheckpoint(_strip(state), _parse_config(path, metadata.get(CONFIG_KEY, "{}")))


def _read_safetensors_alone(path: Path) -> RawCheckpoint:
    try:
        state, metadata = read_safetensors(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return RawCheckpoint(_strip(state), _parse_config(path, metadata.get(CONFIG_KEY, "{}")))


def _read_torch(path: Path) -> RawCheckpoint:
    try:
        with quiet():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unsafe(path, error) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not a network's weights; supported are {SUPPORTED}."
        )
    config = _parse_config(path, content.get(CONFIG_KEY, {}))
    group: Mapping[Any, Any] = next(
        (content[name] for name in _WEIGHT_GROUPS if isinstance(content.get(name), Mapping)), content
    )
    state = {str(key): value for key, value in group.items() if isinstance(value, Tensor)}
    if not state:
        raise WeightsError(f"{path} holds no tensors; supported are {SUPPORTED}.")
    return RawCheckpoint(_strip(state), config)


def _unsafe(path: Path, error: pickle.UnpicklingError) -> WeightsError:
    """Say what torch's reader refused, without its advice to read the file unsafely."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return WeightsError(
            f"{path} wants to run code ({named[1]}) when read, and is refused: use a file that holds tensors only."
        )
    return WeightsError(
        f"{path} is damaged, or holds more than tensors, and is refused: download it again from its publisher."
    )


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = first_line(error).split(". ")[0]  # torch adds a guess that says the same
    return WeightsError(f"{path} is truncated or damaged ({reason}): download it again.")


def _strip(state: StateDict) -> StateDict:
    """Remove the prefix that torch's data-parallel wrapper puts before every name."""
    while state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return state


def _parse_config(path: Path, text: object) -> dict[str, Any]:
    try:
        config = json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise _damaged(path, error) from error
    return config if isinstance(config, dict) else {}


def check_finite(path: Path, state: StateDict) -> None:
    """Raise WeightsError where a tensor holds NaN or infinity: a training that diverged, or a damaged file."""
    for key, tensor in state.items():
        # the sum of a tensor with a single NaN or infinity is one, too; cheaper than a mask of its size
        if tensor.is_floating_point() and not math.isfinite(float(tensor.sum(dtype=torch.float64))):
            raise WeightsError(f"{path} holds numbers that are not finite (in {key}): download it again.")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries' deprecation warnings from the user, who can do nothing about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_line(error: BaseException) -> str:
    """Shorten an exception's text for use within a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # load_state_dict's first line names the class only, its second the first tensor that does not fit
    text = " ".join(lines[:2]) if lines and lines[0].startswith("Error(s) in loading") else lines[0] if lines else ""
    return (text[:200] or type(error).__name__).rstrip(".:")
