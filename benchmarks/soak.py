"""Run the program over many generated photographs, and break it off at random moments; check that nothing is lost.

    python benchmarks/soak.py photos --count 1000            # networks of this script: what is tried is all around them
    python benchmarks/soak.py photos --count 60 --bundled    # the bundled networks
    python benchmarks/soak.py kill --times 50                # SIGKILL, SIGTERM, SIGINT and a full disk in turn

`photos` writes photographs of every format, size and depth that can be written, every twentieth broken, restores them
in one run, and checks that every good one has a result that opens at its size, that every broken one is named with a
reason, and that memory does not grow. `kill` starts the command, ends it at a random moment, and checks that every file
under a final name holds the same bytes as in a run left in peace, that originals are as they were, and that
--skip-existing finishes the rest with the same bytes. A full disk needs the right to mount a tmpfs. Exit code 1 if
anything is amiss.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

BROKEN_EVERY = 20
SUFFIXES = (".jpg", ".png", ".tif", ".webp", ".bmp", ".ppm", ".gif", ".avif", ".heic", ".jp2", "16.png", "16.tif")
MODES = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK")
SIZES = ((1, 1), (1, 900), (900, 1), (17, 23), (96, 80), (333, 251), (640, 480), (1200, 900))


def scene(rng: np.random.Generator, width: int, height: int, *, person: bool = False) -> NDArray[np.uint8]:
    """Return patches of colour, or a person where there is room for one."""
    if person and min(width, height) >= 200:
        from skimage.data import astronaut

        part = astronaut()[: 512 * min(height, width) // width, : 512 * min(height, width) // height]
        return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    small = rng.integers(0, 255, (max(1, height // 16), max(1, width // 16), 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, 3)


def encoded(rng: np.random.Generator, suffix: str, mode: str, size: tuple[int, int], *, person: bool = False) -> bytes:
    """Return a photograph as a file's bytes."""
    pixels = scene(rng, *size, person=person)
    if suffix.startswith("16"):
        deep = pixels.astype(np.uint16) * 200 + rng.integers(0, 200, pixels.shape, np.uint16)
        return cv2.imencode(suffix[2:], deep[..., 0] if mode == "L" else deep)[1].tobytes()
    if mode not in writable(suffix):
        mode = "RGB"
    image = Image.fromarray(pixels).convert(mode)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(1, 9))
    with_exif = {"exif": exif} if suffix in (".jpg", ".png", ".webp", ".avif", ".heic") else {}
    kind = {".jpg": "JPEG", ".tif": "TIFF", ".heic": "HEIF", ".jp2": "JPEG2000"}.get(suffix, suffix[1:].upper())
    image.save(stream, kind, **with_exif)
    return stream.getvalue()


def writable(suffix: str) -> tuple[str, ...]:
    """Return the modes that Pillow writes into a format."""
    return {
        ".jpg": ("RGB", "L", "CMYK"),
        ".png": ("RGB", "L", "RGBA", "LA", "P", "1"),
        ".tif": ("RGB", "L", "RGBA", "P", "1", "CMYK"),
        ".webp": ("RGB", "RGBA"),
        ".bmp": ("RGB", "L", "P", "1"),
        ".ppm": ("RGB", "L", "1"),
        ".gif": ("L", "P", "1"),
        ".avif": ("RGB", "RGBA"),
        ".heic": ("RGB", "RGBA"),
        ".jp2": ("RGB", "L"),
    }[suffix]


def broken(rng: np.random.Generator, data: bytes) -> bytes:
    """Return a file that cannot be read: cut off, empty, text, or zeros after its head."""
    kind = int(rng.integers(4))
    return (data[: len(data) // 3], b"", b"Dear aunt, here is the photograph you wanted.", data[:12] + bytes(400))[kind]


def generate(folder: Path, count: int, seed: int, *, person: bool = False) -> dict[str, bool]:
    """Write photographs; return for each name whether it is good."""
    from pillow_heif import register_heif_opener

    register_heif_opener()
    rng = np.random.default_rng(seed)
    good = {}
    for number in range(count):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        mode = MODES[int(rng.integers(len(MODES)))]
        size = SIZES[int(rng.integers(len(SIZES)))]
        if suffix in (".avif", ".heic") and min(size) < 16:  # encoders differ in what they take
            size = (96, 80)
        data = encoded(rng, suffix, mode, size, person=person)
        whole = number % BROKEN_EVERY != BROKEN_EVERY - 1
        name = f"{number:05}{suffix if not suffix.startswith('16') else '_' + suffix}"
        (folder / name).write_bytes(data if whole else broken(rng, data))
        good[name] = whole
    return good


def resident() -> float:
    """Return this process' resident memory in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(arguments: argparse.Namespace) -> int:
    """Restore the photographs and check what came out."""
    from restorer import OutputOptions, RestoreOptions, Restorer, Status
    from restorer.runtime.allocator import share_arenas
    from tests.fakes import FakeEngine, FakeNetworks, brighter

    share_arenas()  # as the command does
    with tempfile.TemporaryDirectory() as place:
        photos, results = Path(place, "photos"), Path(place, "results")
        photos.mkdir()
        good = generate(photos, arguments.count, arguments.seed, person=arguments.bundled)
        engines = None if arguments.bundled else FakeNetworks(engine=FakeEngine(brighter))
        restorer = Restorer(RestoreOptions(offline=True), engines=engines)
        wrong, counts, memory = [], Counter[str](), []
        start = time.perf_counter()
        for number, report in enumerate(restorer.restore_files([photos], OutputOptions(output=results))):
            name = Path(report.input).name
            counts[report.status.value] += 1
            memory.append(resident())
            if good[name] == (report.status is Status.FAILED):
                wrong.append(f"{name}: {report.status.value}, {report.reason}")
            elif report.status is Status.FAILED and name not in str(report.reason):
                wrong.append(f"{name} is not named: {report.reason}")
            elif report.output is not None:
                with Image.open(report.output) as image:
                    image.load()
                    if image.size != report.size_out:
                        wrong.append(f"{name}: {image.size} in place of {report.size_out}")
            if number % 100 == 99:
                print(f"{number + 1:6} done, {resident():.0f} MB", flush=True)
        seconds = time.perf_counter() - start
        if sum(counts.values()) != len(good):
            wrong.append(f"{sum(counts.values())} reports for {len(good)} photographs")
        # The half in the middle against the last quarter: what a run needs at once is needed by then.
        quarter = len(memory) // 4
        grown = max(memory[-quarter:]) - max(memory[quarter : 3 * quarter]) if quarter else 0.0
        if grown > arguments.growth:
            wrong.append(f"memory grew by {grown:.0f} MB")
        print(f"{len(good)} photographs, {sum(not whole for whole in good.values())} broken: {dict(counts)}")
        print(f"{seconds:.0f} s; memory at most {max(memory):.0f} MB, in the last quarter {grown:+.0f} MB")
    print(*wrong, sep="\n")
    return bool(wrong)


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file under a final name."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".part"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def command(photos: Path, results: Path, *more: str, behaviour: str = "bright") -> subprocess.Popen[bytes]:
    """Start the command with the test's face network."""
    line = [sys.executable, "-m", "tests.fakes", behaviour, str(photos), "-o", str(results), "-q", *more]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(arguments: argparse.Namespace) -> int:
    """End the command at random moments and check what it left."""
    chance = random.Random(arguments.seed)
    ways = ("SIGKILL", "SIGTERM", "SIGINT", "disk")
    with tempfile.TemporaryDirectory() as place:
        photos, peace = Path(place, "photos"), Path(place, "peace")
        photos.mkdir()
        rng = np.random.default_rng(arguments.seed)
        for number in range(arguments.photos):
            suffix = (".jpg", ".png", ".tif", ".webp")[number % 4]
            (photos / f"{number:03}{suffix}").write_bytes(encoded(rng, suffix, "RGB", (240, 180)))
        originals = hashes(photos)
        start = time.perf_counter()
        if command(photos, peace).wait() != 0:
            raise SystemExit("the run left in peace failed")
        whole, lasted = hashes(peace), time.perf_counter() - start
        wrong, tally = [], Counter[str]()
        for number in range(arguments.times):
            way, results = ways[number % len(ways)], Path(place, f"results{number}")
            results.mkdir()
            label = f"{number} {way}"
            if way == "disk" and not mounted(results, kilobytes=chance.randrange(100, size_of(peace) // 1024)):
                tally["disk: no right to mount"] += 1
                continue
            process = command(photos, results)
            if way == "disk":
                ended = process.wait()
                if ended != 4:
                    wrong.append(f"{label}: exit code {ended} in place of 4")
            else:
                time.sleep(chance.uniform(0, lasted))
                process.send_signal(getattr(signal, way))
                process.wait()
            left = hashes(results)
            tally[way] += 1
            wrong += [f"{label}: {name} is not whole" for name in left if left[name] != whole.get(name)]
            if way == "disk":
                subprocess.run(["mount", "-o", "remount,size=1g", str(results)], check=True)
            if command(photos, results, "--skip-existing").wait() != 0 or hashes(results) != whole:
                wrong.append(f"{label}: --skip-existing did not finish with the same bytes")
            if hashes(photos) != originals:
                wrong.append(f"{label}: an original changed")
            if way == "disk":
                subprocess.run(["umount", str(results)], check=True)
            print(f"{label}: {len(left)} of {len(whole)} files were there", flush=True)
    print(f"{dict(tally)}, {len(wrong)} amiss")
    print(*wrong, sep="\n")
    return bool(wrong)


def size_of(folder: Path) -> int:
    """Return the bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def mounted(folder: Path, kilobytes: int) -> bool:
    """Put a small disk in a folder's place; return whether that was allowed."""
    line = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    return subprocess.run(line, capture_output=True).returncode == 0


def main() -> int:
    """Do what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    many = tasks.add_parser("photos", help="many photographs in one run")
    many.add_argument("--count", type=int, default=1000)
    many.add_argument("--bundled", action="store_true", help="with the bundled networks")
    many.add_argument("--growth", type=float, default=60.0, help="MB that memory may grow in the last quarter")
    ending = tasks.add_parser("kill", help="runs ended at random moments")
    ending.add_argument("--times", type=int, default=50)
    ending.add_argument("--photos", type=int, default=8)
    for task in (many, ending):
        task.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    return soak(arguments) if arguments.task == "photos" else kill(arguments)


if __name__ == "__main__":
    sys.exit(main())
