"""The log on standard error: `--verbose` and `--log-format`."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from runbook_lib.cli.terminal import EVENTS, write_line
from runbook_lib.clock import iso
from runbook_lib.errors import frames_of
from runbook_lib.looks import withheld


class _Terminal(logging.Handler):
    """Writes as the commands do, so that no line shows a secret that this process knows."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(sys.stderr, self.format(record))


class _Text(logging.Formatter):
    """An event as a line. Of an exception it shows types and places: the message may hold a secret."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return iso(datetime.fromtimestamp(record.created, UTC))

    def formatException(self, ei: Any) -> str:
        return frames_of(ei[1])


class _Json(_Text):
    """The same as a JSON object: `time`, `level`, `logger`, `message`, and `frames` of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": withheld(record.getMessage()),
        }
        if record.exc_info:
            event["frames"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def begin(*, verbose: bool, log_format: str | None) -> None:
    """Set up the log; without options it has only warnings.

    Args:
        verbose: log details too.
        log_format: "text", "json" or None. With "json", all other messages on standard error are JSON too.
    """
    asked = verbose or log_format is not None
    handler = _Terminal()
    text = _Text("%(asctime)s %(levelname)s %(name)s: %(message)s" if asked else None)
    handler.setFormatter(_Json() if log_format == "json" else text)
    logging.getLogger().handlers = [handler]
    level = logging.DEBUG if verbose else logging.INFO if asked else logging.WARNING
    for logger in (EVENTS, logging.getLogger("runbook_lib")):
        logger.setLevel(level)
    EVENTS.disabled = log_format != "json"
