"""Reads and writes ``.safetensors`` without the library of that name, as on a machine that has torch alone.

The format: eight bytes with the header's length, little-endian; the header, JSON padded with spaces to eight bytes,
which gives each tensor's type, shape and place; the numbers, little-endian. Every statement of a header is checked
before it is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restorer.errors import OutputError
from restorer.photo.write import write_bytes

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors and its metadata.

    Raises:
        ValueError: The file does not hold what its header says.
        OSError: It cannot be read.
    """
    content = bytearray(path.read_bytes())
    header, length = _header(content)
    metadata = header.pop("__metadata__", {})
    numbers = memoryview(content)[length:]
    return {name: _tensor(numbers, name, stated) for name, stated in header.items()}, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Return a file's metadata alone.

    Raises:
        ValueError: It is no such file.
        OSError: It cannot be read.
    """
    metadata: dict[str, str] = _header(path.read_bytes())[0].get("__metadata__", {})
    return metadata


def _header(content: bytes | bytearray) -> tuple[dict[str, Any], int]:
    """Return a file's header, and where the numbers begin."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length:
        raise ValueError("the header is cut off")
    header = json.loads(content[8 : 8 + length].decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("the header is no table")
    return header, 8 + length


def _tensor(numbers: memoryview, name: str, stated: Any) -> Tensor:  # noqa: ANN401 - whatever the header holds
    try:
        kind, shape = _TYPES[stated["dtype"]], [int(side) for side in stated["shape"]]
        start, end = (int(place) for place in stated["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the header's entry of {name} is none") from error
    count = math.prod(shape)
    if not 0 <= start <= end <= len(numbers) or min(shape, default=0) < 0 or end - start != count * kind.itemsize:
        raise ValueError(f"the place of {name} is not in the file, or does not fit its shape")
    if count == 0:
        return torch.empty(shape, dtype=kind)
    # a copy: places need not be multiples of the type's size
    return torch.frombuffer(bytearray(numbers[start:end]), dtype=kind).reshape(shape)


def save_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file, whole or not at all, and the folders it lies in; see :func:`safetensors_bytes`.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    write_bytes(safetensors_bytes(tensors, metadata), path)


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return what a file of these tensors holds.

    Args:
        tensors: On any device, of any layout.
        metadata: Written along.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, place = [], 0
    # wide types first, as the library does it, so that every tensor begins at a multiple of its width
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name].detach().cpu().contiguous()
        part = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        end = place + len(part)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        parts.append(part)
        place = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
