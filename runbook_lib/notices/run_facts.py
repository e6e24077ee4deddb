"""What a sealed bag says about its jobs, its certificates and its rotations: the input of all notices.

Everything comes from run.json and the tables, so it is the same for a run, each account of a batch and a clicked
session. Nothing is verified here; `archive.verify` does that.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from pydantic import ValidationError

from runbook_lib import disk
from runbook_lib.archive import reader
from runbook_lib.archive.reader import ToldRun
from runbook_lib.catalogue import Reason
from runbook_lib.clock import parse_utc
from runbook_lib.result import Status, Verdict

OUTAGE = frozenset(
    {
        *(Reason.UNREACHABLE, Reason.TIMED_OUT, Reason.RATE_LIMITED, Reason.SERVER_ERROR),
        *(Reason.UNEXPECTED_ANSWER, Reason.TLS_NOT_TRUSTED),
    }
)
"""Reasons that say something about DigiCert ONE, not about the job."""

LISTED, FILES = "tables/inventory.csv", "tables/files.csv"
_ACTIONS, _PROGRESS, _ACCOUNTS = "tables/actions.csv", "tables/path-2.csv", "tables/accounts.csv"

DATED = frozenset({"healthy", "not yet valid", "due", "urgent", "expired"})
"""States of an inventory's row that follow from its dates. All others say nothing about its end."""
DISABLED = "disabled"
IN_USE = " (in use)"

_DISABLING, _ENABLING = ("disable-old", "disable"), "enable"
_ROTATING = ("deploy", "roll-back")
_QUOTED = re.compile(r"“([^”]+)”")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class CertificateRow(NamedTuple):
    """A certificate of an inventory.

    Args:
        key: tells it from all others, whichever inventory lists it.
        state: the row's own; `dated` is it if it follows from the dates or the certificate is disabled, else empty.
        start, end: as the table has them, `YYYY-MM-DDTHH:MM:SSZ`, so that their order is that of time. `start` may be
            empty.
        place: its path, or its place in the store. That of one that programs here use ends with `IN_USE`.
    """

    key: str
    environment: str
    name: str
    state: str
    dated: str
    start: str
    end: str
    serial: str
    place: str
    owner: str
    why: str = ""

    @property
    def in_use(self) -> bool:
        """Whether programs here use it; False for a file, of which that is unknown."""
        return self.place.endswith(IN_USE)


@dataclass(frozen=True)
class NextStep:
    """The next step of a rotation: what, from when, and the command's credential."""

    name: str
    words: str
    start: datetime


@dataclass(frozen=True)
class RunFacts:
    """What a run says.

    Args:
        folder: of its run.json, in the bag; `place` is the same below the archive.
        run: its record.
        account: as the fleet file names it; empty outside a batch.
    """

    folder: Path
    place: str
    run: ToldRun
    account: str = ""

    @property
    def environment(self) -> str:
        """The DigiCert ONE that it is about, by its short name or host; empty for a notebook without one."""
        if self.run.target is not None and self.run.target.environment:
            return self.run.target.environment
        return self._given("environment")

    @property
    def credential(self) -> str:
        """The name of the credential that it is about; empty for an inventory."""
        return self._given("name")

    @property
    def key(self) -> str:
        """Tells the job from others of the same name: the account, the environment, the credential, the API key."""
        return "|".join((self.run.job, self.account, self.environment, self.credential, self._given("api_key")))

    @property
    def now(self) -> datetime:
        """When it ended, by the clock that its steps used."""
        return self.run.steps[-1].finished if self.run.steps else self.run.finished

    @property
    def done(self) -> bool:
        return self.run.status == Status.DONE

    @property
    def answered(self) -> bool:
        """Whether DigiCert ONE answered it."""
        return self.done or bool(self.run.seen and self.run.seen.connections)

    @property
    def outage(self) -> bool:
        """Whether it is not done since DigiCert ONE could not be reached or did not answer properly."""
        error = str((self.run.error or {}).get("reason", ""))
        return not self.done and not OUTAGE.isdisjoint({error, *(step.reason for step in self.run.steps)})

    @property
    def report(self) -> str:
        """The path of its page, below the archive."""
        return f"{self.place}/report.html"

    def _given(self, name: str) -> str:
        value = self.run.parameters.get(name, (self.run.defaults or {}).get(name))
        return value if isinstance(value, str) else ""

    # --- certificates ---------------------------------------------------------------------------------------------

    def has(self, table: str) -> bool:
        return any(known.file == table for known in self.run.tables)

    def complete(self, table: str) -> bool:
        """Whether it is known that a table leaves nothing out: a certificate without a row is gone."""
        return self.done and any(known.file == table and not known.unchecked for known in self.run.tables)

    def certificates(self, table: str) -> Iterator[CertificateRow]:
        """The certificates of a table that have an end. Raises OSError, UnicodeDecodeError or csv.Error."""
        rows = _listed if table == LISTED else _files
        where = self.run.target.api_url if table == LISTED and self.run.target else self.run.who.host
        with (
            disk.opened(self.folder / table, None) as content,
            io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text,
        ):
            lines = csv.reader(text)
            columns = {name: number for number, name in enumerate(next(lines, []))}
            yield from rows(lines, columns, self.environment, where)

    def actions(self) -> dict[tuple[str, str], str]:
        """What the inventory says to do next, by name and state."""
        table = reader.table_rows(self.folder / _ACTIONS) if self.has(_ACTIONS) else None
        rows = table[1] if table is not None else []
        return {(row.get("name", ""), row.get("state", "")): row.get("next", "") for row in rows}

    # --- rotations ------------------------------------------------------------------------------------------------

    @property
    def rotated(self) -> str:
        """How a rotation put another certificate into use; empty if it did not."""
        for step in self.run.steps:
            if step.changed and step.verdict == Verdict.OK and step.slug in _ROTATING:
                return step.headline
        return ""

    @property
    def disabled(self) -> str:
        """The name of the certificate that it disabled; empty if it did not, or enabled it again."""
        if any(step.slug == _ENABLING and step.changed for step in self.run.steps):
            return ""
        for step in self.run.steps:
            if step.changed and step.slug in _DISABLING and step.verdict in (Verdict.OK, Verdict.ATTENTION):
                found = _QUOTED.search(step.headline)
                return found[1] if found else self.credential
        return ""

    def next_step(self) -> NextStep | None:
        """The next step of a rotation and its first day; None if none is planned, or it can be taken now."""
        table = reader.table_rows(self.folder / _PROGRESS) if self.has(_PROGRESS) else None
        for row in table[1] if table is not None else []:
            found = _MOMENT.search(row.get("when", ""))
            if row.get("state") == "next" and found is not None:
                return NextStep(self.credential, row.get("step", "").replace("`", ""), parse_utc(found[0]))
        return None


@dataclass(frozen=True)
class BagFacts:
    """What a bag says: its own run, and those of a batch's accounts that are in it."""

    bag: RunFacts
    runs: tuple[RunFacts, ...]
    problems: tuple[str, ...] = ()

    @property
    def batch(self) -> bool:
        return self.runs != (self.bag,)


def read_bag(archive: Path, bag: Path) -> BagFacts | None:
    """What a bag says; None for an archive entry, and for a bag that cannot be read."""
    entry = reader.entry(archive, bag)
    if entry.run is None:
        return None
    own = RunFacts(bag / "data", f"{entry.place}/data", entry.run)
    table = reader.table_rows(own.folder / _ACCOUNTS) if own.has(_ACCOUNTS) else None
    if table is None or "report" not in table[0]:  # an inventory of many service users has a table of that name too
        return BagFacts(own, (own,))
    runs, problems = [], []
    for row in table[1]:
        report, account = unquote(row.get("report", "")), row.get("account", "")
        if not report or report.startswith(".."):  # in an earlier bag of the batch
            continue
        place = report.rpartition("/")[0]
        try:
            run = reader.read_run(own.folder / place / "run.json")
        except (OSError, ValidationError):
            problems.append(f"The record of the account {account} cannot be read.")
            continue
        runs.append(RunFacts(own.folder / place, f"{own.place}/{place}", run, account))
    return BagFacts(own, tuple(runs), tuple(problems))


# --- rows -------------------------------------------------------------------------------------------------------------


def _listed(lines: Iterator[list[str]], at: dict[str, int], environment: str, api: str) -> Iterator[CertificateRow]:
    """The rows of inventory.csv."""
    name, state, why, end = at["name"], at["state"], at["why"], at["effective end"]
    enabled, store, owner, serial, number = at["enabled"], at["in the store"], at["owner"], at["serial"], at["id"]
    start = at.get("starts")  # older inventories have no such column
    for row in lines:
        if row[end]:
            yield CertificateRow(
                f"{api}|{row[number] or row[serial].lower().lstrip('0') or row[name]}",
                environment,
                row[name],
                row[state],
                DISABLED if row[enabled] == "no" else row[state] if row[state] in DATED else "",
                "" if start is None else row[start],
                row[end],
                row[serial],
                "" if row[store] == "no" else row[store],
                row[owner],
                row[why],
            )


def _files(lines: Iterator[list[str]], at: dict[str, int], environment: str, host: str) -> Iterator[CertificateRow]:
    """The rows of files.csv."""
    file, number, state, why = at["file"], at["number"], at["state"], at["why"]
    start, end, subject, serial = at["starts"], at["ends"], at["subject"], at["serial"]
    for row in lines:
        if row[end]:
            yield CertificateRow(
                f"{host}|{row[file]}|{row[number]}",
                environment,
                row[subject] or row[file],
                row[state],
                row[state] if row[state] in DATED else "",
                row[start],
                row[end],
                row[serial],
                row[file],
                "",
                row[why],
            )
