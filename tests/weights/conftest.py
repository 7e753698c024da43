"""A small table of weight files, and a local server that behaves as badly as each test asks."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from restorer.weights import WeightFile, WeightStore
from restorer.weights.download import Downloader

BODY = bytes(range(256)) * 1200  # 307,200 bytes: more than one read of the network
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Behaviour:
    """How the server answers for one path."""

    body: bytes = BODY
    status: int = 200
    declared: int | None = None
    """Content-Length, where it is not the truth."""
    break_after: list[int] = field(default_factory=list)
    """Bytes after which each answer in turn breaks off; further answers are whole."""
    ranges: bool = True
    etag: str | None = '"one"'
    pause: float | threading.Event = 0.0
    """Seconds of silence after half of the body; or silence until a test says so."""
    redirect: str | None = None
    chunked: bool = False


@dataclass
class Server:
    """A running server: what it should do, and what it was asked."""

    address: str
    behaviours: dict[str, Behaviour]
    requests: list[tuple[str, dict[str, str]]]
    httpd: ThreadingHTTPServer

    def url(self, name: str, **how: object) -> str:
        self.behaviours[f"/{name}"] = Behaviour(**how)
        return f"{self.address}/{name}"


def _handler(behaviours: dict[str, Behaviour], requests: list[tuple[str, dict[str, str]]]) -> type:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            requests.append((self.path, dict(self.headers)))
            how = behaviours.get(self.path, Behaviour(status=404))
            self.close_connection = True
            if how.redirect is not None:
                self.send_response(302)
                self.send_header("Location", how.redirect)
                self.end_headers()
            elif how.status != 200:
                self.send_error(how.status)
            else:
                self._send(how)

        def _send(self, how: Behaviour) -> None:
            start = self._start(how)
            if start >= len(how.body) > 0:
                self.send_error(416)
                return
            body = how.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(how.body) - 1}/{len(how.body)}")
            if how.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(body) if how.declared is None else how.declared))
            if how.etag is not None:
                self.send_header("ETag", how.etag)
            self.end_headers()
            if how.break_after:
                body = body[: how.break_after.pop(0)]
                self._write(body, how)
            else:
                half = len(body) // 2
                self._write(body[:half], how)
                if isinstance(how.pause, threading.Event):
                    how.pause.wait(60)
                else:
                    time.sleep(how.pause)
                self._write(body[half:], how)
                if how.chunked:
                    self.wfile.write(b"0\r\n\r\n")

        def _start(self, how: Behaviour) -> int:
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            if not how.ranges or asked is None or condition not in (None, how.etag):
                return 0
            return int(asked.removeprefix("bytes=").removesuffix("-"))

        def _write(self, data: bytes, how: Behaviour) -> None:
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if how.chunked else data)
            except OSError:  # the client has hung up
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    behaviours: dict[str, Behaviour] = {}
    requests: list[tuple[str, dict[str, str]]] = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(behaviours, requests))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Server(f"http://127.0.0.1:{httpd.server_address[1]}", behaviours, requests, httpd)
    httpd.shutdown()
    httpd.server_close()


MakeRow = Callable[..., WeightFile]


@pytest.fixture
def make_row() -> MakeRow:
    """Build a row whose size and hash are those of the body the server sends."""

    def make(*urls: str, name: str = "net", file: str | None = None, **changes: object) -> WeightFile:
        values = {
            "kind": "face",
            "architecture": "any",
            "size": len(BODY),
            "sha256": SHA256,
            "confirmed": "",
            "licence": "MIT",
            "source": "",
            **changes,
        }
        return WeightFile(name=name, file=file or f"{name}.pth", urls=urls, **values)

    return make


@pytest.fixture
def said() -> list[str]:
    """Collect the sentences for the user."""
    return []


@pytest.fixture
def downloader(said: list[str]) -> Downloader:
    """Return the downloads of one run."""
    return Downloader(notify=said.append)


MakeStore = Callable[..., WeightStore]


@pytest.fixture
def make_store(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> MakeStore:
    """Build a store over the given rows whose every folder is the test's own."""
    monkeypatch.delenv("RESTORER_WEIGHTS", raising=False)
    monkeypatch.setenv("RESTORER_CACHE", str(tmp_path / "cache"))
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    monkeypatch.setattr("restorer.weights.store.bundled_folder", lambda: bundled)

    def make(*rows: WeightFile, **options: object) -> WeightStore:
        return WeightStore(table={row.name: row for row in rows}, notify=said.append, **options)

    return make
