"""The connections of a client, with limits on the time and size of a response.

A socket's timeout holds for one read, so a server that sends a byte per second never exceeds it. The sockets here know
the window of the current response instead, whichever part of it a server drags out or inflates: a proxy's response,
status line, headers, chunks, trailers or body.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from urllib3 import HTTPResponse
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import ProxyError

ANSWER_SECONDS = 60.0
"""How long a complete response may take; each retry has the same time again."""
BODY_BYTES = 16 * 2**20
"""The largest body, unpacked."""
HEADER_BYTES = 2**20
"""The most bytes besides the body: headers, a proxy's response, chunk lengths."""

LARGE_BYTES = 2**20
"""Within `one_large_answer`, threads read responses larger than this one at a time."""

_PART = 2**16


class LimitReached(Exception):
    """A response exceeded a limit. Not an OSError, so that the request is not retried."""


class TooSlow(LimitReached):
    """A response took too long."""


class TooLong(LimitReached):
    """A response has too many bytes."""


class Window:
    """The time and bytes left for the response to one request."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.tls: ssl.SSLSocket | None = None
        """The connection that carries the response."""
        self.open()

    def open(self) -> None:
        """Start the window: a request is about to be sent, perhaps again."""
        self._end = time.monotonic() + self._seconds
        self._bytes = BODY_BYTES + HEADER_BYTES

    def left(self) -> float:
        """Seconds left, always more than 0. Raises TooSlow."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TooSlow(f"no complete response came within {self._seconds:g} s")
        return seconds

    def extend(self, seconds: float) -> None:
        """Add the seconds that we made the server wait."""
        self._end += seconds

    def count(self, received: int) -> None:
        """Count received bytes. Raises TooLong."""
        self._bytes -= received
        if self._bytes < 0:
            raise TooLong(f"the response has more than {BODY_BYTES >> 20} MB")


_window: ContextVar[Window | None] = ContextVar("window", default=None)


@contextmanager
def answer_within(seconds: float) -> Iterator[Window]:
    """Limit each response in this block to so many seconds. LimitReached is raised beyond."""
    window = Window(seconds)
    token = _window.set(window)
    try:
        yield window
    finally:
        _window.reset(token)


class _Turn:
    """A thread's turn to hold a large response in memory."""

    _free = threading.Lock()

    def __init__(self) -> None:
        self.mine = False

    def take(self) -> None:
        """Wait for the turn; that time does not count against the server."""
        began = time.monotonic()
        self._free.acquire()
        self.mine = True
        if (window := _window.get()) is not None:
            window.extend(time.monotonic() - began)

    def give_back(self) -> None:
        if self.mine:
            self._free.release()
            self.mine = False


_turn: ContextVar[_Turn | None] = ContextVar("turn", default=None)


@contextmanager
def one_large_answer() -> Iterator[None]:
    """Let only one thread at a time hold a large response from such a block, which bounds the memory of many responses.

    A waiting thread holds back no other request, so there is no deadlock.
    """
    turn = _Turn()
    token = _turn.set(turn)
    try:
        yield
    finally:
        _turn.reset(token)
        turn.give_back()


def body_of(response: HTTPResponse) -> bytes:
    """The body, unpacked. Raises TooLong before more than `BODY_BYTES` of it are in memory."""
    body, turn = bytearray(), _turn.get()
    for part in response.stream(_PART, decode_content=True):
        body += part
        if turn is not None and not turn.mine and len(body) > LARGE_BYTES:
            turn.take()
        if len(body) > BODY_BYTES:
            raise TooLong(f"the response has more than {BODY_BYTES >> 20} MB when unpacked")
    return bytes(body)


class _Watched(socket.socket):
    """A socket that knows the window."""

    def _begin(self) -> Window | None:
        window = _window.get()
        if window is not None:
            left, timeout = window.left(), self.gettimeout()
            if timeout is None or left < timeout:
                self.settimeout(left)  # urllib3 sets it again for each request
        return window

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        window = self._begin()
        try:
            count = super().recv_into(*args, **kwargs)
        except TimeoutError:
            if window is not None:
                window.left()
            raise
        if window is not None:
            window.count(count)
        return count

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        window = self._begin()
        data = super().recv(*args, **kwargs)
        if window is not None:
            window.count(len(data))
        return data

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._begin()
        super().sendall(*args, **kwargs)


class _WatchedTls(_Watched, ssl.SSLSocket):
    """The same inside TLS."""

    def _begin(self) -> Window | None:
        window = super()._begin()
        if window is not None:
            window.tls = self
        return window


class _Connection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        timeout = plain.gettimeout()
        watched = _Watched(plain.family, plain.type, plain.proto, fileno=plain.detach())
        watched.settimeout(timeout)
        return watched

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except LimitReached:
            raise
        except Exception as error:
            raise ProxyError("no connection through the proxy", error) from error


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # waits for a free connection, without a limit
        window = _window.get()
        if window is not None:
            window.open()
        return connection


def watch(context: ssl.SSLContext) -> None:
    """Make a context create sockets that know the window."""
    context.sslsocket_class = _WatchedTls


POOLS: dict[str, Any] = {"https": _Pool}
"""For `pool_classes_by_scheme`."""
