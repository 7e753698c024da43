"""Threads share the C library's arenas, as the C library itself tells."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from restorer.runtime import allocator

GLIBC = platform.libc_ver()[0] == "glibc"
COUNT = """
import ctypes, os, sys, threading
if sys.argv[1] == "shared":
    from restorer.runtime.allocator import share_arenas
    assert share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.fdopen.restype = ctypes.c_void_p, ctypes.c_void_p
here = threading.Barrier(9)
def work():
    kept = [libc.malloc(ctypes.c_size_t(5000)) for _ in range(200)]
    here.wait()
    here.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
here.wait()
file = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fflush(ctypes.c_void_p(file))
here.wait()
"""


def arenas(kind: str) -> int:
    """Return how many arenas eight threads that allocate at once have."""
    done = subprocess.run([sys.executable, "-c", COUNT, kind], capture_output=True, text=True, check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_threads_share_two_arenas() -> None:
    assert arenas("own") > allocator.ARENAS
    assert arenas("shared") <= allocator.ARENAS


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        def __init__(self, name: object) -> None:
            pass

    monkeypatch.setattr(ctypes, "CDLL", Without)
    assert not allocator.share_arenas()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.share_arenas()
