"""Downloads from a local server that is slow, lies, breaks off, forgets ranges or is not there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import restorer.weights
from restorer.errors import DownloadError, ExitCode, WeightsError
from restorer.weights.download import Downloader
from tests.weights.conftest import BODY, SHA256, MakeRow, Server


def left_in(folder: Path) -> set[str]:
    """Return what lies in a folder beside the lock, which stays."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_whole_file_arrives_under_its_name(server: Server, make_row: MakeRow, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []
    downloader = Downloader(notify=lambda _: None, progress=lambda *step: steps.append(step))
    row = make_row(server.url("net.pth"))
    assert downloader.download(row, tmp_path / "new" / "folder") == SHA256
    assert (tmp_path / "new" / "folder" / "net.pth").read_bytes() == BODY
    assert left_in(tmp_path / "new" / "folder") == {"net.pth"}
    assert steps[-1] == ("net.pth", len(BODY), len(BODY))
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)


def test_a_broken_transfer_is_taken_up_where_it_stopped(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    row = make_row(server.url("net.pth", break_after=[100_000, 50_000]))
    assert downloader.download(row, tmp_path) == SHA256
    assert [headers.get("Range") for _, headers in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[1][1]["If-Range"] == '"one"'
    assert left_in(tmp_path) == {"net.pth"}


def test_the_next_run_takes_up_what_the_last_one_left(server: Server, make_row: MakeRow, tmp_path: Path) -> None:
    url = server.url("net.pth", break_after=[100_000, 0])
    row = make_row(url)
    with pytest.raises(DownloadError, match="broke off after 100000 of 307200 bytes"):
        Downloader(notify=lambda _: None).download(row, tmp_path)
    assert left_in(tmp_path) == {"net.pth.part", "net.pth.part.json"}
    assert Downloader(notify=lambda _: None).download(row, tmp_path) == SHA256
    assert server.requests[-1][1]["Range"] == "bytes=100000-"


def test_a_server_without_ranges_sends_everything_again(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    row = make_row(server.url("net.pth", break_after=[100_000], ranges=False))
    assert downloader.download(row, tmp_path) == SHA256
    assert (tmp_path / "net.pth").read_bytes() == BODY


def test_a_file_that_changed_on_the_server_is_not_mixed_with_the_old(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    (tmp_path / "net.pth.part").write_bytes(b"old" * 1000)
    (tmp_path / "net.pth.part.json").write_text('"\\"zero\\""')
    assert downloader.download(make_row(server.url("net.pth"), sha256=None), tmp_path) == SHA256
    assert server.requests[0][1]["If-Range"] == '"zero"'


def test_leftover_bytes_of_another_source_are_dropped_when_the_hash_tells(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    (tmp_path / "net.pth.part").write_bytes(b"x" * 1000)
    assert downloader.download(make_row(server.url("net.pth", etag=None)), tmp_path) == SHA256
    assert [headers.get("Range") for _, headers in server.requests] == ["bytes=1000-", None]


def test_a_whole_leftover_needs_no_connection(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    (tmp_path / "net.pth.part").write_bytes(BODY)
    assert downloader.download(make_row(server.url("net.pth")), tmp_path) == SHA256
    assert server.requests == []


def test_a_leftover_as_long_as_a_file_of_unknown_size_starts_again(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    (tmp_path / "net.pth.part").write_bytes(b"x" * len(BODY))
    assert downloader.download(make_row(server.url("net.pth"), size=None), tmp_path) == SHA256
    assert [headers.get("Range") for _, headers in server.requests] == [f"bytes={len(BODY)}-", None]


def test_a_wrong_hash_is_an_error_and_leaves_nothing(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    url = server.url("net.pth", body=b"!" * len(BODY))
    with pytest.raises(WeightsError, match=SHA256) as caught:
        downloader.download(make_row(url, server.url("mirror.pth")), tmp_path)
    assert not isinstance(caught.value, DownloadError)
    assert url in str(caught.value)
    assert left_in(tmp_path) == set()
    assert [path for path, _ in server.requests] == ["/net.pth"]  # a mirror would hide that something is wrong


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"status": 404}, "HTTP status 404"),
        ({"status": 503}, "HTTP status 503"),
        ({"body": b"<html>log in first</html>"}, "offers 25 bytes where 307200 are expected"),
        ({"declared": len(BODY) + 7}, "offers 307207 bytes"),
        ({"redirect": "file:///etc/passwd"}, "not allowed"),
        ({"body": BODY + b"more", "chunked": True}, "sends more than the 307200 bytes expected"),
    ],
)
def test_an_address_that_does_not_give_the_file_leads_to_the_next(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path, how: dict[str, object], reason: str
) -> None:
    bad, good = server.url("bad.pth", **how), server.url("good.pth")
    with pytest.raises(DownloadError, match="net cannot be downloaded") as caught:
        downloader.download(make_row(bad), tmp_path)
    assert reason in str(caught.value) and bad in str(caught.value)
    assert caught.value.exit_code == ExitCode.WEIGHTS
    assert downloader.download(make_row(bad, good), tmp_path) == SHA256


def test_all_reasons_are_listed(server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path) -> None:
    row = make_row(server.url("a.pth", status=404), server.url("b.pth", status=503))
    with pytest.raises(DownloadError, match=r"a\.pth: HTTP status 404.*b\.pth: HTTP status 503"):
        downloader.download(row, tmp_path)


def test_a_server_that_promises_more_than_it_sends(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    row = make_row(server.url("net.pth", body=BODY[:1000], declared=len(BODY), ranges=False))
    with pytest.raises(DownloadError, match="broke off after 1000 of 307200 bytes"):
        downloader.download(row, tmp_path)
    assert not (tmp_path / "net.pth").exists()


def test_a_chunked_answer_cut_off_is_not_taken_for_whole(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    row = make_row(server.url("net.pth", chunked=True, break_after=[1000]), size=None, sha256=None)
    assert downloader.download(row, tmp_path) == SHA256
    assert server.requests[1][1]["Range"] == "bytes=1000-"


def test_a_hash_nobody_states_is_noted_and_shown(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path, said: list[str]
) -> None:
    assert downloader.download(make_row(server.url("net.pth"), size=None, sha256=None), tmp_path) == SHA256
    assert (tmp_path / "net.pth.sha256").read_text() == f"{SHA256}  net.pth\n"
    assert SHA256 in said[0]


def test_a_server_that_falls_silent_is_given_up(
    server: Server, make_row: MakeRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restorer.weights.http.READ_SECONDS", 0.2)
    row = make_row(server.url("net.pth", pause=0.6))
    with pytest.raises(DownloadError, match="broke off"):
        Downloader(notify=lambda _: None).download(row, tmp_path)
    # Each attempt brings half of the rest before the silence, so it is taken up five times.
    assert (tmp_path / "net.pth.part").stat().st_size == len(BODY) - len(BODY) // 2**6


def test_a_folder_that_cannot_be_made(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot be stored in .*--weights-dir"):
        downloader.download(make_row(server.url("net.pth")), tmp_path / "file" / "weights")
    assert server.requests == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DownloadError, match="cannot be stored in"):
            downloader.download(make_row(server.url("net.pth")), tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_seen_before_the_download(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="do not fit"):
        downloader.download(make_row(server.url("net.pth"), size=1 << 60), tmp_path)
    assert server.requests == []


def test_a_disk_that_fills_up_keeps_no_leftovers(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        (tmp_path / "net.pth.part").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("restorer.weights.partial.PartialFile.append", full)
    with pytest.raises(DownloadError, match="No space left"):
        downloader.download(make_row(server.url("net.pth")), tmp_path)
    assert left_in(tmp_path) == set()


CHILD = """
import sys
from pathlib import Path
from restorer.weights import WeightFile
from restorer.weights.download import Downloader
url, size, sha256, folder = sys.argv[1:]
row = WeightFile("net", "net.pth", "face", "any", (url,), int(size), sha256, "", "MIT", "")
print(Downloader(notify=lambda text: print(text, flush=True)).download(row, Path(folder)))
"""


def start_child(url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, url, str(len(BODY)), SHA256, str(folder)]
    env = {**os.environ, "PYTHONPATH": str(Path(restorer.weights.__file__).parents[2])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


def wait_for(path: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.stat().st_size >= size):
        assert time.monotonic() < deadline, f"{path} did not grow to {size} bytes"
        time.sleep(0.01)


def test_two_processes_at_once_download_one_file_once(server: Server, tmp_path: Path) -> None:
    go_on = threading.Event()
    url = server.url("net.pth", pause=go_on)
    first = start_child(url, tmp_path)
    wait_for(tmp_path / "net.pth.part", len(BODY) // 2)
    second = start_child(url, tmp_path)
    assert second.stdout is not None
    assert second.stdout.readline() == "another process is downloading net; waiting for it\n"
    go_on.set()
    outputs = [child.communicate(timeout=60)[0] for child in (first, second)]
    assert outputs == [f"{SHA256}\n", "None\n"]
    assert len(server.requests) == 1
    assert (tmp_path / "net.pth").read_bytes() == BODY


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_no_lock_and_its_bytes(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    go_on = threading.Event()
    url = server.url("net.pth", pause=go_on)
    child = start_child(url, tmp_path)
    wait_for(tmp_path / "net.pth.part", len(BODY) // 2)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    go_on.set()
    assert downloader.download(make_row(url), tmp_path) == SHA256
    assert server.requests[-1][1]["Range"] == f"bytes={len(BODY) // 2}-"
