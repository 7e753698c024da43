"""What is timed: the reference's loop, faces through the program, the chip's own pace, photographs, one batch."""

from __future__ import annotations

import time
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from restorer.api import Restorer
from restorer.checkpoints import load_checkpoint
from restorer.inputs import find_inputs
from restorer.networks.stylegan2 import ModulatedConv2d
from restorer.options import RestoreOptions
from restorer.outputs import OutputOptions, plan
from restorer.pipeline.networks import OpenedNetworks
from restorer.pipeline.restore import FaceRestorer


def warm_up(run: Callable[[], object], device: str) -> None:
    """Run before the clock starts: kernels are chosen, and CUDA graphs recorded after three runs."""
    for _ in range(5 if device.startswith("cuda") else 1):
        run()


def wait_for(device: str) -> None:
    """Wait until a device has done what it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def per_second(run: Callable[[], object], count: int, device: str, seconds: float) -> float:
    """Return how many of the things that a run does, ``count`` each time, are done in a second."""
    warm_up(run, device)
    wait_for(device)
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or not runs:
        run()
        runs += 1
        wait_for(device)
    return runs * count / (time.perf_counter() - start)


def _modulate_weights(self: ModulatedConv2d, features: Tensor, code: Tensor) -> Tensor:
    """Modulate the weight, one for each face, and convolve in groups: the formula as StyleGAN2's paper gives it."""
    faces, channels, height, width = features.shape
    weight = self.weight * self.modulation(code).reshape(faces, 1, channels, 1, 1)
    if self.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    folded = features.reshape(1, faces * channels, height, width)
    out = F.conv2d(folded, weight.flatten(0, 1), padding=self.padding, groups=faces)
    return out.reshape(faces, -1, height, width)


class ReferenceLoop:
    """Restores faces as the `gfpgan` package's `GFPGANer.enhance` does: one by one, float32, torch's own settings.

    The network has the same layers, with modulated weights in place of modulated features.
    """

    def __init__(self, weights: Path, device: str) -> None:
        self.device = device
        self.module = load_checkpoint(weights).module.to(device)
        for layer in self.module.modules():
            if isinstance(layer, ModulatedConv2d):
                layer.forward = types.MethodType(_modulate_weights, layer)  # type: ignore[method-assign]

    def __call__(self, pictures: list[NDArray[np.float32]]) -> list[NDArray[np.uint8]]:
        """Restore RGB crops in 0..255."""
        restored = []
        for picture in pictures:
            image = torch.from_numpy(picture.transpose(2, 0, 1) / 255).float()
            image = ((image - 0.5) / 0.5).unsqueeze(0).to(self.device)
            with torch.no_grad():
                output = self.module(image).squeeze(0).float().detach().cpu().clamp_(-1, 1)
            numbers = ((output + 1) / 2).numpy().transpose(1, 2, 0)
            restored.append((numbers * 255).round().astype(np.uint8))
        return restored


def matmul_peak(device: str, kind: torch.dtype, side: int) -> float:
    """Return the floating-point operations a second of a large matrix product, the best of ten."""
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    best = 0.0
    for _ in range(10):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(5):
            a @ b
        wait_for(device)
        best = max(best, 5 * 2 * side**3 / (time.perf_counter() - start))
    return best


def operations_of(weights: Path) -> float:
    """Count the floating-point operations of one face, a multiplication and an addition as two."""
    checkpoint = load_checkpoint(weights)
    module, side = checkpoint.module.to("meta"), checkpoint.contract.input_size or 512
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(torch.zeros(1, 3, side, side, device="meta"))
    return float(counter.get_total_flops())


def network_alone(engine: Any, batch: int, seconds: float) -> float:  # noqa: ANN401 - a TorchEngine
    """Return faces a second of the network itself, with its input on the device and its output left there."""
    side = engine.contract.input_size
    images = torch.zeros(batch, 3, side, side, device=engine.device)
    with engine._current(), torch.inference_mode():
        return per_second(lambda: engine._plain_numbers(images), batch, engine.device, seconds)


def profile_of(restorer: FaceRestorer, faces: list[Any]) -> str:
    """Return torch's table of what one batch's time goes to."""
    device = restorer.engine.device
    warm_up(lambda: restorer(faces), device)
    on_cuda = device.startswith("cuda")
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]) as seen:
        restorer(faces)
        wait_for(device)
    order = "self_cuda_time_total" if on_cuda else "self_cpu_time_total"
    return str(seen.key_averages().table(sort_by=order, row_limit=15, max_name_column_width=60))


def photographs(album: Path, results: Path, weights: Path, device: str) -> str:
    """Restore a folder with the program, networks opened before, and say how fast it went."""
    options = RestoreOptions(model=str(weights), device=device, offline=True)
    several = "," in device
    restorer = Restorer(options, engines=None if several else OpenedNetworks(options, detector="detector-lite"))
    everything = find_inputs([album])
    several_times = 20 * len(device.split(",")) if device.startswith("cuda") else 1
    list(restorer.run(plan(everything[:several_times], OutputOptions(output=results / "warm"))))
    start = time.perf_counter()
    reports = list(restorer.run(plan(everything, OutputOptions(output=results / "timed"))))
    took = time.perf_counter() - start
    counts = Counter(report.status.value for report in reports)
    faces = sum(report.restored_faces for report in reports)
    seconds: Counter[str] = Counter()
    for report in reports:
        seconds.update(report.seconds)
    total = sum(seconds.values())
    shares = ", ".join(f"{step} {value / total:.0%}" for step, value in seconds.most_common(6))
    lines = [
        f"{len(reports) / took:.2f} photographs a second, {faces / took:.1f} faces a second "
        f"({len(reports)} photographs, {faces} faces, {took:.1f} s; "
        + ", ".join(f"{count} {status}" for status, count in counts.items())
        + ")",
        f"work by step, over all threads: {shares}",
    ]
    said = {warning for report in reports for warning in report.warnings if "bundled network" not in warning}
    failed = {str(report.reason) for report in reports if report.error is not None}
    return "\n".join([*lines, *sorted(said), *sorted(failed)])
