"""Turns files of certificates into rows of an inventory, in a process of its own.

`python -m runbook_lib.inventories.folder_worker N` starts such a process. It reads a line of JSON with the limits and
the password (nobody else sees a pipe), then a line with entries for each piece of work. It answers in parts, so that
little is lost and little is in memory: the length of some JSON in eight bytes, the JSON, and as many bytes of CSV as
the JSON says. It writes the number of the entry it has started into the open file N, so that the caller knows which
entry takes too long, and can end the process. It limits its own memory. It ends only with its input; Ctrl-C is for the
caller.

Reading a certificate holds Python's global lock (measured), so threads would gain nothing. `multiprocessing` forks,
which a kernel with threads must not do, or imports the caller's `__main__`, or refuses to work inside one of its own
workers. A plain process does none of this.
"""

from __future__ import annotations

import heapq
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from runbook_lib.clock import parse_utc
from runbook_lib.credentials.armour import FileItem
from runbook_lib.credentials.fields import read_fields, tolerant
from runbook_lib.credentials.folder import look_into
from runbook_lib.errors import Reason
from runbook_lib.inventories.folder_walk import FolderEntry
from runbook_lib.inventories.health import Health, Limits
from runbook_lib.secrets import Secret
from runbook_lib.tables import SHOWN, csv_cell, csv_lines

_HEALTH = {
    Reason.NO_CERTIFICATE: Health.NO_CERTIFICATE,
    Reason.KEY_IN_PLAIN_TEXT: Health.EXPOSED,
    Reason.P12_NOT_OPENED: Health.UNCHECKED,
    Reason.WRONG_PASSWORD: Health.UNCHECKED,
    Reason.LINK_NOT_FOLLOWED: Health.UNCHECKED,
    Reason.FILE_NOT_READ: Health.UNCHECKED,
    Reason.FILE_TOO_LARGE: Health.UNCHECKED,
    Reason.FILE_GIVEN_UP: Health.UNCHECKED,
    Reason.KEYSTORE_NOT_READ: Health.UNCHECKED,
    Reason.CONTAINER_NOT_OPENED: Health.UNCHECKED,
    Reason.KEY_NOT_CHECKED: Health.UNCHECKED,
}
"""The state of a row without a certificate, by reason; any other reason makes it unreadable."""

FLAWS = (
    *(Reason.CHAIN_MISSING, Reason.OLD_ENCRYPTION),
    *(Reason.UNREADABLE_FILE, Reason.KEY_IN_PLAIN_TEXT, Reason.KEY_MISMATCH),
)
"""Reasons that need action."""

_ENDED = 10**12  # seconds: sorts after everything that has not expired

_LOOK_AT = 100
"""Certificates of a file between two checks of the time it has taken."""

Row = tuple[str, ...]


UNCHECKED = tuple(reason for reason, health in _HEALTH.items() if health is Health.UNCHECKED)
"""Reasons that leave the content of a file unknown."""

ENOUGH, ENOUGH_BYTES, ENOUGH_SECONDS = 2_000, 2**20, 0.5
"""Rows, bytes of rows, or seconds after which a process sends a part: a file may hold forty thousand certificates."""

FILE_SECONDS = 10.0
"""The limit for one file, or until some of its rows are made. A key derivation of five million rounds, the most that is
tried, takes half of it."""

BUNDLE_SECONDS = 20.0
"""The limit for one file whose rows keep coming, in CPU time."""

MAX_MEMORY = 160 * 2**20
"""Bytes of memory for a process: enough for the largest file, and several times for its largest part."""

MAX_CELL = 1_000
"""Characters of a name, serial number or key kind; longer ones are cut and end in `…`."""

LENGTH = 8
"""Bytes that hold the length of a part of an answer."""


@dataclass
class Summary:
    """What a report says of any number of files.

    Args:
        months: how many certificates end in which month (`YYYY-MM`), by state.
        soonest: the certificates that end next, then those that ended last: sort key and row.
        flawed: rows that need action for another reason than their end, in the order of the files.
        pressing: how many rows need action.
        unchecked: rows that could not be checked, in the order of the files.
        folders: how many files and certificates each named folder has.
    """

    files: int = 0
    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    months: Counter[tuple[str, str]] = field(default_factory=Counter)
    soonest: list[tuple[float, Row]] = field(default_factory=list)
    flawed: list[Row] = field(default_factory=list)
    pressing: int = 0
    unchecked: list[Row] = field(default_factory=list)
    folders: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def bare(self) -> list[str]:
        """The folders without a certificate."""
        return [folder for folder, (_, certificates) in self.folders.items() if not certificates]

    @property
    def needs_action(self) -> int:
        """How many rows, and folders without a certificate, need action."""
        return self.pressing + len(self.bare)

    def count(self, folder: str, other: Summary) -> None:
        """Count another summary for a folder."""
        files, certificates = self.folders.get(folder, (0, 0))
        self.folders[folder] = files + other.files, certificates + sum(other.months.values())

    def add(self, other: Summary) -> None:
        """Add another summary."""
        self.files += other.files
        self.rows += other.rows
        self.states.update(other.states)
        self.reasons.update(other.reasons)
        self.months.update(other.months)
        self.soonest = heapq.nsmallest(SHOWN, [*self.soonest, *other.soonest])
        self.flawed = [*self.flawed, *other.flawed][:SHOWN]
        self.unchecked = [*self.unchecked, *other.unchecked][:SHOWN]
        self.pressing += other.pressing

    def as_json(self) -> dict[str, Any]:
        months = [[*month, count] for month, count in self.months.items()]
        return {**vars(self), "months": months}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Summary:
        return cls(
            files=data["files"],
            rows=data["rows"],
            states=Counter(data["states"]),
            reasons=Counter(data["reasons"]),
            months=Counter({(month, state): count for month, state, count in data["months"]}),
            soonest=[(key, tuple(row)) for key, row in data["soonest"]],
            flawed=[tuple(row) for row in data["flawed"]],
            pressing=data["pressing"],
            unchecked=[tuple(row) for row in data["unchecked"]],
        )


class PartialAnswer(NamedTuple):
    """A part of the answer for a piece: rows as CSV, and their summary.

    Args:
        entries: how many more entries are finished with it.
        begun: how many rows of the next entry are made, in this part and those before it.
    """

    entries: int
    csv: bytes
    summary: Summary
    begun: int = 0


class Reader:
    """Turns files into rows.

    Args:
        password: for P12 files and Java key stores; None if there is none.
    """

    def __init__(self, limits: Limits, password: Secret | None) -> None:
        self._limits = limits
        self._password = password
        self._summary = Summary()
        self._soonest: list[tuple[float, Row]] = []  # a heap with the last to end on top, by negative keys

    def answers(
        self, entries: Sequence[FolderEntry], begun: int = 0, begin: Callable[[int], None] = lambda _: None
    ) -> Iterator[PartialAnswer]:
        """Yield a row for each certificate, and one for each reason why there is none, in parts.

        Args:
            begun: how many rows of the first entry to skip, because they were made before.
            begin: called with the number of each entry, from 0, before it is read.
        """
        lines: list[str] = []
        finished = size = 0
        since = time.monotonic()
        with tolerant():
            for number, entry in enumerate(entries):
                begin(number)
                for line in self._lines(entry, begun):
                    begun += 1
                    lines.append(line)
                    size += len(line)
                    if len(lines) >= ENOUGH or size >= ENOUGH_BYTES:
                        yield self._answer(finished, lines, begun)
                        lines, finished, size, since = [], 0, 0, time.monotonic()
                finished += 1
                begun = 0
                if time.monotonic() - since >= ENOUGH_SECONDS:
                    yield self._answer(finished, lines)
                    lines, finished, size, since = [], 0, 0, time.monotonic()
        if finished:
            yield self._answer(finished, lines)

    def given_up(self, entry: FolderEntry, why: str) -> PartialAnswer:
        """The answer for an entry that was too much for the reading process."""
        return self._answer(1, [_line(self._row(entry.path, FileItem("", 0, None, Reason.FILE_GIVEN_UP, why)))])

    def _answer(self, finished: int, lines: list[str], begun: int = 0) -> PartialAnswer:
        summary = self._summary
        summary.files, summary.rows = finished, len(lines)
        summary.soonest = sorted((-key, row) for key, row in self._soonest)
        self._summary, self._soonest = Summary(), []
        return PartialAnswer(finished, csv_lines(lines), summary, begun)

    def _lines(self, entry: FolderEntry, left_out: int) -> Iterable[str]:
        if entry.state:
            yield _line(self._other(entry.path, Health(entry.state), Reason(entry.reason), entry.why))
            return
        until = time.process_time() + BUNDLE_SECONDS
        try:
            for found in islice(look_into(entry.target or entry.path, self._password), left_out, None):
                if entry.target:
                    found = found._replace(why=f"a link to {entry.target}; {found.why}".removesuffix("; "))
                yield _line(self._row(entry.path, found))
                if found.number and not found.number % _LOOK_AT and time.process_time() > until:
                    why = f"reading took more than {BUNDLE_SECONDS:.0f} s: the rest of the file was not read"
                    yield _line(self._row(entry.path, FileItem(found.form, 0, None, Reason.FILE_GIVEN_UP, why)))
                    return
        except (MemoryError, RecursionError) as error:
            why = "needs too much memory" if isinstance(error, MemoryError) else "nested too deeply"
            yield _line(self._row(entry.path, FileItem("", 0, None, Reason.FILE_GIVEN_UP, why)))

    def _row(self, path: str, found: FileItem) -> Row:
        if found.der:
            return self._certificate(path, found)
        assert found.reason is not None  # noqa: S101  (there is a certificate or a reason)
        state = _HEALTH.get(found.reason, Health.UNREADABLE)
        return self._other(path, state, found.reason, found.why, found.form, found.number)

    def _other(self, path: str, state: Health, reason: Reason, why: str, form: str = "", number: int = 0) -> Row:
        """The row of something that is not a certificate."""
        row = (path, str(number), state.value, why, *("",) * 8, form, reason.value)
        self._summary.states[state.value] += 1
        self._summary.reasons[reason.value] += 1
        if reason in FLAWS:
            self._flaw(row)
        elif state is Health.UNCHECKED and len(self._summary.unchecked) < SHOWN:
            self._summary.unchecked.append(row)
        return row

    def _certificate(self, path: str, found: FileItem) -> Row:
        subject, issuer, serial, start, end, key, sha256, unusual, unread = read_fields(found.certificate, found.der)
        reason = found.reason or (Reason.UNUSUAL_ENCODING if unusual else None)
        reason = Reason.UNREADABLE_FILE if unread else reason
        health, why = self._limits.judge(start, end) if end else (Health.UNREADABLE, "")
        state = health.value
        row = (
            path,
            str(found.number),
            state,
            "; ".join(filter(None, (found.why, unusual, unread, why))),
            str((end - self._limits.now).days) if end else "",
            start.isoformat()[:19] + "Z" if start else "",  # as `iso`, at a fifth of its cost
            end.isoformat()[:19] + "Z" if end else "",
            *(_short(subject), _short(issuer), _short(serial), _short(key), sha256),
            found.form,
            reason.value if reason else "",
        )
        summary = self._summary
        summary.states[state] += 1
        if reason is not None:
            summary.reasons[reason.value] += 1
        if reason in FLAWS:
            self._flaw(row)
        elif health in (Health.DUE, Health.URGENT):
            summary.pressing += 1
        if end is None:
            return row
        summary.months[row[6][:7], state] += 1
        seconds = (end - self._limits.now).total_seconds()
        order = -seconds if seconds > 0 else seconds - _ENDED
        if len(self._soonest) < SHOWN:
            heapq.heappush(self._soonest, (order, row))
        elif order > self._soonest[0][0]:
            heapq.heapreplace(self._soonest, (order, row))
        return row

    def _flaw(self, row: Row) -> None:
        self._summary.pressing += 1
        if len(self._summary.flawed) < SHOWN:
            self._summary.flawed.append(row)


def _short(name: str) -> str:
    return name if len(name) <= MAX_CELL else name[:MAX_CELL] + "…"


def _line(row: Row) -> str:
    """A row as a line of CSV. Only four cells hold foreign text; the others need no quotes."""
    file, number, state, why, left, starts, ends, subject, issuer, serial, key, sha256, form, reason = row
    return (
        f"{csv_cell(file)},{number},{state},{why and csv_cell(why)},{left},{starts},{ends},"
        f"{csv_cell(subject)},{csv_cell(issuer)},{serial},{key},{sha256},{form},{reason}"
    )


def order(limits: Limits, password: Secret | None) -> dict[str, Any]:
    """The first line that a process gets."""
    return {
        "now": limits.now.isoformat(),
        "due": limits.due.total_seconds(),
        "urgent": limits.urgent.total_seconds(),
        "password": None if password is None else [password.reveal(), password.source],
        "memory": MAX_MEMORY,
    }


def main(source: BinaryIO, target: BinaryIO, progress: int) -> None:
    """Answer until the input ends.

    Args:
        progress: the descriptor of the file for the number of the entry that was started.
    """

    def begin(number: int) -> None:
        os.pwrite(progress, number.to_bytes(8, "big", signed=True), 0)

    given = json.loads(source.readline())
    allowed = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if allowed == resource.RLIM_INFINITY or allowed > given["memory"]:
        resource.setrlimit(resource.RLIMIT_DATA, (given["memory"], allowed))
    limits = Limits(parse_utc(given["now"]), timedelta(seconds=given["due"]), timedelta(seconds=given["urgent"]))
    reader = Reader(limits, Secret(*given["password"]) if given["password"] else None)
    for line in source:
        begun, entries = json.loads(line)
        for finished, data, summary, left in reader.answers([FolderEntry(*fields) for fields in entries], begun, begin):
            part = {"entries": finished, "bytes": len(data), "begun": left, "summary": summary.as_json()}
            head = json.dumps(part).encode()
            target.write(len(head).to_bytes(LENGTH, "big") + head + data)
            target.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its memory may hold secrets
    with suppress(BrokenPipeError):  # the caller no longer reads the answers
        main(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))
