"""The connections of a client, and what one answer may take of time and bytes.

A timeout of a socket holds for one read: a server that sends a byte a second never meets it. So the sockets here know
the window of the answer that is being waited for, whatever part of it a server drags out or blows up: what a proxy
says, a status line, headers, chunks, trailers, a body.
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
"""How long one answer may take as a whole; a request that is repeated has it anew."""
BODY_BYTES = 16 * 2**20
"""How long a body may be, unpacked."""
HEADER_BYTES = 2**20
"""What may come besides: headers, what a proxy says, chunk lengths."""

LARGE_BYTES = 2**20
"""Of answers longer than this, threads read one at a time, where `one_large_answer` says so."""

_PART = 2**16


class LimitReached(Exception):
    """An answer took more than it may. No OSError: a request that ends so is not repeated."""


class TooSlow(LimitReached):
    """Its time is over."""


class TooLong(LimitReached):
    """It has too many bytes."""


class Window:
    """What the answer to one request may take."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.tls: ssl.SSLSocket | None = None
        """The connection that carries the answer."""
        self.open()

    def open(self) -> None:
        """From now on: a request is about to be sent, perhaps again."""
        self._end = time.monotonic() + self._seconds
        self._bytes = BODY_BYTES + HEADER_BYTES

    def left(self) -> float:
        """Seconds left, more than none. Raises TooSlow."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TooSlow(f"no complete answer within {self._seconds:g} s")
        return seconds

    def extend(self, seconds: float) -> None:
        """So long we made the server wait."""
        self._end += seconds

    def count(self, received: int) -> None:
        """So many bytes came. Raises TooLong."""
        self._bytes -= received
        if self._bytes < 0:
            raise TooLong(f"an answer of more than {BODY_BYTES >> 20} MB")


_window: ContextVar[Window | None] = ContextVar("window", default=None)


@contextmanager
def answer_within(seconds: float) -> Iterator[Window]:
    """Whatever is sent in this block is answered within so many seconds, or LimitReached is raised."""
    window = Window(seconds)
    token = _window.set(window)
    try:
        yield window
    finally:
        _window.reset(token)


class _Turn:
    """A thread's turn to have a large answer in memory."""

    _free = threading.Lock()

    def __init__(self) -> None:
        self.mine = False

    def take(self) -> None:
        """Wait for it; that time is not the server's."""
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
    """While an answer that is asked for in this block is a large one, other threads in such a block wait with theirs:
    what many answers take together is bounded too. Whoever waits holds no second request back, so nobody waits in a
    circle."""
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
            raise TooLong(f"an answer of more than {BODY_BYTES >> 20} MB when unpacked")
    return bytes(body)


class _Watched(socket.socket):
    """A socket that knows the window."""

    def _begin(self) -> Window | None:
        window = _window.get()
        if window is not None:
            left, timeout = window.left(), self.gettimeout()
            if timeout is None or left < timeout:
                self.settimeout(left)  # urllib3 sets it anew for each request
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
        connection = super()._get_conn(timeout)  # waits for a free one, as long as that takes
        window = _window.get()
        if window is not None:
            window.open()
        return connection


def watch(context: ssl.SSLContext) -> None:
    """Have a context make sockets that know the window."""
    context.sslsocket_class = _WatchedTls


POOLS: dict[str, Any] = {"https": _Pool}
"""For `pool_classes_by_scheme`."""
