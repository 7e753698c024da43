"""Restore a folder of mixed photographs with the command, and watch its memory and its pace.

The photographs are made here, with a fixed seed: JPEG, PNG, WebP, TIFF and GIF, in colour, grey, 16 bits, with
transparency, of 0.1 to 12 megapixels, with none to six faces (NASA's portrait of Eileen Collins, which scikit-image
brings), and a few files that are broken or empty. The command runs as its own process; its resident memory is read
twice a second.

    python benchmarks/folder.py --photos 300
    python benchmarks/folder.py --photos 300 -- --upscale 1 --no-compare
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

SIZES = ((360, 280), (640, 480), (800, 600), (1024, 768), (1600, 1200), (4000, 3000))
ODDS = (0.2, 0.25, 0.25, 0.2, 0.09, 0.01)
KINDS = (
    "jpg",
    "jpg",
    "jpg",
    "jpg",
    "grey.jpg",
    "png",
    "alpha.png",
    "deep.png",
    "deep.tif",
    "webp",
    "gif",
    "broken.jpg",
)
INTERVAL = 0.5
"""Seconds between two looks at the memory."""


def scene(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a made photograph: soft colours, some texture, and faces of different sizes on it."""
    width, height = SIZES[rng.choice(len(SIZES), p=ODDS)]
    soft = rng.integers(40, 220, (6, 8, 3), np.uint8)
    picture = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    picture += rng.integers(-8, 9, (height, width, 1), np.int16)
    result = np.clip(picture, 0, 255).astype(np.uint8)
    portrait = data.astronaut()[:300, 80:380]
    for _ in range(int(rng.choice(7, p=(0.25, 0.35, 0.2, 0.08, 0.06, 0.03, 0.03)))):
        side = int(rng.uniform(0.25, 0.6) * min(width, height))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        result[y : y + side, x : x + side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    return result


def write(picture: NDArray[np.uint8], path: Path, kind: str, rng: np.random.Generator) -> None:
    """Write a photograph as its kind says."""
    if kind.startswith("deep"):
        deep = picture[..., ::-1].astype(np.uint16) * 257
        path.write_bytes(cv2.imencode(f".{kind.split('.')[1]}", deep)[1].tobytes())
        return
    image = Image.fromarray(picture)
    if kind == "grey.jpg":
        image = image.convert("L")
    elif kind == "alpha.png":
        image.putalpha(Image.fromarray(rng.integers(0, 256, picture.shape[:2], np.uint8)))
    image.save(path, **({} if kind == "gif" else {"quality": 90}))
    if kind == "broken.jpg":
        content = path.read_bytes()
        path.write_bytes(content[: int(rng.choice((0, len(content) // 2)))])


def make(folder: Path, count: int) -> float:
    """Fill a folder with photographs; return their megabytes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        kind = KINDS[rng.integers(len(KINDS))]
        path = folder / f"shelf {number % 5}" / f"{number:04d}.{kind.split('.')[-1]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(scene(rng), path, kind, rng)
    return sum(path.stat().st_size for path in folder.rglob("*.*")) / 1e6


def resident(pid: int) -> float:
    """Return a process' resident memory in megabytes."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(shown or 0) / 1024


def main() -> None:
    """Make the folder, run the command, print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("options", nargs="*", help="further options of the command, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        album, results = Path(name, "album"), Path(name, "out")
        print(f"{arguments.photos} photographs, {make(album, arguments.photos):.0f} MB")
        command = [
            sys.executable,
            "-m",
            "restorer",
            "restore",
            str(album),
            "-r",
            "-o",
            str(results),
            "--offline",
            "--json",
        ]
        start = time.perf_counter()
        with tempfile.TemporaryFile("w+") as talk:
            process = subprocess.Popen(
                [*command, *arguments.options], stdout=subprocess.PIPE, stderr=talk, text=True, env=dict(os.environ)
            )
            reports: list[dict[str, object]] = []
            moments: list[tuple[float, int, float]] = []

            def watch() -> None:
                while process.poll() is None:
                    moments.append((time.perf_counter() - start, len(reports), resident(process.pid)))
                    time.sleep(INTERVAL)

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            assert process.stdout is not None
            for line in process.stdout:
                reports.append(json.loads(line))
            code = process.wait()
            wall = time.perf_counter() - start
            watcher.join()
            talk.seek(0)
            print("exit code", code, "|", talk.read().splitlines()[-1])
    order = [str(report["input"]) for report in reports]
    print("in input order:", order == sorted(order), "|", dict(collections.Counter(str(r["status"]) for r in reports)))
    print("seconds  done  MB resident, greatest since the line before")
    for part in np.array_split(np.arange(len(moments)), min(15, len(moments))):
        seconds, done, _ = moments[part[-1]]
        print(f"{seconds:7.0f} {done:5d}  {max(moments[i][2] for i in part):.0f}")
    thirds = [max(memory for _, done, memory in moments if n <= done * 3 / len(reports) <= n + 1) for n in range(3)]
    print("greatest by thirds of the photographs, MB:", ", ".join(f"{memory:.0f}" for memory in thirds))
    print(f"{len(reports) / wall:.2f} photographs per second, {wall:.0f} s in all")


if __name__ == "__main__":
    main()
