"""What server and caller say to each other."""

from __future__ import annotations

import struct

RUN, KERNEL = b"r", b"k"
"""A request: fork a run, or a kernel, at the end of the socket that comes with it."""

EXECUTED, RESULT, ERROR, DIED = b"x", b"p", b"e", b"d"
"""What a run answers after its process id: the notebook has been executed; what it left (a pickle); what could not be
done (a pickle). And what the server answers for one that died: its wait status."""

STATUS = struct.Struct(">i")
_SIZE = struct.Struct(">Q")


def answer(kind: bytes, content: bytes) -> bytes:
    """RESULT or ERROR as it is sent: a run can be killed in the middle of it, so it says how long it is."""
    return kind + _SIZE.pack(len(content)) + content


def answer_in(found: bytes | bytearray) -> bytes | None:
    """The content of a RESULT or ERROR that came whole; None for anything else."""
    if not found.startswith((RESULT, ERROR)) or len(found) <= _SIZE.size:
        return None
    (size,) = _SIZE.unpack_from(found, 1)
    content = bytes(found[1 + _SIZE.size :][:size])
    return content if len(content) == size else None
