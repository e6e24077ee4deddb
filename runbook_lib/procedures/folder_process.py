"""The process that reads files for an inventory, from outside: ended, and begun anew, where a file takes too much."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from typing import Any

from runbook_lib import programs
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.folder_rows import Answer, Reader, Summary, order
from runbook_lib.procedures.folder_walk import Entry
from runbook_lib.procedures.health import Limits
from runbook_lib.secrets import Secret

FILE_SECONDS = 10.0
"""For one file. A key derivation of five million rounds, the most that is begun, takes half of it."""

START_SECONDS = 120.0
"""For a process to begin on its first file, on a machine that has much else to do."""

_LOOK = 0.5
"""Seconds between two looks at how far a process has come."""


class _Ended(Exception):
    """The process has ended, or was ended: at which entry of its piece (-1: before the first), and why."""

    def __init__(self, entry: int, why: str, *, too_long: bool = False) -> None:
        super().__init__(why)
        self.entry, self.why, self.too_long = entry, why, too_long


class Helper:
    """A process that makes rows of files; `folder_rows` says how it is spoken to.

    Args:
        password: of P12 files and Java key stores; None where there is none.
    """

    def __init__(self, limits: Limits, password: Secret | None) -> None:
        self._first_line = order(limits, password)
        self._reader = Reader(limits, None)  # makes the row of an entry that was too much
        self._stopped = False
        # no name, and so nothing to clean up
        self._progress = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the helper)
        self._process = self._begin()

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """End the process, from any thread; nothing is read any more."""
        self._stopped = True
        self._process.kill()

    def close(self) -> None:
        """End the process when no thread reads any more."""
        self._end()
        self._progress.close()

    def read(self, entries: tuple[Entry, ...]) -> Answer:
        """The answer for the first of some entries, at least one.

        Raises:
            RunbookError: FILE_NOT_READ where no such process can be started.
        """
        try:
            return self._ask(entries)
        except _Ended as ended:
            self._begin_anew(ended)
            at, too_much = ended.entry, ended
        before = self.read(entries[:at]) if at else None  # once more: their answer is lost
        if before is not None and before.entries < at:
            return before
        if not too_much.too_long:  # it may have been ended by somebody, so this entry has a second try
            try:
                return self._ask(entries[at : at + 1]).behind(before)
            except _Ended as ended:
                self._begin_anew(ended)
                too_much = ended
        return self._reader.given_up(entries[at], f"while it was read: {too_much.why}").behind(before)

    def _begin_anew(self, ended: _Ended) -> None:
        self._end()
        if ended.entry < 0 or self._stopped:
            raise RunbookError(
                Reason.FILE_NOT_READ,
                f"The process that reads files did not begin: {ended.why}.",
                remedy="Run again when the machine has memory and processes to spare.",
            )
        self._process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "runbook_lib.procedures.folder_rows", str(self._progress.fileno())],
            env=programs.for_python(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a library says as it aborts; why it ended is the row's to say
            pass_fds=(self._progress.fileno(),),
        )
        self._set_progress(-1)
        self._begun = False
        return process

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, entries: tuple[Entry, ...]) -> Answer:
        assert self._process.stdout is not None  # noqa: S101
        try:
            if not self._begun:
                self._say(self._first_line)
            else:
                self._set_progress(0)
            self._say(entries)
            self._wait()
            line = self._process.stdout.readline()
            if not line.endswith(b"\n"):
                raise BrokenPipeError
            told = json.loads(line)
            self._begun = True
            return Answer(told["entries"], self._rest(told["bytes"]), Summary.from_json(told["summary"]))
        except BrokenPipeError:
            code = self._process.wait()
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise _Ended(self._reached(), f"the process ended {how}") from None

    def _rest(self, count: int) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise BrokenPipeError
        return data

    def _wait(self) -> None:
        """Until an answer comes, or the process has its end. Raises _Ended where one entry takes too long."""
        assert self._process.stdout is not None  # noqa: S101
        reached, since = self._reached(), time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(_LOOK):
                now, before = self._reached(), reached
                limit = START_SECONDS if now < 0 else FILE_SECONDS
                if now != before:
                    reached, since = now, time.monotonic()
                elif time.monotonic() - since > limit:
                    raise _Ended(now, f"more than {limit:.0f} s went by", too_long=True)

    def _say(self, what: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()

    def _set_progress(self, number: int) -> None:
        os.pwrite(self._progress.fileno(), number.to_bytes(8, "big", signed=True), 0)

    def _reached(self) -> int:
        return int.from_bytes(os.pread(self._progress.fileno(), 8, 0), "big", signed=True)
