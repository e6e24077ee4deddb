"""Jupyter messages over one pair of Unix sockets, where a kernel has five ZeroMQ sockets.

A message is a list of frames, as `jupyter_client.session.Session` serialises it. It travels in packets (SOCK_SEQPACKET:
each arrives whole or not at all, in order), every one marked with its sender, so that threads and forked children of
the kernel may send at any time and one that is killed in the middle of a message harms no other.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Sequence

SHELL, IOPUB = b"s", b"i"
KEY = b"channel"
"""Signs messages, for jupyter_client wants that. It keeps nobody out: nobody else can reach the socket."""

_HEAD = struct.Struct(">IIc?")  # process, its message's number, channel, whether the message ends here
_PIECE = 64 * 1024
_SIZE = struct.Struct(">I")
_numbers = itertools.count()


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_message(to: socket.socket, channel: bytes, frames: Sequence[bytes | memoryview]) -> None:
    """Send one message. Blocks while the other end is behind.

    Raises:
        OSError: the other end is gone.
    """
    whole = b"".join(part for frame in frames for part in (_SIZE.pack(len(frame)), frame))
    process, number = os.getpid(), next(_numbers) & 0xFFFFFFFF
    for start in range(0, len(whole), _PIECE):
        last = start + _PIECE >= len(whole)
        to.sendall(_HEAD.pack(process, number, channel, last) + whole[start : start + _PIECE])


class Assembler:
    """Puts packets together to messages."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, int], list[bytes]] = {}

    def feed(self, packet: bytes) -> tuple[bytes, list[bytes]] | None:
        """The channel and the frames of the message that this packet completes, None while one is incomplete."""
        process, number, channel, last = _HEAD.unpack_from(packet)
        pieces = self._begun.setdefault((process, number), [])
        pieces.append(packet[_HEAD.size :])
        if not last:
            return None
        del self._begun[process, number]
        return channel, _frames(b"".join(pieces))


def receive(source: socket.socket) -> bytes:
    """The next packet; empty when the other end is closed."""
    return source.recv(_HEAD.size + _PIECE)


def _frames(whole: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(whole):
        (size,) = _SIZE.unpack_from(whole, at)
        at += _SIZE.size
        found.append(whole[at : at + size])
        at += size
    return found
