"""The standard streams of a command. A closed or full stream does not cost it its result."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class Unwritten(Exception):
    """Standard output cannot be written, for example to a full disk. `str` gives the cause."""


class _Output(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritten(error.strerror) from None


class _Unheeded(io.FileIO):
    """Standard error. If it is full or closed, nobody reads it, and the command continues."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(memoryview(data))
        except OSError:
            return len(memoryview(data))


def settle() -> None:
    """Set up a command's streams, once, before anything is written."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller (`>&-`); the next opened file must not take its number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # a terminal without ✓ must not make it fail
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper) or sys.stderr is None:
        sys.stderr = _text(_Unheeded(2, "w", closefd=False), sys.stderr, line_buffering=True)


def _text(raw: io.FileIO, before: io.TextIOWrapper | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    encoding = before.encoding if before is not None else "utf-8"
    lines = line_buffering or (before is not None and before.line_buffering)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=lines)


def hang_up() -> None:
    """Discard further output; otherwise Python tries to write again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
