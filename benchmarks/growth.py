"""How time and memory grow with megapixels, faces and photographs; and what the stages' overlap is worth in a folder.

    python benchmarks/growth.py --out growth/

Everything is made here from NASA's portrait of Eileen Collins, which scikit-image brings; every run is a process of its
own, offline, with the bundled networks unless --model names others, ×2, timed from its start to its end. The two parts:

1. *Growth*: seconds and greatest resident memory over megapixels (1 to 48, one face), faces (1 to 64 on 12 megapixels)
   and photographs (1 to 1,000 of 0.2 megapixels), drawn in OUT/growth.png. `exponent` is the slope of logarithms of
   processor seconds between the largest run and the one before it: 1 is linear, below 1 better.
2. *Overlap*: a folder of 100 photographs of 1.5 megapixels against its stages. Alone, a photograph costs what each
   stage takes when nothing else runs: read; detect, align, restore; upsample, paste, compare, write. The folder's time
   by photograph is divided by the slowest of these three. And one photograph's whole process against the sum of its
   steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage import data

MEGAPIXELS = (1, 2, 4, 8, 16, 32, 48)
FACES = (1, 4, 16, 64)
PHOTOGRAPHS = (1, 10, 100, 1000)
STAGES = {
    "read": ("read",),
    "networks": ("detect", "align", "restore"),
    "finish": ("upsample", "paste", "compare", "write"),
}
FOLDER = 100


@dataclass(frozen=True)
class Run:
    """One process."""

    seconds: float
    processor: float
    """Seconds of all its threads together, which other work on the machine changes little."""
    peak_mb: float
    reports: list[dict[str, object]]


def picture(width: int, height: int, faces: int) -> NDArray[np.uint8]:
    """Return a made photograph, RGB: soft colours with a grid of ``faces`` portraits that fill half of it."""
    rng = np.random.default_rng([width, faces])
    soft = rng.integers(40, 220, (6, 8, 3), np.uint8)
    result = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    result += rng.integers(-8, 9, (height, width, 1), np.int16)
    made = np.clip(result, 0, 255).astype(np.uint8)
    columns = math.ceil(math.sqrt(faces))
    cell = min(width, height) // columns
    side = min(round(0.7 * cell), 900)
    portrait = cv2.resize(data.astronaut()[:300, 80:380], (side, side), interpolation=cv2.INTER_AREA)
    for number in range(faces):
        x, y = cell * (number % columns) + cell // 8, cell * (number // columns) + cell // 8
        made[y : y + side, x : x + side] = portrait
    return made


def save(path: Path, megapixels: float, faces: int) -> Path:
    """Write a photograph of 4:3 as JPEG."""
    width = round(math.sqrt(megapixels * 4 / 3) * 1000)
    path.write_bytes(cv2.imencode(".jpg", picture(width, width * 3 // 4, faces)[..., ::-1])[1].tobytes())
    return path


def forget_peak() -> None:
    """Let this process' peak memory be what it has now: on Linux a child's counts from its parent's."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")


def restore(source: Path, work: Path, *options: str) -> Run:
    """Run the command on a photograph or folder in a process of its own."""
    shutil.rmtree(work / "out", ignore_errors=True)
    command = [sys.executable, "-m", "restorer", "restore", str(source), "-o", str(work / "out"), "--offline", "--json"]
    command += ["--restore-sharp"]  # made of a photograph reduced, the faces are sharp
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        start = time.perf_counter()
        forget_peak()
        process = subprocess.Popen([*command, *options], stdout=said, stderr=complaints)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        said.seek(0)
        reports = [json.loads(line) for line in said.read().splitlines()]
        if status != 0:
            complaints.seek(0)
            raise SystemExit(f"the command failed on {source}:\n{complaints.read().decode()[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, reports)


def restored_faces(run: Run) -> int:
    """Return how many faces a run restored."""
    return sum(face["restored"] for report in run.reports for face in report["faces"])  # type: ignore[attr-defined]


def grow(name: str, sizes: tuple[int, ...], runs: list[Run]) -> None:
    """Print one part of the growth."""
    print(f"\n| {name} | seconds | of the processor | peak memory | faces restored |\n|---|---|---|---|---|")
    for size, run in zip(sizes, runs, strict=True):
        print(f"| {size} | {run.seconds:.1f} | {run.processor:.1f} | {run.peak_mb:.0f} MB | {restored_faces(run)} |")
    steps = math.log(runs[-1].processor / runs[-2].processor) / math.log(sizes[-1] / sizes[-2])
    memory = math.log(runs[-1].peak_mb / runs[-2].peak_mb) / math.log(sizes[-1] / sizes[-2])
    print(f"\nexponent at the end: processor seconds {steps:.2f}, memory {memory:.2f}", flush=True)


def draw(parts: dict[str, tuple[tuple[int, ...], list[Run]]], path: Path) -> None:
    """Draw seconds and memory over each size."""
    figure = Figure(figsize=(12, 6.5), dpi=110, layout="constrained")
    panels = figure.subplots(2, len(parts), sharex="col")
    for column, (name, (sizes, runs)) in enumerate(parts.items()):
        seconds, memory = [run.seconds for run in runs], [run.peak_mb for run in runs]
        for panel, values, label in ((panels[0][column], seconds, "seconds"), (panels[1][column], memory, "peak MB")):
            panel.plot(sizes, values, "o-", color="#2a78d6", label="by the clock")
            panel.set_ylabel(label)
            panel.set_xscale("log")
            panel.grid(color="#dddddd", linewidth=0.6)
        processor = [run.processor for run in runs]
        panels[0][column].set_yscale("log")
        panels[0][column].plot(sizes, processor, "s--", color="#d6782a", label="of the processor")
        linear = [processor[-1] * size / sizes[-1] for size in sizes]
        panels[0][column].plot(sizes, linear, ":", color="#888888", label="linear")
        panels[0][column].legend(fontsize=8)
        panels[0][column].set_title(f"over {name}", fontsize=10)
        panels[1][column].set_ylim(0, 1.1 * max(memory))
        panels[1][column].set_xlabel(name)
    figure.savefig(path)


def overlap(work: Path, count: int, repeat: int, options: list[str]) -> None:
    """Print what the folder and the single photograph cost against their stages."""
    folder = work / "folder"
    folder.mkdir()
    for number in range(count):
        save(folder / f"{number:04d}.jpg", 1.5, 1 + number % 3)
    first = sorted(folder.iterdir())[:3]  # one, two and three faces
    alone = [restore(path, work, *options) for path in first for _ in range(repeat)]
    steps = [run.reports[0]["seconds"] for run in alone]
    stages = {
        name: statistics.mean(sum(step.get(part, 0.0) for part in parts) for step in steps)  # type: ignore[attr-defined]
        for name, parts in STAGES.items()
    }
    whole = restore(folder, work, *options)
    each = whole.seconds / count
    slowest = max(stages, key=lambda name: stages[name])
    shown = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in stages.items())
    print(f"\nstages alone, a photograph: {shown}")
    print(
        f"folder of {count}: {each:.3f} s a photograph, {each / stages[slowest]:.2f}× its slowest stage alone "
        f"({slowest}), peak memory {whole.peak_mb:.0f} MB"
    )
    more = [run.seconds - sum(run.reports[0]["seconds"].values()) for run in alone]  # type: ignore[attr-defined]
    print(
        f"one photograph: its process takes {statistics.median(more):.2f} s more than the sum of its steps", flush=True
    )


def main() -> None:
    """Print the tables and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for growth.png")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--photographs", type=int, default=max(PHOTOGRAPHS), help="most photographs in a run")
    parser.add_argument("--folder", type=int, default=FOLDER, help="photographs in the overlap's folder")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    options = ["--model", arguments.model]
    counts = tuple(count for count in PHOTOGRAPHS if count <= arguments.photographs)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        restore(save(work / "warm.jpg", 1, 1), work, *options)  # compiles and caches the networks
        overlap(work, arguments.folder, arguments.repeat, options)
        parts: dict[str, tuple[tuple[int, ...], list[Run]]] = {}
        runs = [restore(save(work / "m.jpg", size, 1), work, *options) for size in MEGAPIXELS]
        grow("megapixels", MEGAPIXELS, runs)
        parts["megapixels"] = (MEGAPIXELS, runs)
        runs = [restore(save(work / "f.jpg", 12, size), work, *options) for size in FACES]
        grow("faces", FACES, runs)
        parts["faces"] = (FACES, runs)
        runs = []
        for count in counts:
            album = work / f"album {count}"
            album.mkdir()
            original = save(work / "p.jpg", 0.2, 1)
            for number in range(count):
                shutil.copy(original, album / f"{number:04d}.jpg")
            runs.append(restore(album, work, *options))
        grow("photographs", counts, runs)
        parts["photographs"] = (counts, runs)
    draw(parts, arguments.out / "growth.png")
    print(f"\n{arguments.out / 'growth.png'}")


if __name__ == "__main__":
    main()
