"""Runs that are killed at any moment lose nothing; `benchmarks/soak.py kill` does the same fifty times."""

from __future__ import annotations

import hashlib
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run, picture
from tests.cli.test_process import ROOT, command, posix

NAMES = ("a.jpg", "b.png", "c.tif", "d.webp", "e.jpg", "f.png")


def hashes(folder: str) -> dict[str, str]:
    files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(".part"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@posix
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda way: way.name)
def test_what_is_there_is_whole_and_the_rest_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: signal.Signals
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in NAMES:
        picture(f"photos/{name}")
    originals = hashes("photos")
    assert subprocess.run(command("slow", "photos", "-o", "peace", "-q"), timeout=120).returncode == 0
    process = subprocess.Popen(command("slow", "photos", "-o", "out"), stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()  # the first photograph is written, the others are on their way
    process.send_signal(way)
    process.communicate(timeout=60)
    left, whole = hashes("out"), hashes("peace")
    assert 0 < len(left) < len(whole) and left.items() <= whole.items()
    again = subprocess.run(command("slow", "photos", "-o", "out", "-q", "--skip-existing"), timeout=120)
    assert again.returncode == 0 and hashes("out") == whole and hashes("photos") == originals


@pytest.mark.parametrize(
    "stem",
    [
        "two  words",
        'it\'s "quoted"',
        "line\nbreak",
        "tab\tand\x7f",
        "e\u0301",
        "\u00e9",
        "家族",
        "-r",
        "%d*?[a]",
        "n" * 251,
    ],
)
def test_names(run: Run, photo: Path, stem: str) -> None:
    if sys.platform == "win32" and set(stem) & set('"\n\t\x7f*?'):
        pytest.skip("Windows has no such names")
    picture("x.png").rename(f"{stem}.png")
    result = run("--", f"{stem}.png")
    if len(stem) > 240:  # the result's name fits, that of its comparison, four letters longer, does not
        assert result.exit_code in (0, 4) and "Traceback" not in result.stderr
        assert run(f"{stem}.png", "--no-compare").exit_code == 0
    else:
        assert result.exit_code == 0 and result.stderr.count("\n") == 2
    assert Path(f"restored/{stem}.png").exists()


def test_composed_and_decomposed_names_stay_apart(run: Run, photo: Path) -> None:
    for stem in ("e\u0301", "\u00e9"):
        picture("x.png", 96 if len(stem) > 1 else 64).rename(f"{stem}.png")
    if len(list(Path().glob("*.png"))) != 2:
        pytest.skip("this file system takes the two names for one")
    assert run("e\u0301.png", "\u00e9.png", "--no-compare").exit_code == 0
    assert len(list(Path("restored").glob("*.png"))) == 2


@posix
def test_loops_of_links_end(run: Run, photo: Path) -> None:
    picture("album/a.png")
    for link, target in (("album/up/back", "../.."), ("album/self.jpg", "self.jpg"), ("album/again", "../album")):
        Path(link).parent.mkdir(exist_ok=True)
        Path(link).symlink_to(target)
    result = run("album", "-r", "-o", "out", "--no-compare")
    assert result.exit_code == 7 and "self.jpg" in result.stderr
    assert [path.name for path in Path("out").rglob("*.png")] == ["a.png"]


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (2, 9000)])
def test_strips(run: Run, photo: Path, size: tuple[int, int]) -> None:
    from PIL import Image

    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save("strip.png")
    assert run("strip.png").exit_code == 0
    with Image.open("restored/strip.png") as image:
        assert image.size == (2 * size[0], 2 * size[1])


def _directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Return an EXIF block of one directory: tag, type, count, value or offset."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", following) + bytes(16)


ABSURD = {
    "a directory that leads to itself": _directory((0x0112, 3, 1, 1), following=8),
    "sub-directories that lead back": _directory((0x8769, 4, 1, 8), (0x8825, 4, 1, 8)),
    "four thousand million values": _directory((0x010F, 2, 0xFFFFFFFF, 8), (0x9003, 2, 0xFFFFFFFF, 0xFFFFFFFF)),
    "a resolution divided by zero": _directory((0x011A, 5, 1, 62), (0x011B, 5, 1, 62), (0x0128, 3, 1, 2)),
    "an orientation and sizes beyond all sense": _directory((0x0112, 4, 1, 0xFFFFFFFF), (0xA002, 4, 1, 0xFFFFFFFF)),
    "types that nobody knows": _directory((0x0112, 99, 1, 6), (0x010F, 0, 5, 5)),
    "a thumbnail outside of the file": _directory((0x0201, 4, 1, 0xFFFFFF00), (0x0202, 4, 1, 0xFFFFFF00)),
}


@pytest.mark.parametrize("block", ABSURD.values(), ids=ABSURD)
def test_absurd_exif_loses_no_photograph(run: Run, photo: Path, block: bytes) -> None:
    from PIL import Image

    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save("odd.jpg", exif=b"Exif\0\0" + block)
    result = run("odd.jpg", "--upscale", "1")
    assert result.exit_code == 0, result.stderr
    with Image.open("restored/odd.jpg") as image:
        image.load()
        assert image.size == (120, 90)
