"""The sandbox's state: users, certificates, the request journal and a few settings, in one SQLite file.

One thread, that of the event loop, uses the one connection. Moments are stored as `YYYY-MM-DDTHH:MM:SSZ`, which sorts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from runbook_lib.clock import Clock, parse_utc

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, api_key TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL,
    account_name TEXT NOT NULL, email TEXT NOT NULL, friendly_name TEXT NOT NULL, status TEXT NOT NULL,
    created_at TEXT NOT NULL, end_date TEXT, may_manage INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS certificates (
    id TEXT PRIMARY KEY, account_id TEXT NOT NULL, user_id TEXT NOT NULL REFERENCES users (id), name TEXT NOT NULL,
    common_name TEXT NOT NULL, start_date TEXT NOT NULL, end_date TEXT NOT NULL, enabled INTEGER NOT NULL,
    serial_number TEXT NOT NULL UNIQUE, public_key TEXT NOT NULL, UNIQUE (account_id, name));
CREATE TABLE IF NOT EXISTS journal (
    number INTEGER PRIMARY KEY, time TEXT NOT NULL, listener TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    status INTEGER NOT NULL, user_id TEXT, certificate_serial TEXT, certificate_name TEXT, enabled INTEGER,
    effect INTEGER NOT NULL, faults TEXT NOT NULL);
"""


@dataclass(frozen=True, repr=False)
class SeededUser:
    """A service user with its API key.

    Args:
        role: its purpose: ordinary, second, no_permission, expired, disabled, ends_soon, other_account, populated,
            added.
        end_date: the last moment at which its key and certificates work; None for no end.
        may_manage: whether it may request, list, enable and disable client authentication certificates.
    """

    id: str
    role: str
    api_key: str
    account_id: str
    account_name: str
    email: str
    friendly_name: str
    status: str
    created_at: str
    end_date: str | None
    may_manage: bool


@dataclass(frozen=True)
class IssuedCertificate:
    """A client authentication certificate as the Account Manager stores it, without its PEM."""

    id: str
    account_id: str
    user_id: str
    name: str
    common_name: str
    start_date: str
    end_date: str
    enabled: bool
    serial_number: str
    public_key: str


@dataclass
class RequestEntry:
    """One request in the journal: the request, its effect and its status. Never a key, a body or a header.

    Args:
        status: of the response; 0 if none was sent.
        certificate_name: of the certificate that is requested, enabled, disabled, or presented over mTLS.
        enabled: the value in a PUT.
        effect: whether a certificate was issued, or a PUT carried out.
        faults: those applied to this request, including the delayed effects of late_in_list and slow_enable.
    """

    time: str
    listener: str
    method: str
    path: str
    status: int = 500  # what aiohttp answers when the sandbox itself fails
    user_id: str | None = None
    certificate_serial: str | None = None
    certificate_name: str | None = None
    enabled: bool | None = None
    effect: bool = False
    faults: list[str] = field(default_factory=list)


class SandboxStore:
    """The SQLite file."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        # what a client received must survive the process, but not a power failure
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    # settings

    def setting(self, name: str, default: str) -> str:
        """The setting; if there is none, stores and returns `default`."""
        self._db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, default))
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(row["value"])

    def set(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    # users

    def add_users(self, users: Iterable[SeededUser]) -> None:
        self._insert("users", users)

    def users(self) -> list[SeededUser]:
        return [_user(row) for row in self._db.execute("SELECT * FROM users ORDER BY rowid")]

    def count_users(self, role: str) -> int:
        return int(self._db.execute("SELECT count(*) FROM users WHERE role = ?", (role,)).fetchone()[0])

    def user_by_key(self, api_key: str) -> SeededUser | None:
        return _user_or_none(self._db.execute("SELECT * FROM users WHERE api_key = ?", (api_key,)).fetchone())

    def user(self, id: str) -> SeededUser | None:
        return _user_or_none(self._db.execute("SELECT * FROM users WHERE id = ?", (id,)).fetchone())

    # certificates

    def add_certificates(self, certificates: Iterable[IssuedCertificate]) -> None:
        self._insert("certificates", certificates)

    def certificates(self, account_id: str | None = None) -> list[IssuedCertificate]:
        """The certificates of one account, or of all, in the order of issue."""
        where, values = ("WHERE account_id = ?", (account_id,)) if account_id else ("", ())
        rows = self._db.execute(f"SELECT * FROM certificates {where} ORDER BY rowid", values)  # noqa: S608 - fixed text
        return [_certificate(row) for row in rows]

    def has_name(self, account_id: str, name: str) -> bool:
        """Whether the account has a certificate of that name."""
        found = self._db.execute("SELECT 1 FROM certificates WHERE account_id = ? AND name = ?", (account_id, name))
        return found.fetchone() is not None

    def certificate(self, id: str) -> IssuedCertificate | None:
        row = self._db.execute("SELECT * FROM certificates WHERE id = ?", (id,)).fetchone()
        return _certificate(row) if row else None

    def certificate_by_serial(self, serial_number: str) -> IssuedCertificate | None:
        row = self._db.execute("SELECT * FROM certificates WHERE serial_number = ?", (serial_number,)).fetchone()
        return _certificate(row) if row else None

    def enable_certificate(self, id: str, *, enabled: bool) -> IssuedCertificate:
        """Enable or disable a certificate; return it as it is now."""
        row = self._db.execute("UPDATE certificates SET enabled = ? WHERE id = ? RETURNING *", (enabled, id)).fetchone()
        return _certificate(row)

    # journal

    def add_request(self, entry: RequestEntry) -> None:
        row = {**asdict(entry), "faults": " ".join(entry.faults)}
        self._db.execute(
            f"INSERT INTO journal ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - names are ours
            tuple(row.values()),
        )

    def requests(self, *, after: int = 0) -> list[dict[str, Any]]:
        """The journal after number `after`, in the order in which the requests ended."""
        rows = self._db.execute("SELECT * FROM journal WHERE number > ? ORDER BY number", (after,))
        return [_request(row) for row in rows]

    def _insert(self, table: str, records: Iterable[Any]) -> None:
        rows = [astuple(record) for record in records]
        if not rows:
            return
        marks = ", ".join("?" * len(rows[0]))
        self._db.execute("BEGIN")
        try:
            self._db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - names are ours
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


class SandboxClock:
    """The sandbox's own time: that of the machine plus an offset, which can be set and survives a restart."""

    source = "sandbox clock"

    def __init__(self, store: SandboxStore, base: Clock) -> None:
        self._store = store
        self._base = base
        self._offset = timedelta(seconds=float(store.setting("clock_offset_seconds", "0")))

    @property
    def offset_seconds(self) -> float:
        return self._offset.total_seconds()

    def now(self) -> datetime:
        return self._base.now() + self._offset

    def set_now(self, moment: datetime) -> None:
        """Set the time to `moment`; it goes on from there."""
        self.set_offset((moment - self._base.now()).total_seconds())

    def set_offset(self, seconds: float) -> None:
        """Set the offset. Raises OverflowError for a time outside the calendar."""
        offset = timedelta(seconds=seconds)
        _ = self._base.now() + offset + timedelta(days=400)  # certificates end later than now
        self._offset = offset
        self._store.set("clock_offset_seconds", repr(seconds))


def ended(end_date: str | None, now: datetime) -> bool:
    """Whether an end date has passed. The named second itself is still valid (RFC 5280, section 4.1.2.5)."""
    return end_date is not None and now >= parse_utc(end_date) + timedelta(seconds=1)


def _user(row: sqlite3.Row) -> SeededUser:
    return SeededUser(**{**dict(row), "may_manage": bool(row["may_manage"])})


def _user_or_none(row: sqlite3.Row | None) -> SeededUser | None:
    return _user(row) if row else None


def _certificate(row: sqlite3.Row) -> IssuedCertificate:
    return IssuedCertificate(**{**dict(row), "enabled": bool(row["enabled"])})


def _request(row: sqlite3.Row) -> dict[str, Any]:
    enabled = None if row["enabled"] is None else bool(row["enabled"])
    return {**dict(row), "enabled": enabled, "effect": bool(row["effect"]), "faults": row["faults"].split()}
