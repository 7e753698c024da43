"""HTTP for downloads: http and https only, proxies from the environment, 5 s for a connection to come about."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import urllib.error
import urllib.request
from typing import IO
from urllib.parse import urlsplit

CONNECT_SECONDS = 5.0
"""What a connection is given: name look-up, TCP and TLS together."""

READ_SECONDS = 20.0
"""Silence after which an established connection counts as broken."""


def open_url(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send a GET request and return the response, to be closed by the caller.

    Redirects are followed, but never from https to http nor to anything else.

    Raises:
        urllib.error.HTTPError: The server answered with an error status.
        OSError: No connection, or it broke before the answer came (``urllib.error.URLError`` is one of them).
        http.client.HTTPException: The answer is no HTTP.
    """
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler(),
        _HttpHandler(),
        _HttpsHandler(),
        _RedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": "restorer", "Accept-Encoding": "identity", **headers})
    response: http.client.HTTPResponse = opener.open(request, timeout=CONNECT_SECONDS)
    return response


def is_web_address(url: str) -> bool:
    """Return whether an address is http or https and names a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def explain(error: Exception) -> str:
    """Say in a few words why a request failed."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code} {error.reason}".rstrip()
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        why = reason.verify_message or str(reason)
        return f"the server's certificate is not trusted ({why}); SSL_CERT_FILE may name a file of trusted ones"
    if isinstance(reason, socket.gaierror):
        return f"the host's name is not known here ({reason.strerror or reason})"
    if isinstance(reason, TimeoutError):
        return str(reason) if str(reason).startswith("no ") else "no answer in time"
    if isinstance(reason, OSError):
        return reason.strerror or str(reason) or type(reason).__name__
    return str(reason) or type(reason).__name__


class _Timed(http.client.HTTPConnection):
    """A connection that gives up if it has not come about in time, whatever holds it up.

    The socket's own timeout counts each address and each step afresh and knows nothing of the look-up of names, which
    can hang for a minute without a network; so connecting runs in a thread of its own, and is waited for only so long.
    """

    def connect(self) -> None:
        failure: list[BaseException] = []
        lock = threading.Lock()
        state = {"done": False, "abandoned": False}

        def work() -> None:
            try:
                super(_Timed, self).connect()
            except BaseException as error:
                failure.append(error)
            with lock:
                state["done"] = True
                if state["abandoned"]:
                    self.close()

        thread = threading.Thread(target=work, name="connect", daemon=True)
        thread.start()
        thread.join(CONNECT_SECONDS)
        with lock:
            if not state["done"]:
                state["abandoned"] = True
                raise TimeoutError(f"no connection within {CONNECT_SECONDS:g} s")
        if failure:
            raise failure[0]
        self.sock.settimeout(READ_SECONDS)


class _TimedHttps(_Timed, http.client.HTTPSConnection):
    """The same with TLS: :class:`_Timed` comes first, so its thread does the handshake, too."""


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Timed, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TimedHttps, req, context=ssl.create_default_context())


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not is_web_address(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            raise urllib.error.HTTPError(
                req.full_url, code, f"redirected to {newurl}, which is not followed", headers, fp
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
