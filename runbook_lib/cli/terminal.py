"""What the commands write. No line shows a secret that this process has resolved."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TextIO

from runbook_lib.errors import RunbookError
from runbook_lib.looks import withheld
from runbook_lib.visible import visible

EVENTS = logging.getLogger("runbook")
"""Takes the messages for standard error if that is a JSON log (`--log-format json`)."""
EVENTS.disabled = True

_ALARM = "\x1b[1;31m{}\x1b[0m"


def out(text: str, *, alarm: bool = False) -> None:
    """Write a line of the result to standard output. An alarm is red on a terminal.

    Raises `streams.Unwritten`, and BrokenPipeError if the reader has closed the pipe.
    """
    write_line(sys.stdout, text, alarm=alarm)


def err(text: str, *, alarm: bool = False) -> None:
    """Write a message to standard error."""
    if EVENTS.disabled:
        write_line(sys.stderr, text, alarm=alarm)
    else:
        EVENTS.log(logging.ERROR if alarm else logging.INFO, "%s", text)


def is_watched() -> bool:
    """Whether standard error is a terminal that a person reads."""
    return EVENTS.disabled and sys.stderr is not None and sys.stderr.isatty()


def write_line(stream: TextIO | None, text: str, *, alarm: bool = False) -> None:
    """Write a line with every secret withheld."""
    if stream is None:  # the caller closed it (>&-)
        return
    if alarm and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        text = _ALARM.format(text)
    stream.write(f"{withheld(text)}\n")
    stream.flush()


def plain(text: str) -> str:
    """Our text as a terminal shows it: 'code' in place of `code`."""
    return visible(re.sub(r"`([^`\n]+)`", r"'\1'", text))


def show_error(error: RunbookError) -> None:
    """Write what happened, what it means and what to do to standard error."""
    err(f"{plain(error.title)} [{error.reason.value}]", alarm=True)
    for line in str(error).splitlines():
        err(plain(line))
