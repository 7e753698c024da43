"""Measure a GPU with one command: speed against the reference's loop, share of the roofline, and what must hold.

Needs a checkout of this project and, beside it, nothing but torch, numpy, opencv, pillow, click and tqdm:

    python benchmarks/gpu.py                      # the first CUDA device, a few minutes
    python benchmarks/gpu.py --device cuda:0,1    # photographs on several
    python benchmarks/gpu.py --model GFPGANv1.4.pth
    python benchmarks/gpu.py --device cpu --quick # a small network on the processor: exercises the script, no figures

Without `--model` the face network has random weights in the published sizes, which takes the same time. The reference
is a loop as in the `gfpgan` package's `GFPGANer`: one face at a time, in float32, with torch's own settings. Ends with
1 where something that must hold did not.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project need not be installed

import numpy as np
import torch
from on_device import pictures, speed
from on_device.correctness import all_checks, levels, open_torch, weights_of

from restorer.errors import RestorerError
from restorer.pipeline.restore import FaceRestorer
from restorer.runtime.device import computes_bf16, pick_device, split_devices
from restorer.weights import Weights

BATCHES = (1, 8, 32)


class Measurement:
    """One run of the benchmark."""

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        """Open nothing yet."""
        self.devices = [pick_device(device) for device in split_devices(arguments.device)]
        self.device, self.named, self.quick, self.work = self.devices[0], arguments.device, arguments.quick, work
        self.photos = arguments.photos or (2 if self.quick else 200)
        self.batches = (1, 2) if self.quick else BATCHES
        self.seconds = 0.1 if self.quick else 4.0
        path = arguments.model
        if path is None:
            small = {"side": 128, "narrow": 1 / 32} if self.quick else {}
            path = pictures.random_weights(work / "random.pth", **small)
        self.weights: Weights = weights_of(path)
        self.side = open_torch(self.weights, "cpu", "fp32").contract.input_size or 512
        self.precision = "bf16" if computes_bf16(self.device) else "fp32"

    def introduce(self) -> None:
        """Say what is measured where."""
        versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, ROCm {torch.version.hip}"
        if self.device.startswith("cuda"):
            properties = torch.cuda.get_device_properties(self.device)
            print(
                f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {properties.multi_processor_count} "
                f"multiprocessors, compute capability {properties.major}.{properties.minor}; {versions}; "
                f"{os.cpu_count()} cores"
            )
        else:
            print(f"{self.device}; {versions}; {os.cpu_count()} cores")
        if self.quick:
            print("--quick: a narrow network and short times, so the figures below say nothing of the real one")

    def faces(self) -> None:
        """Print faces a second at each batch, against the reference's loop."""
        crops = pictures.crops(max(self.batches), self.side)
        reference = speed.ReferenceLoop(self.weights.path, self.device)
        exact = open_torch(self.weights, self.device, "fp32")
        ours = np.stack([face.pixels for face in FaceRestorer(exact, batch=1)(pictures.aligned(crops[:2]))])
        apart = np.abs(levels(ours) - np.stack(reference(crops[:2])).astype(np.int16)).max()
        base = speed.per_second(lambda: reference(crops[:2]), 2, self.device, self.seconds)
        reference.module.cpu()  # gives the device's memory back
        operations = speed.operations_of(self.weights.path)
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        peak = speed.matmul_peak(self.device, kind, 512 if self.quick else 8192)
        print(
            f"\nthe reference's loop: {base:.2f} faces a second (its results and ours in fp32 at most {apart} levels "
            f"apart)\n{operations / 1e9:.1f} GFLOP a face; {peak / 1e12:.1f} TFLOP/s in a large {self.precision} "
            f"matrix product, so at most {peak / operations:.0f} faces a second\n"
        )
        print("| precision | batch | faces/s, with copies and checks | against the reference | network alone, faces/s "
              "| its share of the roofline |\n|---|---|---|---|---|---|")  # fmt: skip
        for precision in dict.fromkeys(("fp32", self.precision)):
            for batch in self.batches:
                self._row(precision, batch, crops, base, peak / operations)

    def _row(self, precision: str, batch: int, crops: list[np.ndarray], base: float, most: float) -> None:
        engine = open_torch(self.weights, self.device, precision)
        restorer = FaceRestorer(engine, batch=batch)
        # several groups: the next is on its way while one is computed
        groups = 2 if self.quick else 4
        work = pictures.aligned([crops[number % len(crops)] for number in range(groups * batch)])
        whole = speed.per_second(lambda: restorer(work), len(work), self.device, self.seconds)
        alone = speed.network_alone(engine, batch, self.seconds)
        share = f"{alone / most:.0%}" if precision == self.precision else "–"
        print(f"| {precision} | {batch} | {whole:.1f} | {whole / base:.1f}× | {alone:.1f} | {share} |", flush=True)
        for warning in engine.warnings:
            print(f"  {warning}")

    def folder(self) -> None:
        """Print photographs a second on a folder of made photographs."""
        album = self.work / "album"
        pictures.album(album, self.photos, (0.2, 0.3) if self.quick else (1.0, 4.0))
        print(f"\na folder on {self.named}, {self.precision}, ×2, with comparisons:", flush=True)
        print(speed.photographs(album, self.work / "results", self.weights.path, self.named))

    def profile(self) -> None:
        """Print what one batch's time goes to."""
        batch = self.batches[1]
        restorer = FaceRestorer(open_torch(self.weights, self.device, self.precision), batch=batch)
        print(f"\none batch of {batch}, {self.precision}, as torch's profiler sees it:")
        print(speed.profile_of(restorer, pictures.aligned(pictures.crops(batch, self.side))))

    def checks(self) -> bool:
        """Print what must hold; return whether all of it did."""
        print("\n| what must hold | seen | |\n|---|---|---|")
        fine = True
        for check in all_checks(self.device, self.weights, 2 if self.quick else 16):
            mark = {True: "holds", False: "FAILS", None: "not looked at"}[check.held]
            print(f"| {check.name} | {check.said} | {mark} |", flush=True)
            fine &= check.held is not False
        return fine


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as restore's --device; of several, the first is looked at")
    parser.add_argument("--model", type=Path, help="a GFP-GAN checkpoint in place of random weights")
    parser.add_argument("--photos", type=int, help="photographs in the folder (200, or 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a small network, short times: does it run at all?")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["RESTORER_CACHE"] = name
        if arguments.device == "cpu":
            os.environ["RESTORER_BACKEND"] = "torch"  # the way that GPUs go
        try:
            measurement = Measurement(arguments, Path(name))
            measurement.introduce()
            measurement.faces()
            measurement.folder()
            measurement.profile()
            return 0 if measurement.checks() else 1
        except RestorerError as error:
            print(f"gpu.py: {error}", file=sys.stderr)
            return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
