"""The command as a process of its own: one test per exit code, pipes, signals, and standard output kept clean."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import picture

ROOT = Path(__file__).parents[2]
HANGS = 600
"""Seconds after which a process is given up."""
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and pipes")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a few photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    picture("photo.jpg")
    picture("album/a.png")
    picture("album/b.png")
    return tmp_path


def command(behaviour: str, *args: str) -> list[str]:
    return [sys.executable, "-m", "tests.fakes", behaviour, *args]


def run(behaviour: str, *args: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(behaviour, *args), input=stdin, capture_output=True, timeout=HANGS)


def real(*args: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command with its own networks, offline."""
    Image.new("RGB", (64, 64)).save("photo.png")
    return subprocess.run(
        [sys.executable, "-m", "restorer", "restore", "--offline", *args], capture_output=True, timeout=120
    )


def no_leftovers() -> bool:
    return not list(Path().rglob("*.part"))


def test_0_all_done() -> None:
    done = run("bright", "photo.jpg", "album", "-o", "out")
    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png", "comparisons", "photo.jpg"]


@pytest.mark.parametrize("device", ["cpu", "cuda:0,1"])
def test_1_a_fault_of_ours(device: str) -> None:
    done = run("fault", "photo.jpg", "--device", device)
    assert done.returncode == 1 and b"a fault of this program" in done.stderr and b"Traceback" not in done.stderr


def test_2_usage() -> None:
    done = run("bright", "photo.jpg", "-o", ".")
    assert (
        done.returncode == 2
        and done.stderr == b"restore: photo.jpg is an input, and originals are never written to: choose another -o.\n"
    )


def test_3_no_readable_input() -> None:
    done = run("bright", "missing.jpg", "--json")
    assert done.returncode == 3 and json.loads(done.stdout)["status"] == "failed"


def test_4_output_not_writable() -> None:
    Path("file").touch()
    assert run("bright", "photo.jpg", "-o", "file/out").returncode == 4


def test_4_disk_full() -> None:
    done = run("disk-full", "photo.jpg", "album", "-o", "out")
    assert done.returncode == 4 and b"the disk is full" in done.stderr
    assert not [path for path in Path("out").rglob("*") if path.is_file()]


def test_5_no_weights() -> None:
    done = run("no-weights", "photo.jpg", "album", "--json")
    assert done.returncode == 5 and done.stderr.count(b"There is no face model") == 1
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["failed"] * 3


def test_5_no_such_checkpoint() -> None:
    done = real("photo.png", "--aligned", "--model", "missing.pth")
    assert done.returncode == 5 and b"the checkpoint missing.pth does not exist" in done.stderr


def test_6_out_of_memory() -> None:
    assert run("oom", "photo.jpg").returncode == 6


def test_6_device_missing() -> None:
    done = real("photo.jpg", "--device", "cuda:99")
    assert done.returncode == 6 and b"Device cuda:99 cannot be used" in done.stderr


def test_several_devices_give_the_same_as_one() -> None:
    for device, folder in (("cpu", "one"), ("cuda:0,1", "two")):
        done = run("bright", "photo.jpg", "album", "-o", folder, "--json", "--device", device)
        reports = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0 and [report["input"] for report in reports] == [
            "photo.jpg",
            "album/a.png",
            "album/b.png",
        ]
    for name in ("photo.jpg", "a.png", "b.png", "comparisons/a.png.jpg"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_7_some_failed() -> None:
    done = run("second-fails", "photo.jpg", "album", "-o", "out", "--json")
    assert done.returncode == 7
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["restored", "failed", "restored"]


@posix
@pytest.mark.parametrize("device", ["cpu", "cuda:0,1,2"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_interrupted(number: signal.Signals, code: int, device: str) -> None:
    for name in range(20):
        picture(f"many/{name}.png")
    process = subprocess.Popen(command("slow", "many", "-o", "out", "--device", device), stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(number)
    words = process.stderr.read()
    process.stderr.close()
    assert process.wait(HANGS) == code and b"every file that was written is whole" in words
    results = list(Path("out").glob("*.png"))
    assert 0 < len(results) < 20 and no_leftovers()
    for path in results:
        with Image.open(path) as image:
            image.load()


@posix
@pytest.mark.parametrize("device", ["cpu", "cuda:0,1,2"])
def test_impatient_interrupts_end_alike(device: str) -> None:
    for name in range(20):
        picture(f"many/{name}.png")
    process = subprocess.Popen(command("slow", "many", "-o", "out", "--device", device), stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    words = process.communicate(timeout=HANGS)[1]
    # One that comes when Python is ending already ends it by the signal itself, which a shell calls 130, too.
    assert process.returncode in (130, -signal.SIGINT) and b"Traceback" not in words and no_leftovers()


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_waiting_for_standard_input(number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(command("bright", "-v", "-"), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"\xff\xd8\xff")
    process.stdin.flush()
    for _ in range(100):  # until signal 15 has a handler, which is bit 14 of the mask
        time.sleep(0.1)
        status = Path(f"/proc/{process.pid}/status")
        if not status.exists() or re.search(r"SigCgt:\s+[0-9a-f]*[4-7c-f][0-9a-f]{3}\n", status.read_text()):
            break
    time.sleep(0.2)
    process.send_signal(number)
    _, words = process.communicate(timeout=HANGS)
    assert process.returncode == code and b"whole" in words and not Path("restored").exists()


def test_standard_output_holds_the_picture_and_nothing_else() -> None:
    done = run("prints", "photo.jpg", "-o", "-")
    with Image.open(io.BytesIO(done.stdout)) as image:
        image.load()
        assert image.size == (192, 160)
    assert done.stdout.endswith(b"\xff\xd9"), "nothing stands behind the end of the JPEG"
    assert b"noise from C" in done.stderr and b"noise from Python" in done.stderr
    assert sys.platform == "win32" or b"late noise from C" in done.stderr


def test_standard_output_holds_json_and_nothing_else() -> None:
    done = run("prints", "photo.jpg", "album", "--json")
    assert [json.loads(line)["schema"] for line in done.stdout.splitlines()] == [1, 1, 1]


def test_from_pipe_to_pipe() -> None:
    done = run("bright", "-", "-o", "-", stdin=Path("photo.jpg").read_bytes())
    assert done.returncode == 0 and done.stdout[:3] == b"\xff\xd8\xff"


@posix
@pytest.mark.parametrize("args", [("photo.jpg", "-o", "-"), ("album", "photo.jpg", "--json")])
def test_closed_pipe_ends_quietly(args: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(command("bright", *args), stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, words = process.communicate(timeout=HANGS)
    assert process.returncode == 4 and no_leftovers()
    assert all(word not in words for word in (b"Traceback", b"Exception ignored", b"Broken pipe", b"fault"))


@posix
@pytest.mark.parametrize("args", [("photo.jpg", "-o", "-"), ("many", "--json"), ("many", "--dry-run")])
def test_reader_that_has_had_enough(args: tuple[str, ...]) -> None:
    """``| head -c 10``: what has been read is right, and the run ends early and quietly."""
    for name in range(20):
        picture(f"many/{name}.png")
    process = subprocess.Popen(command("bright", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    start = process.stdout.read(10)
    process.stdout.close()
    words = process.stderr.read()
    process.stderr.close()
    assert start[:4] in (b"\xff\xd8\xff\xe0", b'{"sc', b"many")
    assert process.wait(HANGS) == 4 or args[1] == "-o", "a small picture may fit into the pipe, a list does not"
    assert no_leftovers() and all(word not in words for word in (b"Traceback", b"ignored", b"fault"))
    assert args[1] == "-o" or words.count(b"many/") < 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
@pytest.mark.parametrize("args", [("photo.jpg", "-o", "-"), ("album", "--json"), ("album", "--dry-run")])
def test_4_full_standard_output(args: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command("bright", *args), stdout=full, stderr=subprocess.PIPE, timeout=HANGS)
    assert done.returncode == 4 and b"Cannot write" in done.stderr
    assert all(word not in done.stderr for word in (b"Traceback", b"ignored", b"fault"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_4_full_standard_error() -> None:
    with Path("/dev/full").open("wb") as full:
        assert subprocess.run(command("bright", "photo.jpg"), stderr=full, timeout=HANGS).returncode == 4


@posix
def test_picture_is_not_written_to_a_terminal() -> None:
    import pty

    terminal, line = pty.openpty()
    done = subprocess.run(command("bright", "photo.jpg", "-o", "-"), stdout=line, stderr=subprocess.PIPE, timeout=HANGS)
    os.close(line)
    os.close(terminal)
    assert done.returncode == 2 and b"to the terminal" in done.stderr


def shown_on_a_terminal(*args: str) -> tuple[int, bytes]:
    """Run with standard error on a terminal of 100 columns; return the exit code and what was shown."""
    import fcntl
    import pty
    import struct
    import termios

    terminal, line = pty.openpty()
    fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(command(*args), stdout=subprocess.DEVNULL, stderr=line)
    os.close(line)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux' way to say that the other end is closed
        pass
    os.close(terminal)
    return process.wait(HANGS), shown


@posix
def test_progress_bar_on_a_terminal() -> None:
    code, shown = shown_on_a_terminal("slow", "album", "-o", "out")
    assert code == 0 and b"face 1 of 1" in shown and b"2/2" in shown and b"2 restored" in shown


@posix
@pytest.mark.parametrize("source", ["photo.jpg", "album"])
def test_progress_bar_counts_the_backgrounds_tiles(source: str) -> None:
    code, shown = shown_on_a_terminal("tiles", source, "--no-compare")
    numbers = [int(number) for number in re.findall(rb"tile (\d+) of \d+", shown)]
    assert code == 0 and len(set(numbers)) >= 5 and max(numbers) >= 9


def with_closed(descriptors: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    code = f"import os, sys; [os.close(n) for n in ({descriptors})]; os.execv(sys.executable, sys.argv[1:])"
    return subprocess.run([sys.executable, "-c", code, *command(*args)], capture_output=True, timeout=HANGS)


@posix
def test_closed_standard_streams_are_not_needed_for_files() -> None:
    done = with_closed("0, 1, 2", "prints", "photo.jpg", "-o", "out.png")
    assert done.returncode == 0
    with Image.open("out.png") as image:
        image.load()


@posix
@pytest.mark.parametrize(
    ("descriptors", "args", "code", "words"),
    [
        ("1,", ("photo.jpg", "-o", "-"), 4, b"it is closed"),
        ("1,", ("photo.jpg", "--json"), 4, b"Cannot write to standard output: it is closed"),
        ("0,", ("-", "-o", "x.jpg"), 3, b"Cannot read standard input: it is closed"),
        ("0,", ("-0",), 3, b"Cannot read standard input: it is closed"),
        ("2,", ("missing.jpg",), 3, b""),
    ],
)
def test_closed_standard_streams_that_are_needed(
    descriptors: str, args: tuple[str, ...], code: int, words: bytes
) -> None:
    done = with_closed(descriptors, "bright", *args)
    assert done.returncode == code and words in done.stderr and b"Traceback" not in done.stderr


def test_group_runs_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "restorer", "restore", "missing.jpg"], capture_output=True)
    assert done.returncode == 3 and b"there is no such file" in done.stderr
    done = subprocess.run([sys.executable, "-m", "restorer", "nonsense"], capture_output=True)
    assert done.returncode == 2 and b"No such command" in done.stderr
