"""What every test shares: seeded generators, folders of its own, no network, and the choice of slow tests."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.skips import Skips

SEED = 20240607
SKIPS = pytest.StashKey[Skips]()
"""What this run skips, for ``test_skips.py``."""

# Before any library is loaded: the networks here are so small that threads would only wait for each other, on a busy
# machine ten times as long as they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# A shell starts what it puts into the background with interrupts ignored, and what is started from there inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow, too")


def pytest_configure(config: pytest.Config) -> None:
    """Note what skips."""
    config.stash[SKIPS] = Skips()
    config.pluginmanager.register(config.stash[SKIPS], "restorer-skips")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, what cannot or should not run here."""
    if not config.getoption("--runslow"):
        _skip(items, "slow", "slow: run with --runslow")
    if any(item.get_closest_marker("gpu") for item in items) and not cuda_usable():
        _skip(items, "gpu", "needs a CUDA GPU")
    if not os.environ.get("RESTORER_TEST_WEIGHTS"):
        _skip(items, "weights", "needs official weight files: name their folder in RESTORER_TEST_WEIGHTS")
    items.sort(key=lambda item: item.path.name == "test_skips.py")  # it looks at all the others


def _skip(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))


def cuda_usable() -> bool:
    """Tell whether there is a GPU to test on."""
    if shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia").exists():
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep away from the user's cache and settings; compiled networks are shared by one session's tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RESTORER_") and name != "RESTORER_TEST_WEIGHTS"]:
            patch.delenv(name)
        patch.setenv("RESTORER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_weights(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each test an empty folder of weights."""
    monkeypatch.setenv("RESTORER_WEIGHTS", str(tmp_path_factory.mktemp("weights")))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets reach this machine only; a test that wants the world fails at once and says where to."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _refuse_remote(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _refuse_remote(self.family, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **keywords: Any) -> Any:
        if not _is_loopback(host):
            raise socket.gaierror(socket.EAI_NONAME, f"tests have no network: {host!r} was looked up")
        return getaddrinfo(host, *args, **keywords)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


def _refuse_remote(family: int, address: Any) -> None:
    if family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
        raise OSError(f"tests have no network: a connection to {address!r} was tried")


def _is_loopback(host: Any) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture
def rng() -> np.random.Generator:
    """NumPy generator with the same seed in every test."""
    return np.random.default_rng(SEED)


@pytest.fixture
def torch_rng() -> Any:
    """PyTorch generator with the same seed in every test; ``torch.manual_seed`` is set, too."""
    import torch

    torch.manual_seed(SEED)
    return torch.Generator().manual_seed(SEED)
