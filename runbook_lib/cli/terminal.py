"""Where the commands write, and how an error is told. No line leaves with a secret that this process has resolved."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from runbook_lib.errors import RunbookError
from runbook_lib.looks import withheld
from runbook_lib.visible import visible

EVENTS = logging.getLogger("runbook")
"""Takes what is said on standard error, where that is to be a log of JSON (`--log-format json`)."""
EVENTS.disabled = True

_ALARM = "\x1b[1;31m{}\x1b[0m"


def out(text: str, *, alarm: bool = False) -> None:
    """A line on standard output: what was asked for. An alarm is red where a terminal shows it.

    Raises `streams.Unwritten`, and BrokenPipeError where whoever read it has read enough.
    """
    write_line(sys.stdout, text, alarm=alarm)


def err(text: str, *, alarm: bool = False) -> None:
    """A line on standard error: what is said about it."""
    if EVENTS.disabled:
        write_line(sys.stderr, text, alarm=alarm)
    else:
        EVENTS.log(logging.ERROR if alarm else logging.INFO, "%s", text)


def is_watched() -> bool:
    """Whether a person sees standard error as it is written."""
    return EVENTS.disabled and sys.stderr is not None and sys.stderr.isatty()


def write_line(stream: TextIO | None, text: str, *, alarm: bool = False) -> None:
    """A line on one of the two, without what is withheld."""
    if stream is None:  # it was closed by the caller (>&-), who wants to know nothing
        return
    if alarm and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        text = _ALARM.format(text)
    stream.write(f"{withheld(text)}\n")
    stream.flush()


def show_error(error: RunbookError) -> None:
    """What went wrong, what it means and what to do, on standard error."""
    err(f"{error.explanation.title} [{error.reason.value}]", alarm=True)
    for line in str(error).splitlines():
        err(visible(line))
