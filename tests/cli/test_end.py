"""The end of a process: quick where nothing is left to do, and never before a file is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ENDING = """
import atexit, sys, threading, time
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
import restorer.runtime.early
from restorer.cli.boundary import end_process

def write():
    time.sleep(1)
    Path(sys.argv[2]).write_text("whole")

atexit.register(lambda: print("farewell", flush=True))
pool = ThreadPoolExecutor(1, sys.argv[1])
pool.submit(write)
pool.shutdown(wait=False)
print("said")
end_process(3)
"""


def end(thread: str, file: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", ENDING, thread, str(file)], capture_output=True, text=True, timeout=120
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_a_thread_at_work_is_waited_for_and_a_network_being_opened_is_not(tmp_path: Path) -> None:
    assert end("restorer-write", tmp_path / "written") == (3, "said\nfarewell\n")
    assert (tmp_path / "written").read_text() == "whole"
    assert end("restorer-open", tmp_path / "unwritten") == (3, "said\nfarewell\n")
    assert not (tmp_path / "unwritten").exists()
