"""What server and caller say to each other."""

from __future__ import annotations

import struct

RUN, KERNEL = b"r", b"k"
"""A request: fork a run, or a kernel, at the end of the socket that comes with it."""

EXECUTED, RESULT, ERROR, DIED = b"x", b"p", b"e", b"d"
"""What a run answers after its process id: the notebook has been executed; what it left (a pickle); what could not be
done (a pickle). And what the server answers for one that died: its wait status."""

STATUS = struct.Struct(">i")
