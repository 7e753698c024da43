"""Measure how far a tile's result differs from the whole picture's, by the distance from where the tile was cut.

The networks have the shapes of Real-ESRGAN's x2plus, x4plus and general-x4v3 and random weights, so no file is needed:
once as torch draws them, then with the inner layers' weights made larger, so that far more comes from afar. A picture
and its right part alone go through each; the differences are in levels of 255, after the result was brought to a
standard deviation of 50 levels, about that of a photograph.

    python benchmarks/tiles.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN

DISTANCES = (0, 2, 4, 8, 12, 16, 20, 24, 32)
"""In pixels of the photograph."""
NETWORKS = ("x2plus", "x4plus", "general-x4v3")
INNER = ("RDB", "body.")
"""Parts of the names of the layers that are made stronger."""


def network(name: str, strength: float) -> tuple[torch.nn.Module, int]:
    """Return a network with random weights, and its factor."""
    torch.manual_seed(0)
    shuffle = 2 if name == "x2plus" else None
    if name == "general-x4v3":
        module: torch.nn.Module = Compact(num_feat=64, num_conv=32, upscale=4, act_type="prelu")
    else:
        module = ESRGAN(in_nc=12 if shuffle else 3, scale=4, shuffle_factor=shuffle)
    for key, value in module.named_parameters():
        if any(part in key for part in INNER) and value.dim() == 4:
            value.data *= strength
    return module.eval(), 4 // (shuffle or 1)


def differences(module: torch.nn.Module, factor: int, picture: NDArray[np.uint8], cut: int) -> NDArray[np.float64]:
    """Return differences by distance from the cut: columns of the photograph × all else, in levels."""
    batch = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        whole = module(batch)[..., cut * factor :]
        part = module(batch[..., cut:].contiguous())
    levels = ((part - whole) / whole.std() * 50).abs().double().numpy()[0]
    columns = levels.shape[2] // factor
    by_column = levels.reshape(3, -1, columns, factor).transpose(2, 0, 1, 3)
    distances: NDArray[np.float64] = by_column.reshape(columns, -1)
    return distances


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64, help="height of the picture")
    parser.add_argument("--columns", type=int, default=160, help="width of the picture, cut in its middle")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photo = data.astronaut()[80 : 80 + arguments.rows, 140 : 140 + arguments.columns]
    print("network      weights  context  greatest difference beyond it  99.9 %  (levels of 255)")
    for name in arguments.network or NETWORKS:
        for strength in (1.0, 2.0, 3.0):
            start = time.perf_counter()
            module, factor = network(name, strength)
            by_distance = differences(module, factor, photo, arguments.columns // 2 // 2 * 2)
            for distance in DISTANCES:
                beyond = by_distance[distance:]
                quantile = float(np.quantile(beyond, 0.999))
                print(f"{name:12} × {strength:3.1f}    {distance:7d}  {beyond.max():29.4f}  {quantile:.4f}")
            print(f"         ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
