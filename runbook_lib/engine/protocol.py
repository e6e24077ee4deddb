"""What the processes of the fork engine say to each other."""

from __future__ import annotations

import struct

KEEP = b"p"
"""To the server: fork a keeper at the end of the first descriptor that comes with it; it holds the others open."""

KERNEL, STARTED, GONE = b"k", b"s", b"g"
"""To a keeper: fork a kernel at the end of the channel that comes with it. Its answers: the kernel has started, and its
pidfd comes with this; nothing that it started is left."""

ACCEPTED, EXECUTED, RESULT, ERROR, NO_KERNEL = b"a", b"x", b"p", b"e", b"n"
"""What a run process answers to an order: it was read; the notebook has been executed; what it left (a pickle); what
could not be done (a pickle); nothing was executed, for no kernel could be forked."""

_SIZE = struct.Struct(">Q")


def framed(content: bytes) -> bytes:
    """Content as it is sent: a process can be killed in the middle of it, so it says how long it is."""
    return _SIZE.pack(len(content)) + content


def content_in(found: bytes | bytearray, start: int = 0) -> bytes | None:
    """The content that begins at `start`, None while it is not there to its end."""
    if len(found) < start + _SIZE.size:
        return None
    (size,) = _SIZE.unpack_from(found, start)
    content = bytes(found[start + _SIZE.size :][:size])
    return content if len(content) == size else None
