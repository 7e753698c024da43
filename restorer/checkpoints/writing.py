"""The safetensors format, written without its library, so that a machine that has torch alone can export a network.

Format: eight bytes of the header's length, the header (JSON: each tensor's type, shape and place; padded with spaces to
eight bytes), then the tensors one after the other, little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return what a .safetensors file of these tensors holds.

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
