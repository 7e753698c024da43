"""Connections: redirects, time limits, TLS, mirrors and proxies; after one that failed no other is tried."""

from __future__ import annotations

import http.client
import io
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from restorer.errors import DownloadError, UsageError
from restorer.weights.download import Downloader
from restorer.weights.http import _RedirectHandler
from tests.weights.conftest import SHA256, Behaviour, MakeRow, Server


def test_redirects_never_leave_encryption() -> None:
    request = urllib.request.Request("https://weights.invalid/net.pth")
    headers = http.client.HTTPMessage()
    with pytest.raises(urllib.error.HTTPError, match="which is not followed"):
        _RedirectHandler().redirect_request(
            request, io.BytesIO(), 302, "Found", headers, "http://weights.invalid/net.pth"
        )


def test_redirects_to_the_web_are_followed(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    row = make_row(server.url("net.pth", redirect=server.url("moved.pth")))
    assert downloader.download(row, tmp_path) == SHA256


def test_after_a_refused_connection_no_other_is_tried(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/net.pth"
    with pytest.raises(DownloadError, match="refused"):
        downloader.download(make_row(dead, server.url("net.pth")), tmp_path)
    with pytest.raises(DownloadError, match=r"an earlier connection failed.*refused"):
        downloader.download(make_row(server.url("other.pth"), name="other"), tmp_path)
    assert server.requests == []


def test_a_connection_gets_its_seconds_and_no_more(
    downloader: Downloader, make_row: MakeRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restorer.weights.http.CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1) or [])  # a name look-up that hangs
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"no connection within 0\.2 s"):
        downloader.download(make_row("http://weights.invalid/net.pth"), tmp_path)
    assert time.monotonic() - start < 0.8


def test_tls_that_is_not_spoken_counts_as_no_connection(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    url = server.url("net.pth").replace("http://", "https://")
    with pytest.raises(DownloadError, match="net cannot be downloaded"):
        downloader.download(make_row(url), tmp_path)
    with pytest.raises(DownloadError, match="an earlier connection failed"):
        downloader.download(make_row(server.url("net.pth")), tmp_path)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_nobody_vouches_for_counts_as_no_connection(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=127.0.0.1 -days 1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *files], check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
    url = server.url("net.pth").replace("http://", "https://")
    with pytest.raises(DownloadError, match=r"the server's certificate is not trusted \(self.signed certificate\)"):
        downloader.download(make_row(url), tmp_path)
    with pytest.raises(DownloadError, match="an earlier connection failed"):
        downloader.download(make_row(url), tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/net.pth", "net.pth"])
def test_only_web_addresses_are_opened(downloader: Downloader, make_row: MakeRow, tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="the table names no source"):
        downloader.download(make_row(url), tmp_path)


def test_the_mirror_of_the_environment_is_asked_first(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.url("mirror/net.pth")
    monkeypatch.setenv("RESTORER_WEIGHTS_MIRROR", f"{server.address}/mirror/")
    assert downloader.download(make_row(server.url("net.pth")), tmp_path) == SHA256
    assert [path for path, _ in server.requests] == ["/mirror/net.pth"]
    monkeypatch.setenv("RESTORER_WEIGHTS_MIRROR", "file:///srv/weights")
    with pytest.raises(UsageError, match="RESTORER_WEIGHTS_MIRROR"):
        downloader.download(make_row(), tmp_path)


def test_the_proxy_of_the_environment_is_used(
    server: Server, downloader: Downloader, make_row: MakeRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.address)
    url = "http://weights.invalid/net.pth"  # a name that only a proxy could know
    server.behaviours[url] = Behaviour()
    assert downloader.download(make_row(url), tmp_path) == SHA256
    assert [path for path, _ in server.requests] == [url]


def test_encrypted_downloads_go_through_the_proxys_tunnel(
    downloader: Downloader, make_row: MakeRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            connection, _ = proxy.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with pytest.raises(DownloadError, match="403 Forbidden"):
            downloader.download(make_row("https://weights.invalid/net.pth"), tmp_path)
        thread.join(10)
    assert asked[0].startswith(b"CONNECT weights.invalid:443 ")
