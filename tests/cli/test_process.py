"""The command as a process of its own: one test per exit code, pipes, signals, and standard output kept clean."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import picture

ROOT = Path(__file__).parents[2]
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
    return subprocess.run(command(behaviour, *args), input=stdin, capture_output=True, timeout=120)


def no_leftovers() -> bool:
    return not list(Path().rglob("*.part"))


def test_0_all_done() -> None:
    done = run("bright", "photo.jpg", "album", "-o", "out")
    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png", "comparisons", "photo.jpg"]


def test_1_a_fault_of_ours() -> None:
    done = run("fault", "photo.jpg")
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


def test_6_out_of_memory() -> None:
    assert run("oom", "photo.jpg").returncode == 6


def test_7_some_failed() -> None:
    done = run("second-fails", "photo.jpg", "album", "-o", "out", "--json")
    assert done.returncode == 7
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["restored", "failed", "restored"]


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_interrupted(number: signal.Signals, code: int) -> None:
    for name in range(20):
        picture(f"many/{name}.png")
    process = subprocess.Popen(command("slow", "many", "-o", "out"), stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    start = time.monotonic()
    process.send_signal(number)
    words = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == code and b"every file that was written is whole" in words
    assert time.monotonic() - start < 8
    results = list(Path("out").glob("*.png"))
    assert 0 < len(results) < 20 and no_leftovers()
    for path in results:
        with Image.open(path) as image:
            image.load()


def test_standard_output_holds_the_picture_and_nothing_else() -> None:
    done = run("prints", "photo.jpg", "-o", "-")
    with Image.open(io.BytesIO(done.stdout)) as image:
        image.load()
        assert image.size == (192, 160)
    assert done.stdout.endswith(b"\xff\xd9"), "nothing stands behind the end of the JPEG"
    assert b"noise from C" in done.stderr and b"noise from Python" in done.stderr


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
    _, words = process.communicate(timeout=60)
    assert process.returncode == 4 and no_leftovers()
    assert all(word not in words for word in (b"Traceback", b"Exception ignored", b"Broken pipe", b"fault"))


@posix
def test_picture_is_not_written_to_a_terminal() -> None:
    import pty

    terminal, line = pty.openpty()
    done = subprocess.run(command("bright", "photo.jpg", "-o", "-"), stdout=line, stderr=subprocess.PIPE, timeout=60)
    os.close(line)
    os.close(terminal)
    assert done.returncode == 2 and b"to the terminal" in done.stderr


@posix
def test_progress_bar_on_a_terminal() -> None:
    import fcntl
    import pty
    import struct
    import termios

    terminal, line = pty.openpty()
    fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(command("slow", "album", "-o", "out"), stdout=subprocess.DEVNULL, stderr=line)
    os.close(line)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux' way to say that the other end is closed
        pass
    os.close(terminal)
    assert process.wait(30) == 0
    assert b"face 1 of 1" in shown and b"2/2" in shown and b"2 restored" in shown


def test_closed_standard_output() -> None:
    code = "import os, sys; os.close(1); os.execv(sys.executable, sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *command("bright", "photo.jpg")], stderr=subprocess.PIPE)
    assert done.returncode == 0 and Path("restored/photo.jpg").exists()


def test_group_runs_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "restorer", "restore", "missing.jpg"], capture_output=True)
    assert done.returncode == 3 and b"there is no such file" in done.stderr
    done = subprocess.run([sys.executable, "-m", "restorer", "nonsense"], capture_output=True)
    assert done.returncode == 2 and b"No such command" in done.stderr
