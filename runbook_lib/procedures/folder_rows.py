"""Files of certificates as rows of an inventory: what one process makes of the files it is given.

`python -m runbook_lib.procedures.folder_rows` is such a process. It reads a line of JSON with the limits and the
password (a pipe shows it to nobody), then for each piece of work a line with paths, answered with a line of JSON and as
many bytes of CSV as that says, of all the files or of the first of them. The line `null` asks for the summary. It ends
with its input, and with nothing else: Ctrl-C is for whoever reads the answers.

Reading a certificate holds Python's global lock (measured), so threads would gain nothing. And `multiprocessing` forks,
which a kernel with threads must not, or imports the caller's `__main__`, or refuses to work inside of a worker of its
own; a plain process does none of it.
"""

from __future__ import annotations

import heapq
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, BinaryIO, NamedTuple

from runbook_lib.clock import parse_utc
from runbook_lib.credentials.certificates import UNDECODABLE
from runbook_lib.credentials.folder import Found, look_into, tolerant
from runbook_lib.credentials.outline import Outliner
from runbook_lib.errors import Reason
from runbook_lib.procedures.health import Health, Limits
from runbook_lib.secrets import Secret
from runbook_lib.tables import SHOWN, csv_cell, csv_lines

COLUMNS = (
    *("file", "number", "state", "why", "days left", "starts", "ends"),
    *("subject", "issuer", "serial", "key", "sha256", "form", "reason"),
)
"""Of files.csv. Scripts read them: add at the end, rename none."""

MOMENTS, NUMBERS = ("starts", "ends"), ("number", "days left")

_HEALTH = {
    Reason.NO_CERTIFICATE: Health.NO_CERTIFICATE,
    Reason.KEY_IN_PLAIN_TEXT: Health.EXPOSED,
    Reason.P12_NOT_OPENED: Health.UNCHECKED,
    Reason.LINK_NOT_FOLLOWED: Health.UNCHECKED,
    Reason.FILE_NOT_READ: Health.UNCHECKED,
    Reason.FILE_TOO_LARGE: Health.UNCHECKED,
}
"""Every other reason makes a row without a certificate unreadable."""

_BESIDES = (Reason.CHAIN_MISSING, Reason.OLD_ENCRYPTION)
"""What may be wrong with a P12 whose certificate was read, whatever its dates say."""

FLAWS = (
    *_BESIDES,
    *(Reason.UNREADABLE_FILE, Reason.KEY_IN_PLAIN_TEXT, Reason.WRONG_PASSWORD),
    *(Reason.P12_WITHOUT_KEY, Reason.KEY_MISMATCH),
)
"""Reasons that need somebody."""

_ENDED = 10**12  # seconds: behind everything that has not ended

Row = tuple[str, ...]


ENOUGH = 2_000
"""Rows after which a process answers, whatever it was given: one file may hold forty thousand certificates."""


class Answer(NamedTuple):
    """What was made of the first so many files of a piece: so many rows, as CSV."""

    files: int
    rows: int
    csv: bytes


@dataclass
class Summary:
    """What a report tells of any number of files.

    Args:
        months: how many certificates end in which month (`YYYY-MM`), by state.
        soonest: the certificates that end next, then those that ended last: what sorts them, and the row.
        flawed: rows that need somebody for another reason than their end, in the order of the files.
        pressing: how many rows need somebody.
    """

    files: int = 0
    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    months: Counter[tuple[str, str]] = field(default_factory=Counter)
    soonest: list[tuple[float, Row]] = field(default_factory=list)
    flawed: list[Row] = field(default_factory=list)
    pressing: int = 0

    def add(self, other: Summary) -> None:
        """Take in what another process found."""
        self.files += other.files
        self.rows += other.rows
        self.states.update(other.states)
        self.reasons.update(other.reasons)
        self.months.update(other.months)
        self.soonest = heapq.nsmallest(SHOWN, [*self.soonest, *other.soonest])
        self.flawed = sorted([*self.flawed, *other.flawed])[:SHOWN]
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
        )


class Reader:
    """Makes rows of files, and sums up what it has seen.

    Args:
        password: of P12 files; None leaves them closed.
    """

    def __init__(self, limits: Limits, password: Secret | None) -> None:
        self.summary = Summary()
        self._limits = limits
        self._password = password
        self._outline = Outliner()
        self._soonest: list[tuple[float, Row]] = []  # a heap with the last to end on top: keys are negative

    def rows(self, paths: Sequence[str]) -> Answer:
        """One row for each certificate, and one for each reason why there is none, of as many of the files as make an
        answer."""
        lines: list[str] = []
        files = 0
        with tolerant():
            for path in paths:
                files += 1
                for found in look_into(path, self._password):
                    lines.append(_line(self._row(path, found)))
                if len(lines) >= ENOUGH:
                    break
        self.summary.files += files
        self.summary.rows += len(lines)
        return Answer(files, len(lines), csv_lines(lines))

    def end(self) -> Summary:
        """The summary of everything so far."""
        self.summary.soonest = sorted((-key, row) for key, row in self._soonest)
        return self.summary

    def _row(self, path: str, found: Found) -> Row:
        if found.certificate is not None:
            try:
                return self._certificate(path, found)
            except UNDECODABLE:
                found = found._replace(reason=Reason.UNREADABLE_FILE, why="a part of it cannot be decoded")
        assert found.reason is not None  # noqa: S101  (there is a certificate or a reason)
        state = _HEALTH.get(found.reason, Health.UNREADABLE)
        row = (path, str(found.number), state.value, found.why, *("",) * 8, found.form, found.reason.value)
        self.summary.states[state.value] += 1
        self.summary.reasons[found.reason.value] += 1
        if found.reason in FLAWS:
            self._flaw(row)
        return row

    def _certificate(self, path: str, found: Found) -> Row:
        assert found.certificate is not None  # noqa: S101
        subject, issuer, serial, start, end, algorithm, sha256 = self._outline(found.certificate, found.der)
        health, why = self._limits.judge(start, end)
        state = health.value
        left = end - self._limits.now
        row = (
            path,
            str(found.number),
            state,
            f"{found.why}; {why}".strip("; ") if found.why else why,
            str(left.days),
            start.isoformat()[:19] + "Z",  # `iso`, at a fifth of its cost
            end.isoformat()[:19] + "Z",
            *(subject, issuer, serial, algorithm, sha256),
            found.form,
            found.reason.value if found.reason else "",
        )
        summary = self.summary
        summary.states[state] += 1
        summary.months[row[6][:7], state] += 1
        if found.reason is not None:
            summary.reasons[found.reason.value] += 1
        if found.reason in _BESIDES:
            self._flaw(row)
        elif health in (Health.DUE, Health.URGENT):
            summary.pressing += 1
        seconds = left.total_seconds()
        key = -seconds if seconds > 0 else seconds - _ENDED
        if len(self._soonest) < SHOWN:
            heapq.heappush(self._soonest, (key, row))
        elif key > self._soonest[0][0]:
            heapq.heapreplace(self._soonest, (key, row))
        return row

    def _flaw(self, row: Row) -> None:
        self.summary.pressing += 1
        if len(self.summary.flawed) < SHOWN:
            self.summary.flawed.append(row)


def _line(row: Row) -> str:
    """A row as a line of CSV. Only four cells hold what others wrote; no other needs quotes."""
    file, number, state, why, left, starts, ends, subject, issuer, serial, key, sha256, form, reason = row
    return (
        f"{csv_cell(file)},{number},{state},{why and csv_cell(why)},{left},{starts},{ends},"
        f"{csv_cell(subject)},{csv_cell(issuer)},{serial},{key},{sha256},{form},{reason}"
    )


def order(limits: Limits, password: Secret | None) -> dict[str, Any]:
    """The first line that a process is given."""
    return {
        "now": limits.now.isoformat(),
        "due": limits.due.total_seconds(),
        "urgent": limits.urgent.total_seconds(),
        "password": None if password is None else [password.reveal(), password.source],
    }


def main(source: BinaryIO, target: BinaryIO) -> None:
    """Answer until the input ends."""
    told = json.loads(source.readline())
    limits = Limits(parse_utc(told["now"]), timedelta(seconds=told["due"]), timedelta(seconds=told["urgent"]))
    reader = Reader(limits, Secret(*told["password"]) if told["password"] else None)
    for line in source:
        paths: Sequence[str] | None = json.loads(line)
        if paths is None:
            answer, data = json.dumps(reader.end().as_json()), b""
        else:
            files, rows, data = reader.rows(paths)
            answer = json.dumps({"files": files, "rows": rows, "bytes": len(data)})
        target.write(answer.encode() + b"\n" + data)
        target.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):  # nobody reads the answers any more
        main(sys.stdin.buffer, sys.stdout.buffer)
