"""Runs the process that reads files for an inventory, and replaces it if a file takes too much time or memory."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import psutil

from runbook_lib import programs
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.inventories.folder_walk import FolderEntry
from runbook_lib.inventories.folder_worker import FILE_SECONDS, LENGTH, PartialAnswer, Reader, Summary, order
from runbook_lib.inventories.health import Limits
from runbook_lib.secrets import Secret

START_SECONDS = 120.0
"""How long a process may take until its first file, on a busy machine."""

_LOOK = 0.5
"""Seconds between two checks of a process's progress."""


class _Ended(Exception):
    """The process ended, or was ended: at which entry of its piece (-1: before the first), and why."""

    def __init__(self, entry: int, why: str, *, too_long: bool = False) -> None:
        super().__init__(why)
        self.entry, self.why, self.too_long = entry, why, too_long


class Helper:
    """A process that turns files into rows; `folder_worker` describes its protocol.

    Args:
        password: for P12 files and Java key stores; None if there is none.
    """

    def __init__(self, limits: Limits, password: Secret | None) -> None:
        self._first_line = order(limits, password)
        self._reader = Reader(limits, None)  # makes the row of an entry that was given up
        self._stopped = False
        # it has no name, so there is nothing to clean up
        self._progress = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the helper)
        self._process = self._begin()

    def stop(self) -> None:
        """End the process, from any thread; stop reading."""
        self._stopped = True
        self._process.kill()

    def close(self) -> None:
        """End the process, once no thread reads from it."""
        self._end()
        self._progress.close()

    def read(self, entries: tuple[FolderEntry, ...]) -> Iterator[PartialAnswer]:
        """Yield the answer for some entries, in parts.

        Raises:
            RunbookError: FILE_NOT_READ if the process cannot be started.
        """
        finished = begun = tries = 0
        suspect = len(entries)  # the entry at which the process ended
        why = ""
        while finished < len(entries):
            if finished == suspect and tries == 2:
                yield self._reader.given_up(entries[suspect], f"reading stopped: {why}")
                finished, begun, suspect = finished + 1, 0, len(entries)
                continue
            if finished > suspect:
                suspect = len(entries)
            # repeat the entries before the suspect, whose answer is lost, then read the suspect alone
            asked = entries[finished : max(suspect, finished + 1)]
            first = finished
            try:
                for answer in self._ask(asked, begun):
                    finished, begun = finished + answer.entries, answer.begun
                    yield answer
            except _Ended as ended:
                self._begin_again(ended)
                at, why = first + ended.entry, ended.why
                # somebody may have ended the process, so an entry gets a second try
                tries = 2 if ended.too_long or at == suspect else 1
                suspect = at

    def _begin_again(self, ended: _Ended) -> None:
        self._end()
        if ended.entry < 0 or self._stopped:
            raise RunbookError(
                Reason.FILE_NOT_READ,
                f"The process that reads files did not start: {ended.why}.",
                remedy="Run again when the machine has free memory and can start processes.",
            )
        self._process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "runbook_lib.inventories.folder_worker", str(self._progress.fileno())],
            env=programs.for_python(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a library's last words as it aborts; the row says why it ended
            pass_fds=(self._progress.fileno(),),
        )
        self._watched = psutil.Process(process.pid)
        self._set_progress(-1)
        self._begun = False
        return process

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, entries: tuple[FolderEntry, ...], begun: int) -> Iterator[PartialAnswer]:
        left = len(entries)
        try:
            if not self._begun:
                self._send(self._first_line)
            else:
                self._set_progress(0)
            self._send((begun, entries))
            while left:
                self._wait()
                head = json.loads(self._exactly(int.from_bytes(self._exactly(LENGTH), "big")))
                csv = self._exactly(head["bytes"])
                self._begun = True
                left -= head["entries"]
                yield PartialAnswer(head["entries"], csv, Summary.from_json(head["summary"]), head["begun"])
        except BrokenPipeError:
            code = self._process.wait()
            why = f"signal {-code} ended the process" if code < 0 else f"the process ended with exit code {code}"
            raise _Ended(self._reached(), why) from None

    def _exactly(self, count: int) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        data = bytearray()
        while len(data) < count:  # not through its buffer, which no selector sees
            if not (more := os.read(self._process.stdout.fileno(), count - len(data))):
                raise BrokenPipeError
            data += more
        return bytes(data)

    def _wait(self) -> None:
        """Wait until an answer comes or the process ends. Raises _Ended if an entry takes too long."""
        assert self._process.stdout is not None  # noqa: S101
        reached, since, used = self._reached(), time.monotonic(), self._used()[0]
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(_LOOK):
                now, before = self._reached(), reached
                limit = START_SECONDS if now < 0 else FILE_SECONDS
                if now != before:
                    reached, since, used = now, time.monotonic(), self._used()[0]
                elif time.monotonic() - since > limit:
                    seconds, running = self._used()
                    # on a busy machine, the file need not be the cause of the delay
                    if not running or seconds - used > limit or time.monotonic() - since > 6 * limit:
                        raise _Ended(now, f"it took more than {limit:.0f} s", too_long=True)

    def _used(self) -> tuple[float, bool]:
        """The CPU seconds of the process, and whether it is running now."""
        try:
            times = self._watched.cpu_times()
            return times.user + times.system, self._watched.status() == psutil.STATUS_RUNNING
        except psutil.Error:
            return 0.0, False

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _set_progress(self, number: int) -> None:
        os.pwrite(self._progress.fileno(), number.to_bytes(8, "big", signed=True), 0)

    def _reached(self) -> int:
        return int.from_bytes(os.pread(self._progress.fileno(), 8, 0), "big", signed=True)
