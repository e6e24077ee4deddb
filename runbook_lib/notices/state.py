"""What the notices of an archive know: the last state of each certificate, job and rotation, and messages to send.

`<archive>/.notices/state.sqlite3`, next to the ledgers of the batches. What a bag changes and the messages about it are
one transaction, so a process that is killed leaves both or neither. It is a convenience, no evidence: without it, the
next run sees everything for the first time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib import disk
from runbook_lib.notices.facts import CertificateRow, NextStep, RunFacts

FOLDER, DATABASE, LOCK = ".notices", "state.sqlite3", "lock"
PATIENCE = 120.0
"""Seconds to wait for another process that sends."""

_COLUMNS = "key, environment, name, state, dated, why, start, ends, serial, place, owner, in_use"
_TABLES = """
CREATE TABLE IF NOT EXISTS certificates (
    key TEXT PRIMARY KEY, environment TEXT, name TEXT, state TEXT, dated TEXT, why TEXT, start INTEGER, ends INTEGER,
    serial TEXT, place TEXT, owner TEXT, in_use INTEGER, scope TEXT, gone INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (key TEXT PRIMARY KEY, state TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (environment TEXT PRIMARY KEY, state TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    job TEXT, environment TEXT, status TEXT, runs INTEGER, last REAL, PRIMARY KEY (job, environment, status));
CREATE TABLE IF NOT EXISTS rotations (
    environment TEXT, name TEXT, words TEXT, start INTEGER, PRIMARY KEY (environment, name));
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, way TEXT, kind TEXT, subject TEXT, text TEXT, html TEXT,
    state TEXT DEFAULT 'waiting', doubts INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS position (archive INTEGER PRIMARY KEY, sequence INTEGER, day TEXT, now INTEGER);
CREATE TEMP TABLE seen (
    key TEXT PRIMARY KEY, environment TEXT, name TEXT, state TEXT, dated TEXT, why TEXT, start INTEGER, ends INTEGER,
    serial TEXT, place TEXT, owner TEXT, in_use INTEGER) WITHOUT ROWID;
"""

KEPT = 400 * 86_400
"""Seconds for which a certificate that is no longer listed is remembered, so that it is not news if it comes back."""


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
        """Take the rows of an inventory. Yields each whose state is new, with the state before (None: never seen)."""
        database = self._database
        database.execute("DELETE FROM seen")
        database.executemany(f"INSERT OR IGNORE INTO seen VALUES ({', '.join('?' * 12)})", rows)  # noqa: S608
        found = database.execute(
            f"SELECT {', '.join(f'seen.{name}' for name in _COLUMNS.split(', '))}, known.dated "  # noqa: S608
            "FROM seen LEFT JOIN certificates AS known USING (key) "
            "WHERE known.key IS NULL OR (seen.dated != '' AND seen.dated != known.dated) ORDER BY seen.ends"
        )
        for *cells, before in found:
            yield _row(cells), before

    def keep(self, scope: str, *, complete: bool, now: datetime) -> None:
        """Keep the rows that `compare` took.

        Args:
            scope: the inventory. If it is complete, a certificate that it listed before and lists no more is gone.
        """
        changed = "environment, name, state, start, ends, serial, place, owner, in_use"
        self._database.execute(
            f"INSERT INTO certificates SELECT {_COLUMNS}, ?, NULL FROM seen WHERE true "  # noqa: S608  our own names
            "ON CONFLICT DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in (*changed.split(", "), "why", "scope", "gone"))
            + ", dated = iif(excluded.dated = '', dated, excluded.dated) "
            f"WHERE ({changed}, scope, gone) IS NOT "
            f"({', '.join(f'excluded.{name}' for name in changed.split(', '))}, excluded.scope, NULL) "
            "OR excluded.dated NOT IN (dated, '')",
            (scope,),
        )
        if complete:
            at = int(now.timestamp())
            self._database.execute(
                "UPDATE certificates SET gone = ? "
                "WHERE scope = ? AND gone IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.key = certificates.key)",
                (at, scope),
            )
            self._database.execute("DELETE FROM certificates WHERE gone < ?", (at - KEPT,))

    def disable(self, environment: str, name: str) -> bool:
        """Keep that a certificate is disabled. False if it is known to be so."""
        known = self._database.execute(
            "SELECT dated FROM certificates WHERE environment = ? AND name = ? AND gone IS NULL", (environment, name)
        ).fetchall()
        if known and all(state == "disabled" for (state,) in known):
            return False
        self._database.execute(
            "UPDATE certificates SET state = 'disabled', dated = 'disabled' WHERE environment = ? AND name = ?",
            (environment, name),
        )
        return True

    def counts(self) -> list[tuple[str, str, int]]:
        """How many certificates are in which state: environment, state, number."""
        return self._database.execute(
            "SELECT environment, state, count(*) FROM certificates WHERE gone IS NULL GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()

    def nearest(self, now: datetime, limit: int, *, ended: int = 30 * 86_400) -> tuple[list[CertificateRow], int]:
        """The enabled certificates that end next, and how many more there are.

        Args:
            ended: seconds for which an expired one that no program here uses is still counted.
        """
        where = "gone IS NULL AND 'disabled' NOT IN (state, dated) AND (in_use OR ends > ?)"
        since = int(now.timestamp()) - ended
        found = self._database.execute(
            f"SELECT {_COLUMNS} FROM certificates WHERE {where} ORDER BY ends, key LIMIT ?",  # noqa: S608
            (since, limit),
        ).fetchall()
        (total,) = self._database.execute(f"SELECT count(*) FROM certificates WHERE {where}", (since,)).fetchone()  # noqa: S608
        return [_row(cells) for cells in found], total - len(found)

    # --- rotations ----------------------------------------------------------------------------------------------------

    def plan(self, environment: str, name: str, following: NextStep | None) -> None:
        """Keep the next step of a rotation; None if there is none to wait for."""
        self._database.execute("DELETE FROM rotations WHERE environment = ? AND name = ?", (environment, name))
        if following is not None:
            row = (environment, name, following.words, int(following.start.timestamp()))
            self._database.execute("INSERT INTO rotations VALUES (?, ?, ?, ?)", row)

    def rotations(self, limit: int) -> list[tuple[str, str, str, int]]:
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


def _row(cells: Sequence[Any]) -> CertificateRow:
    return CertificateRow._make(cells)._replace(in_use=bool(cells[-1]))
