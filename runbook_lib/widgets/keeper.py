"""Talks to the keeper: the program that writes down a clicked session and archives it. Widgets know no more of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

from pydantic import BaseModel, ValidationError

from runbook_lib import programs
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.session_messages import Reply

_MODULE = "runbook_lib.session_keeper"
_END_SECONDS = 5.0


class KeeperProcess:
    """A running keeper. It works in this process's folder, and outlives this process.

    Args:
        references: the references of the session; it gets the variables that they name.

    Raises:
        RunbookError: ARCHIVE_FAILED if it cannot be started.
    """

    def __init__(self, environ: Mapping[str, str], references: Iterable[str]) -> None:
        self._number = 0
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                env=programs.for_keeper(environ, references),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise _gone(f"could not be started: {error.strerror or error}") from None

    def ask(self, message: BaseModel) -> Reply:
        """Send a message and wait for its reply.

        Raises:
            RunbookError: ARCHIVE_FAILED if the keeper is gone.
        """
        self._number += 1
        order = {"number": self._number, "message": message.model_dump(mode="json")}
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            while True:
                reply = Reply.model_validate_json(self._process.stdout.readline())
                if reply.number == self._number:  # an earlier one may be left from an interrupted wait
                    return reply
        except (OSError, ValueError, ValidationError):
            raise _gone("has ended") from None

    def leave(self) -> None:
        """Let the keeper finish, and forget it: it seals what is not sealed yet."""
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert stream is not None  # noqa: S101
                stream.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid


def _gone(how: str) -> RunbookError:
    return RunbookError(
        Reason.ARCHIVE_FAILED,
        f"The process that keeps the evidence of this session {how}.",
        remedy="Press “Change the values”, then Start: that starts another.",
    )
