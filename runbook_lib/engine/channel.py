"""Jupyter messages over one pair of Unix sockets, in place of a kernel's five ZeroMQ sockets.

A message is a list of frames, as `jupyter_client.session.Session` serialises it. It travels in packets (SOCK_SEQPACKET:
each arrives completely or not at all, in order). Each packet names its sender, so threads and forked children of the
kernel may send at any time, and a sender that is killed within a message does not affect the others.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Sequence

SHELL, IOPUB = b"s", b"i"
KEY = b"channel"
"""Signs messages, as jupyter_client requires. It need not be secret: nobody else can reach the socket."""

_HEAD = struct.Struct(">IIc?")  # process, message number, channel, whether this is the last packet
_PIECE = 64 * 1024
_SIZE = struct.Struct(">I")
_numbers = itertools.count()


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_message(to: socket.socket, channel: bytes, frames: Sequence[bytes | memoryview]) -> None:
    """Send one message. Blocks while the other end is not reading.

    Raises:
        OSError: the other end is gone.
    """
    whole = b"".join(part for frame in frames for part in (_SIZE.pack(len(frame)), frame))
    process, number = os.getpid(), next(_numbers) & 0xFFFFFFFF
    for start in range(0, len(whole), _PIECE):
        last = start + _PIECE >= len(whole)
        to.sendall(_HEAD.pack(process, number, channel, last) + whole[start : start + _PIECE])


class Assembler:
    """Assembles packets into messages."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, int], list[bytes]] = {}

    def feed(self, packet: bytes) -> tuple[bytes, list[bytes]] | None:
        """The channel and the frames of the message that this packet completes; None if it completes none."""
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
