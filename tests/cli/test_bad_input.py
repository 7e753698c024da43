"""Bad input, places that cannot be written and broken checkpoints: a sentence, the right code, nothing half-written.

All of it holds for root, too, whom permissions do not stop.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from restorer.checkpoints import save_checkpoint
from restorer.cli.restore import restore_command
from restorer.pipeline import networks as real
from tests.cli.conftest import Run, picture
from tests.fakes import FakeNetworks
from tests.networks_at_hand import compact, save_pth, small_gfpgan

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux' own files")
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX' shell and limits")


def files(folder: str = ".") -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def saved(pixels: np.ndarray, name: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **settings)
    return stream.getvalue()


SMALL = np.zeros((16, 16, 3), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
JPEG = saved(NOISE, "JPEG")


# Photographs


def _png(width: int, height: int) -> bytes:
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(bytes(99)),
        b"IEND",
    ]
    packed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


# Files of a few bytes whose headers claim 20000×20000 pixels; the small ones of Pillow are 16×16.
BOMBS = {
    "bomb.png": _png(20000, 20000),
    "bomb.jpg": _patched(
        saved(SMALL, "JPEG"),
        b"\xff\xc0\x00\x11\x08\0\x10\0\x10",
        b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 20000, 20000),
    ),
    "bomb.bmp": _patched(saved(SMALL, "BMP"), struct.pack("<III", 40, 16, 16), struct.pack("<III", 40, 20000, 20000)),
    "bomb.tif": _patched(
        _patched(
            saved(SMALL, "TIFF"),
            struct.pack("<HHII", 256, 4, 1, 16),
            struct.pack("<HHII", 256, 4, 1, 20000),
        ),
        struct.pack("<HHII", 257, 4, 1, 16),
        struct.pack("<HHII", 257, 4, 1, 20000),
    ),
}
BAD = {
    **{name: (data, "20000×20000 is more than 300 megapixels") for name, data in BOMBS.items()},
    "text.jpg": (b"Dear aunt, here are the photographs.", "it is not a photograph"),
    "zero.jpg": (b"", "it is empty"),
    "head.jpg": (JPEG[:30], "damaged or cut off"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "damaged or cut off"),
    "tail.jpg": (JPEG[:-100], "damaged or cut off"),
    "half.png": (saved(NOISE, "PNG")[:9000], "damaged or cut off"),
    "half.webp": (saved(NOISE, "WEBP")[:900], "damaged or cut off"),
    "half.tif": (saved(NOISE, "TIFF")[:9000], "damaged, cut off"),
    "half.avif": (saved(NOISE, "AVIF")[:900], "damaged or cut off"),
    "half.bmp": (saved(NOISE, "BMP")[:9000], "damaged or cut off"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_photograph_that_cannot_be_read(run: Run, photo: Path, name: str) -> None:
    content, words = BAD[name]
    Path(name).write_bytes(content)
    before = files()
    result = run(name)
    assert (result.exit_code, result.stdout) == (3, "")
    told, summary = result.stderr.splitlines()
    assert told.startswith(f"Cannot read {name}: ") and words in told and told.endswith(".")
    assert "1 failed" in summary
    assert files() == before and not Path("restored").exists()


def test_neighbours_are_unharmed(run: Run, photo: Path) -> None:
    album = Path("album")
    good = [picture("album/a.jpg"), picture("album/m.png", 120, 90), picture("album/z.png")]
    assert run(*good, "-o", "alone").exit_code == 0
    for name, (content, _) in BAD.items():
        (album / name).write_bytes(content)
    Image.new("RGB", (1, 1), (9, 8, 7)).save(album / "dot.png")
    (album / "folder.jpg").mkdir()
    (album / "nothing.txt").write_text("no suffix of a photograph")
    originals = files("album")
    result = run(album, "-o", "out", "--json")
    reports = {json.loads(line)["input"]: json.loads(line) for line in result.stdout.splitlines()}
    assert result.exit_code == 7 and f"3 restored, 1 unchanged, 0 skipped, {len(BAD)} failed" in result.stderr
    assert list(reports) == sorted(reports) and len(reports) == len(BAD) + 4
    for name, (_, words) in BAD.items():
        report = reports[f"album/{name}"]
        assert (report["status"], report["output"], report["comparison"]) == ("failed", None, None)
        assert words in report["reason"]
    assert (reports["album/dot.png"]["status"], reports["album/dot.png"]["reason"]) == ("unchanged", "no face found")
    written = files("out")
    assert {name.removeprefix("out/") for name in written} == {
        *(path.name for path in good),
        "dot.png",
        "comparisons/a.jpg",
        *(f"comparisons/{name}.jpg" for name in ("m.png", "z.png", "dot.png")),
    }
    for name, content in files("alone").items():
        assert written[name.replace("alone/", "out/", 1)] == content, name
    assert files("album") == originals


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "avif", "jp2", "ppm", "gif"])
def test_one_pixel(run: Run, photo: Path, suffix: str) -> None:
    Image.new("RGB", (1, 1), (90, 90, 90)).save(f"dot.{suffix}")
    result = run(f"dot.{suffix}")
    assert result.exit_code == 0 and "unchanged, no face found" in result.stderr
    with Image.open(f"restored/dot.{'png' if suffix == 'gif' else suffix}") as image:
        assert image.size == (2, 2) and np.abs(np.asarray(image.convert("RGB")).astype(int) - 90).max() <= 3


# Places that cannot be written


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("file", "Cannot write into file: file is not a folder."),
        ("file/out", "Cannot write into file/out: file is not a folder."),
        ("file/x.png", "Cannot write into file: file is not a folder."),
        pytest.param("/proc/out", "Cannot make the folder /proc/out/comparisons", marks=linux),
        pytest.param("/proc/x.png", "Cannot write /proc/x.png", marks=linux),
        pytest.param("/dev/null", "Cannot write into /dev/null: /dev/null is not a folder.", marks=linux),
    ],
)
def test_a_place_where_nothing_can_be_written(run: Run, photo: Path, output: str, words: str) -> None:
    Path("file").write_text("mine")
    before = files()
    result = run(photo, "-o", output)
    assert (result.exit_code, result.stdout) == (4, "") and result.stderr.count(words) == 1
    assert "Traceback" not in result.stderr and files() == before


def test_a_folder_in_the_place_of_one_result(run: Run, photo: Path) -> None:
    Path("restored/photo.jpg").mkdir(parents=True)
    result = run(photo)
    assert result.exit_code == 4 and "Cannot write restored/photo.jpg: it is a folder." in result.stderr
    assert files("restored") == {}


def test_a_result_too_long_for_its_format_leaves_no_comparison_behind(run: Run, photo: Path) -> None:
    Image.new("RGB", (9000, 4)).save("long.webp")
    result = run("long.webp", photo, "-o", "out", "--json")
    long, other = (json.loads(line) for line in result.stdout.splitlines())
    assert result.exit_code == 7 and "WEBP allows 16383 pixels a side, not 18000×8" in long["reason"]
    assert other["status"] == "restored" and sorted(files("out")) == ["out/comparisons/photo.jpg", "out/photo.jpg"]
    assert run("long.webp", "-o", "-").exit_code == 4
    assert run("long.webp", "-o", "out", "--upscale", "1").exit_code == 0


def process(*arguments: str, limit: str = "", **settings: object) -> subprocess.CompletedProcess[bytes]:
    """Run the command with networks that brighten, as its own process; ``limit`` is the shell's ``ulimit``."""
    command = [sys.executable, "-m", "tests.fakes", "bright", *arguments]
    if limit:
        command = ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, timeout=120, **settings)  # type: ignore[call-overload, no-any-return]


@posix
def test_files_that_may_not_grow(photo: Path) -> None:
    """The system itself refuses to write, in the midst of a file."""
    Path("restored").mkdir()
    Path("restored/photo.jpg").write_bytes(b"an older result")
    done = process("photo.jpg", "--no-compare", limit="-f 2")
    assert done.returncode == 4 and b"Cannot write restored/photo.jpg: File too large." in done.stderr
    assert files("restored") == {"restored/photo.jpg": b"an older result"}


@linux
def test_standard_output_on_a_full_disk(photo: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = process("photo.jpg", "-o", "-", stdout=full)
        assert done.returncode == 4 and done.stderr.count(b"the disk is full") == 1
        done = process("photo.jpg", "--json", stdout=full)
        assert done.returncode == 4 and b"Traceback" not in done.stderr and b"fault" not in done.stderr


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a file system that holds 128 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(photo: Path, tiny_disk: Path) -> None:
    names = [picture(f"many/{number:02d}.jpg").as_posix() for number in range(12)]
    done = process("many", "-o", str(tiny_disk), "--json", stdout=subprocess.PIPE)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 4 and b"the disk is full" in done.stderr
    assert [report["input"] for report in reports] == names, "every photograph is accounted for"
    restored = [Path(report["output"]) for report in reports if report["status"] == "restored"]
    results = [path for path in tiny_disk.iterdir() if path.is_file()]
    assert 0 < len(restored) < 12 and sorted(restored) == sorted(results)
    for path in tiny_disk.rglob("*.*"):
        with Image.open(path) as image:
            image.load()


# Checkpoints


def _checkpoints() -> dict[str, tuple[bytes, str]]:
    torch.manual_seed(0)
    save_pth(Path("whole.pth"), small_gfpgan(32))
    save_checkpoint(Path("whole.safetensors"), small_gfpgan(32))
    save_pth(Path("background.pth"), compact(2))
    torch.save({"weight": torch.zeros(9, 9)}, "unknown.pth")
    state = small_gfpgan(32).state_dict()
    state["final_conv.weight"][0] = float("nan")
    torch.save(state, "nan.pth")
    del state["final_conv.weight"]
    torch.save(state, "lacking.pth")
    pth, tensors = Path("whole.pth").read_bytes(), Path("whole.safetensors").read_bytes()
    again = "download it again"
    return {
        "cut.pth": (pth[: len(pth) // 2], f"cut.pth is truncated or damaged|central directory): {again}."),
        "stub.pth": (pth[:200], f"stub.pth is truncated or damaged|{again}"),
        "cut.safetensors": (tensors[:-1000], f"cut.safetensors is truncated or damaged|{again}"),
        "head.safetensors": (tensors[:50], f"head.safetensors is truncated or damaged|{again}"),
        "empty.pth": (b"", f"empty.pth is neither|it is empty; {again}"),
        "text.pth": (b"weights", "text.pth is neither a PyTorch checkpoint nor a safetensors file"),
        "page.pth": (b"<!DOCTYPE html><title>Not found</title>", "page.pth is a web page, not weights"),
        "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\n", "pointer.pth is a Git LFS pointer"),
        "photo.safetensors": (JPEG, "photo.safetensors is neither"),
        "unknown.pth": (Path("unknown.pth").read_bytes(), "unknown.pth holds no network that is known here"),
        "lacking.pth": (Path("lacking.pth").read_bytes(), "lacking.pth looks like a network that is known here"),
        "nan.pth": (Path("nan.pth").read_bytes(), "nan.pth holds numbers that are not finite (in final_conv.weight)"),
        "background.pth": (Path("background.pth").read_bytes(), "background.pth holds a network of kind upsampler"),
    }


CHECKPOINTS = [
    "cut.pth",
    "stub.pth",
    "cut.safetensors",
    "head.safetensors",
    "empty.pth",
    "text.pth",
    "page.pth",
    "pointer.pth",
    "photo.safetensors",
    "unknown.pth",
    "lacking.pth",
    "nan.pth",
    "background.pth",
]


@pytest.fixture
def faces_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the real networks find faces without a detector's weights."""
    monkeypatch.setattr(real.OpenedNetworks, "find", lambda self: FakeNetworks().find())


def _ends_before_any_file(*arguments: str, words: str) -> None:
    Path("restored").mkdir()
    Path("restored/photo.jpg").write_bytes(b"an older result")
    result = CliRunner().invoke(restore_command, ["photo.jpg", "second.png", *arguments], prog_name="restore")
    assert result.exit_code == 5 and "Traceback" not in result.stderr
    for word in words.split("|"):
        assert result.stderr.count(word) == 1, result.stderr
    assert files("restored") == {"restored/photo.jpg": b"an older result"}


@pytest.mark.usefixtures("faces_found")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_used(photo: Path, name: str) -> None:
    picture("second.png")
    content, words = _checkpoints()[name]
    Path(name).write_bytes(content)
    _ends_before_any_file("--model", name, words=words)


@pytest.mark.usefixtures("faces_found")
def test_a_truncated_official_checkpoint_is_no_reason_to_take_another(photo: Path) -> None:
    picture("second.png")
    Path("here").mkdir()
    Path("here/GFPGANv1.4.pth").write_bytes(b"PK\x03\x04" + bytes(1000))
    _ends_before_any_file(
        "--weights-dir", "here", words="GFPGANv1.4.pth is damaged, it has 1004 bytes where gfpgan-1.4 has 348632874"
    )


@pytest.mark.usefixtures("faces_found")
def test_a_model_that_does_not_exist_is_told_before_anything_is_read(photo: Path) -> None:
    for model, code in (("nonsense", 2), ("missing.pth", 5), (".", 5)):
        for arguments in ([], ["--dry-run"]):
            result = CliRunner().invoke(
                restore_command, ["photo.jpg", "--model", model, *arguments], prog_name="restore"
            )
            assert result.exit_code == code and len(result.stderr.splitlines()) == 1, result.stderr
            assert result.stderr.startswith("restore: ") and model in result.stderr and result.stdout == ""
    assert not Path("restored").exists()
