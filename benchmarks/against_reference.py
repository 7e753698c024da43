"""Time this project side by side with the reference program, in turn, on the same photographs, faces and threads.

    python benchmarks/against_reference.py --work /tmp/race

The reference is `gfpgan` 1.3.8 from PyPI (GFPGANer with RetinaFace-R50 and its face parsing, ×2) in an environment of
its own, which the first run makes under --work. Both sides get the same random weights of the official shapes: a
network takes as long with them as with trained ones. How faces come about all the same is said in reference/*.py.
Each row is the median of the ratios of --pairs pairs, upstream's time by ours, run in turn, so that a machine busy with
other things slows both. The whole process is timed from outside, from its start to the file. Beside the time by the
clock stands the processor's: the seconds of all threads together, which other work on the machine changes little.

Give a RetinaFace for --detector, such as the published MobileNet-0.25: it decides which views the random detector looks
at, and the bundled one, which is less sure, looks at many more.

This project draws its masks from the faces' points here, as it does until BiSeNet's weights are fetched; the
reference parses every face. `paste` leaves out the parsing network on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

HERE = Path(__file__).parent
OURS, THEIRS = HERE / "reference" / "ours.py", HERE / "reference" / "upstream.py"
PACKAGES = (
    ("setuptools<80", "wheel", "cython", "numpy", "torch", "torchvision"),
    ("--no-build-isolation", "basicsr==1.4.2", "gfpgan==1.3.8", "realesrgan==0.3.0"),
)
PORTRAIT = (1440, 1080)
GROUP = (4000, 3000)
GROUP_FACES = 8
MEGAPIXEL = (1152, 864)


@dataclass(frozen=True)
class Run:
    """One process's time and memory, with what it printed."""

    seconds: float
    processor: float
    peak_mb: float
    said: dict[str, object]

    def median(self, kind: str) -> float:
        """Return the median of the ``seconds`` or ``processor`` seconds it took itself, where it did."""
        own = self.said.get(kind)
        if isinstance(own, list):
            return float(statistics.median(own))
        return self.seconds if kind == "seconds" else self.processor


def _as_released(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename an RRDB network's tensors as Real-ESRGAN's releases have them, the only names upstream reads."""
    last = {"model.0": "conv_first", "model.1.sub.23": "conv_body", "model.3": "conv_up1", "model.6": "conv_up2"}
    last |= {"model.8": "conv_hr", "model.10": "conv_last"}
    renamed = {}
    for key, tensor in state.items():
        block = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(\w+)", key)
        if block:
            renamed[f"body.{block[1]}.rdb{block[2]}.conv{block[3]}.{block[4]}"] = tensor
        else:
            layer, _, kind = key.rpartition(".")
            renamed[f"{last[layer]}.{kind}"] = tensor
    return renamed


class Race:
    """Everything both sides share."""

    def __init__(self, work: Path, detector: str, threads: int, pairs: int, repeat: int) -> None:
        self.work, self.detector = work, detector
        self.threads, self.pairs, self.repeat = threads, pairs, repeat
        work.mkdir(parents=True, exist_ok=True)
        self.reference = self._environment(work / "reference")
        self.weights = self._weights(work / "gfpgan" / "weights")
        self.portrait = self._photo("portrait", PORTRAIT, 1)
        self.group = self._photo("group", GROUP, GROUP_FACES)
        self.small = self._photo("megapixel", MEGAPIXEL, 1)
        self.crop = work / "crop.npy"
        crop = cv2.resize(data.astronaut()[:220, 110:330], (512, 512), interpolation=cv2.INTER_CUBIC)
        np.save(self.crop, (crop.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None])

    def _environment(self, folder: Path) -> Path:
        python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            venv.create(folder, with_pip=True)
            for packages in PACKAGES:
                subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        return python

    def _weights(self, folder: Path) -> Path:
        """Write random weights of the official shapes, as facexlib and GFPGANer look for them."""
        from facexlib.detection.retinaface import RetinaFace
        from facexlib.parsing.parsenet import ParseNet
        from spandrel.architectures.ESRGAN import ESRGAN

        from restorer.networks.gfpgan import GFPGAN

        folder.mkdir(parents=True, exist_ok=True)
        makers: dict[str, Callable[[], object]] = {
            "GFPGANv1.4.pth": lambda: {"params_ema": GFPGAN().initialise().state_dict()},
            "detection_Resnet50_Final.pth": lambda: RetinaFace("resnet50", device="cpu").state_dict(),
            "parsing_parsenet.pth": lambda: ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict(),
            "RealESRGAN_x2plus.pth": lambda: {
                "params_ema": _as_released(ESRGAN(in_nc=12, scale=4, shuffle_factor=2).state_dict())
            },
        }
        for name, make in makers.items():
            if not (folder / name).exists():
                torch.manual_seed(0)
                torch.save(make(), folder / name)
        return folder

    def _photo(self, name: str, size: tuple[int, int], faces: int) -> Path:
        """Write a photograph with known faces: the astronaut's portrait, several times; and the faces beside it."""
        from restorer.options import RestoreOptions
        from restorer.photo import read_photo
        from restorer.pipeline.networks import OpenedNetworks

        path = self.work / f"{name}.png"
        if path.with_suffix(".json").exists():
            return path
        width, height = size
        columns = min(faces, 4)
        rows = -(-faces // columns)
        picture = np.full((height, width, 3), 128, np.uint8)
        side = min(width // columns, height // rows)
        portrait = cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
        for number in range(faces):
            x, y = (number % columns) * (width // columns), (number // columns) * (height // rows)
            picture[y : y + side, x : x + side] = portrait
        cv2.imwrite(str(path), picture[..., ::-1])
        find = OpenedNetworks(RestoreOptions(offline=True, device="cpu"), detector=self.detector).find()
        found = sorted(find(read_photo(path).pixels), key=lambda face: -face.size)[:faces]
        if len(found) != faces:
            raise SystemExit(f"{path} should hold {faces} faces, but {len(found)} were found")
        rows_of = [[*face.box, face.score, *face.landmarks.ravel().tolist()] for face in found]
        path.with_suffix(".json").write_text(json.dumps(rows_of), encoding="utf-8")
        return path

    def run(self, script: Path, task: str, *arguments: object) -> Run:
        """Run one side once and wait for it."""
        python = self.reference if script == THEIRS else Path(sys.executable)
        command = [python, script, task, "--weights", self.weights, "--threads", self.threads, *arguments]
        command += ["--detector", self.detector] if script == OURS else []
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "TQDM_DISABLE": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as installing them does
        start = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)), cwd=self.work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None and process.stderr is not None
        out = process.stdout.read()
        problem = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status != 0:
            raise SystemExit(f"{script.name} {task} failed:\n{problem.decode()[-2000:]}")
        processor = usage.ru_utime + usage.ru_stime
        return Run(seconds, processor, usage.ru_maxrss / 1024, json.loads(out.decode().strip().splitlines()[-1]))

    def row(self, label: str, task: str, goal: float, *arguments: object, ours: tuple[object, ...] = ()) -> None:
        """Run pairs and print their median ratio."""
        files = {script: self.work / f"{script.stem}-{task}" for script in (OURS, THEIRS)}
        suffix = ".npy" if task == "network" else ".png"
        if task == "whole":
            answers = self.work / "answers.npz"
            answers.unlink(missing_ok=True)
            ours = ("--answers", answers, *ours)
            self.run(OURS, task, "--output", files[OURS].with_suffix(suffix), *arguments, *ours)
        pairs = []
        for _ in range(self.pairs):
            both = []
            for script, more in ((THEIRS, ()), (OURS, ours)):
                output = ("--output", files[script].with_suffix(suffix))
                both.append(self.run(script, task, "--repeat", self.repeat, *output, *arguments, *more))
            pairs.append(both)
        ratios = {
            kind: statistics.median(theirs.median(kind) / mine.median(kind) for theirs, mine in pairs)
            for kind in ("seconds", "processor")
        }
        taken = [
            f"{statistics.median(pair[side].median('seconds') for pair in pairs):.2f} s "
            f"({statistics.median(pair[side].median('processor') for pair in pairs):.2f} s)"
            for side in (0, 1)
        ]
        memory = [max(pair[side].peak_mb for pair in pairs) for side in (0, 1)]
        shown = f"**{ratios['seconds']:.1f}×** ({ratios['processor']:.1f}×)"
        note = ""
        if task == "network":
            theirs, mine = (np.load(files[script].with_suffix(suffix)) for script in (THEIRS, OURS))
            error = np.abs(theirs - mine).max() / np.ptp(theirs)
            note = f", largest difference {error:.1e} of the range"
        if task == "whole":
            said = pairs[-1][1].said
            faces = pairs[-1][0].said["faces"]
            if said["faces"] != faces:
                raise SystemExit(f"the two sides restored different faces: {faces} and {said['faces']}")
            steps = said["steps"]
            assert isinstance(steps, dict)
            note = f", own steps {sum(steps.values()):.1f} s, torch imported: {said['torch']}"
        print(
            f"| {label} | {taken[0]} | {taken[1]} | {shown} | {goal:g}× | {memory[0]:.0f} / {memory[1]:.0f} MB |{note}",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for environment, weights and photographs")
    parser.add_argument("--detector", default="detector-lite", help="finds the faces; a name or a file")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3, help="repetitions within a process, where it times itself")
    parser.add_argument("--threads", type=int, help="threads of both sides; as many as processors if not given")
    parser.add_argument("--only", nargs="*", choices=("network", "portrait", "group", "paste", "background"))
    arguments = parser.parse_args()
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = arguments.threads or processors
    race = Race(arguments.work.resolve(), arguments.detector, threads, arguments.pairs, arguments.repeat)
    wanted = arguments.only or ("network", "portrait", "group", "paste", "background")
    print(f"{threads} threads, {arguments.pairs} pairs\n")
    columns = "work", "reference (processor)", "restorer (processor)", "ratio (processor)", "goal", "peak memory"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    crop = ("--crop", race.crop)
    if "network" in wanted:
        race.row("GFP-GAN 512, one face, fp32", "network", 1.6, *crop, ours=("--precision", "fp32"))
        race.row("the same, fastest precision of the chip", "network", 3, *crop)
    if "portrait" in wanted:
        photo = ("--photo", race.portrait, "--faces", race.portrait.with_suffix(".json"))
        race.row("whole process, 1440×1080, one face, ×2", "whole", 8, *photo)
    photo = ("--photo", race.group, "--faces", race.group.with_suffix(".json"))
    if "group" in wanted:
        race.row("whole process, 12 megapixels, 8 faces, ×2", "whole", 14, *photo)
    if "paste" in wanted:
        race.row("paste-back alone, 12 megapixels, 8 faces", "paste", 50, *photo)
    if "background" in wanted:
        race.row("Real-ESRGAN x2plus, 1 megapixel", "background", 2, "--photo", race.small)


if __name__ == "__main__":
    main()
