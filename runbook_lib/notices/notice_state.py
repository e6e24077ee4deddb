"""What the notices of an archive know: the last state of each certificate, job and rotation, and messages to send.

`<archive>/.notices/state.sqlite3`, next to the ledgers of the batches. What a bag changes and the messages about it are
one transaction, so a process that is killed leaves both or neither. It is a convenience, no evidence: without it, the
next run sees everything for the first time.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook_lib import disk
from runbook_lib.clock import iso
from runbook_lib.notices.run_facts import IN_USE, CertificateRow, NextStep, RunFacts

FOLDER, DATABASE, LOCK = ".notices", "state.sqlite3", "lock"
PATIENCE = 120.0
"""Seconds to wait for another process that sends."""

_COLUMNS = "key, environment, name, state, dated, start, ends, serial, place, owner"
_TABLES = """
CREATE TABLE IF NOT EXISTS certificates (
    key TEXT PRIMARY KEY, environment TEXT, name TEXT, state TEXT, dated TEXT, start TEXT, ends TEXT, serial TEXT,
    place TEXT, owner TEXT, digest BLOB, scope TEXT, gone TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_end ON certificates (ends);
CREATE TABLE IF NOT EXISTS jobs (key TEXT PRIMARY KEY, state TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (environment TEXT PRIMARY KEY, state TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    job TEXT, environment TEXT, status TEXT, runs INTEGER, last REAL, PRIMARY KEY (job, environment, status));
CREATE TABLE IF NOT EXISTS rotations (
    environment TEXT, name TEXT, words TEXT, start TEXT, PRIMARY KEY (environment, name));
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, way TEXT, kind TEXT, subject TEXT, text TEXT, html TEXT,
    state TEXT DEFAULT 'waiting', doubts INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS position (archive INTEGER PRIMARY KEY, sequence INTEGER, day TEXT, now INTEGER);
"""

KEPT = timedelta(days=400)
"""How long a certificate that is no longer listed is remembered, so that it is not news if it comes back."""

ENDED = timedelta(days=30)
"""How long an expired certificate that no program here uses still counts."""


@dataclass(frozen=True)
class Message:
    """A message to one recipient by one way (a reference). `kind` is apprise's: info, success, warning or failure."""

    way: str
    kind: str
    subject: str
    text: str
    html: str


class NoticesState:
    """The state of an archive's notices, while this process holds its lock."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._seen: set[str] = set()
        self._changed: list[tuple[Any, ...]] = []

    @classmethod
    @contextmanager
    def held(cls, archive: Path, *, wait: float = PATIENCE) -> Iterator[NoticesState]:
        """Lock and open the state. Raises RunbookError (BUSY), OSError or sqlite3.Error."""
        folder = archive / FOLDER
        folder.mkdir(exist_ok=True)
        with disk.locked(folder / LOCK, busy=f"The notices of {archive} are being sent by", wait=wait):
            database = sqlite3.connect(folder / DATABASE, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = EXTRA")  # a commit is on disk, its journal's end included
                database.executescript(_TABLES)
                yield cls(database)
            finally:
                database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes in the block, or none."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    # --- which bags ---------------------------------------------------------------------------------------------------

    @property
    def position(self) -> tuple[int, str] | None:
        """The sequence number in the chain of the last bag that was read, and its day (YYYY/MM/DD); None before any."""
        found = self._database.execute("SELECT sequence, day FROM position").fetchone()
        return (int(found[0]), str(found[1])) if found else None

    @property
    def now(self) -> datetime:
        """When the last run that was read ended, by its own clock; 1970 before the first."""
        found = self._database.execute("SELECT now FROM position").fetchone()
        return datetime.fromtimestamp(found[0] if found else 0, UTC)

    def advance(self, sequence: int, day: str, now: datetime) -> None:
        """Keep which bag was read last."""
        row = (sequence, day, int(now.timestamp()))
        self._database.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?, ?)", row)

    # --- jobs and sources ---------------------------------------------------------------------------------------------

    def jobs(self) -> dict[str, str]:
        return dict(self._database.execute("SELECT key, state FROM jobs"))

    def sources(self) -> dict[str, str]:
        return dict(self._database.execute("SELECT environment, state FROM sources"))

    def set_runs(self, jobs: dict[str, str], sources: dict[str, str], runs: Iterable[RunFacts]) -> None:
        """Keep the states of jobs and sources, and count these runs."""
        self._database.executemany("INSERT OR REPLACE INTO jobs VALUES (?, ?)", jobs.items())
        self._database.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", sources.items())
        self._database.executemany(
            "INSERT INTO runs VALUES (?, ?, ?, 1, ?) ON CONFLICT DO UPDATE SET runs = runs + 1, last = excluded.last",
            [(run.run.job, run.environment, run.run.status, run.run.finished.timestamp()) for run in runs],
        )

    def runs(self) -> list[tuple[str, str, str, int, float]]:
        """How many runs each job had: job, environment, status, number, and when the last of them ended."""
        return self._database.execute("SELECT * FROM runs ORDER BY job, environment, status").fetchall()

    # --- certificates -------------------------------------------------------------------------------------------------

    def compare(self, rows: Iterable[CertificateRow]) -> Iterator[tuple[CertificateRow, str | None]]:
        """Take the rows of an inventory. Yields each whose state is new, with the state before (None: never seen).

        Only rows that differ from what is known are kept in memory: a night after which nothing is new is cheap.
        """
        found = self._database.execute("SELECT key, digest, dated FROM certificates WHERE gone IS NULL")
        known = {key: (digest, dated) for key, digest, dated in found}
        self._seen, self._changed = set(), []
        for row in rows:
            digest = hashlib.blake2b("\0".join(row[1:10]).encode("utf-8", "surrogatepass"), digest_size=8).digest()
            self._seen.add(row.key)
            before = known.get(row.key)
            if before is not None and before[0] == digest:
                continue
            dated = before[1] if before is not None else self._gone(row.key)
            if row.dated and row.dated != dated:
                yield row, dated
            elif not row.dated:
                row = row._replace(dated=dated or "")  # unchecked: it is as it was
            self._changed.append((*row[:10], digest))

    def _gone(self, key: str) -> str | None:
        """The state of a certificate that was listed once; None if it never was."""
        found = self._database.execute("SELECT dated FROM certificates WHERE key = ?", (key,)).fetchone()
        return found and str(found[0])

    def keep(self, scope: str, *, complete: bool, now: datetime) -> None:
        """Keep the rows that `compare` took.

        Args:
            scope: the inventory. If it is complete, a certificate that it listed before and lists no more is gone.
        """
        self._database.executemany(
            f"INSERT OR REPLACE INTO certificates VALUES ({'?, ' * 11}?, NULL)",  # noqa: S608  our own text
            ((*cells, scope) for cells in self._changed),
        )
        if complete:
            listed = self._database.execute("SELECT key FROM certificates WHERE scope = ? AND gone IS NULL", (scope,))
            gone = [(iso(now), key) for (key,) in listed if key not in self._seen]
            self._database.executemany("UPDATE certificates SET gone = ? WHERE key = ?", gone)
            self._database.execute("DELETE FROM certificates WHERE gone < ?", (iso(now - KEPT),))
        self._seen, self._changed = set(), []

    def disable(self, environment: str, name: str) -> bool:
        """Keep that a certificate is disabled. False if it is known to be so."""
        known = self._database.execute(
            "SELECT dated FROM certificates WHERE environment = ? AND name = ? AND gone IS NULL", (environment, name)
        ).fetchall()
        if known and all(state == "disabled" for (state,) in known):
            return False
        self._database.execute(
            "UPDATE certificates SET state = 'disabled', dated = 'disabled', digest = NULL "
            "WHERE environment = ? AND name = ?",
            (environment, name),
        )
        return True

    def counts(self) -> list[tuple[str, str, int]]:
        """How many certificates are in which state: environment, state, number."""
        return self._database.execute(
            "SELECT environment, state, count(*) FROM certificates WHERE gone IS NULL GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()

    def nearest(self, now: datetime, limit: int) -> tuple[list[CertificateRow], int]:
        """The enabled certificates that end next, and how many more there are.

        An expired one that no program here uses counts for `ENDED`.
        """
        where = "gone IS NULL AND state != 'disabled' AND dated != 'disabled' AND (ends > ? OR place LIKE ?)"
        values = (iso(now - ENDED), f"%{IN_USE}")
        found = self._database.execute(
            f"SELECT {_COLUMNS} FROM certificates WHERE {where} ORDER BY ends, key LIMIT ?",  # noqa: S608
            (*values, limit),
        ).fetchall()
        (total,) = self._database.execute(f"SELECT count(*) FROM certificates WHERE {where}", values).fetchone()  # noqa: S608
        return [CertificateRow(*cells) for cells in found], total - len(found)

    # --- rotations ----------------------------------------------------------------------------------------------------

    def plan(self, environment: str, name: str, following: NextStep | None) -> None:
        """Keep the next step of a rotation; None if there is none to wait for."""
        self._database.execute("DELETE FROM rotations WHERE environment = ? AND name = ?", (environment, name))
        if following is not None:
            row = (environment, name, following.words, iso(following.start))
            self._database.execute("INSERT INTO rotations VALUES (?, ?, ?, ?)", row)

    def rotations(self, limit: int) -> list[tuple[str, str, str, str]]:
        """The next step of each rotation: environment, name, words, moment."""
        return self._database.execute("SELECT * FROM rotations ORDER BY start LIMIT ?", (limit,)).fetchall()

    # --- messages -----------------------------------------------------------------------------------------------------

    def post(self, messages: Iterable[Message]) -> None:
        """Add messages to send."""
        self._database.executemany(
            "INSERT INTO outbox (way, kind, subject, text, html) VALUES (?, ?, ?, ?, ?)",
            [(each.way, each.kind, each.subject, each.text, each.html) for each in messages],
        )

    def settle(self) -> int:
        """Decide about the messages that a killed process was sending: they are sent once more, and no third time.

        Returns: how many have been in doubt twice, and will not be sent again.
        """
        with self.transaction():
            self._database.execute("UPDATE outbox SET doubts = doubts + 1 WHERE state = 'sending'")
            given_up = self._database.execute(
                "UPDATE outbox SET state = 'unknown' WHERE state = 'sending' AND doubts > 1"
            )
            self._database.execute("UPDATE outbox SET state = 'waiting' WHERE state = 'sending'")
            return given_up.rowcount

    def waiting(self) -> list[tuple[int, Message]]:
        """The messages to send, oldest first, each with its number."""
        found: list[tuple[Any, ...]] = self._database.execute(
            "SELECT id, way, kind, subject, text, html FROM outbox WHERE state = 'waiting' ORDER BY id"
        ).fetchall()
        return [(number, Message(*cells)) for number, *cells in found]

    def sending(self, number: int) -> None:
        """Write down, before it is sent, that a message is about to be sent."""
        self._database.execute("UPDATE outbox SET state = 'sending' WHERE id = ?", (number,))

    def sent(self, number: int) -> None:
        self._database.execute("DELETE FROM outbox WHERE id = ?", (number,))

    def not_sent(self, number: int) -> None:
        """It was not accepted: it is sent again by the next run."""
        self._database.execute("UPDATE outbox SET state = 'waiting' WHERE id = ?", (number,))

    def unsent(self) -> int:
        """How many messages wait."""
        return int(self._database.execute("SELECT count(*) FROM outbox WHERE state != 'unknown'").fetchone()[0])
