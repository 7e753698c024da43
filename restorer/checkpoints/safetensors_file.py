"""Reads ``.safetensors`` where the library of that name is not installed, as in a plain PyTorch image.

The format: eight bytes with the header's length, little-endian; the header, JSON, which gives each tensor's type, shape
and place; the numbers. Every statement of the header is checked before it is used.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors and its metadata.

    Raises:
        ValueError: The file does not hold what its header says.
        OSError: It cannot be read.
    """
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length:
        raise ValueError("the header is cut off")
    header = json.loads(content[8 : 8 + length].decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("the header is no table")
    metadata = header.pop("__metadata__", {})
    numbers = memoryview(content)[8 + length :]
    return {name: _tensor(numbers, name, stated) for name, stated in header.items()}, metadata


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
