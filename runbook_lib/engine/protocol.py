"""The messages between the processes of the fork engine."""

from __future__ import annotations

import struct

KEEP = b"p"
"""To the server: fork a keeper for the first descriptor sent along; it holds the others open."""

KERNEL, STARTED, GONE = b"k", b"s", b"g"
"""To a keeper: fork a kernel for the channel sent along. Its answers: the kernel has started (with its pidfd); nothing
that the kernel started is left."""

ACCEPTED, EXECUTED, RESULT, ERROR, NO_KERNEL = b"a", b"x", b"p", b"e", b"n"
"""A run process's answers to a task: it was read; the notebook has been executed; the result (a pickle); the error (a
pickle); nothing was executed, because no kernel could be forked."""

_SIZE = struct.Struct(">Q")


def framed(content: bytes) -> bytes:
    """Content with its length in front, since the sender may be killed before all is sent."""
    return _SIZE.pack(len(content)) + content


def content_in(found: bytes | bytearray, start: int = 0) -> bytes | None:
    """The content that begins at `start`; None while it is incomplete."""
    if len(found) < start + _SIZE.size:
        return None
    (size,) = _SIZE.unpack_from(found, start)
    content = bytes(found[start + _SIZE.size :][:size])
    return content if len(content) == size else None
