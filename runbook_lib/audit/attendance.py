"""The runs of an archive as its completeness is judged by them: when, whether they count, and of which accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from pydantic import ValidationError

from runbook_lib import disk
from runbook_lib.archive import chain, reader, tombstones
from runbook_lib.archive.chain import EXPORT, PURGE, Link
from runbook_lib.archive.reader import ArchivedBag, ToldRun, entry
from runbook_lib.archive.tombstones import ELSEWHERE, PURGED
from runbook_lib.result import Status, Verdict
from runbook_lib.tables import disarmed

ACCOUNTS = "tables/accounts.csv"
"""In a batch's bag: a row for each account, with at least `account`, `status`, `verdict`, `reason` and `report`."""

SERVICE_USERS = "tables/service-users.csv"
"""Of a run that asked for several: a row for each further one, with at least `name`, `id`, `state` and `reason`."""

_STAMP = "%Y%m%dT%H%M%SZ"
"""How a bag's name begins."""

_CALM = (Verdict.OK, Verdict.NOTHING_TO_DO)


@dataclass(frozen=True)
class AccountAttendance:
    """An account in a run: why it does not count, in a few words, and how many of its rows nobody checked."""

    why_not: str
    unchecked: int


@dataclass(frozen=True)
class AttendedRun:
    """A run as it is in the archive, or as it was.

    Args:
        job: what it ran.
        purged: only its line is left, in a tombstone or at the end of an excerpt that leaves it out. It counts as
            having been there, done or not as the chain has it; where and of which accounts it was is not known
            here, and taken as what is asked for.
    """

    entry: ArchivedBag
    job: str
    purged: bool = False

    @property
    def place(self) -> str:
        return self.entry.place

    @property
    def started(self) -> datetime:
        """UTC, of the machine that ran it."""
        return self.entry.at

    @property
    def why_not(self) -> str:
        """Why it does not count, in a few words; empty where it does."""
        return _why_not(self.entry.status, self.entry.run.verdict if self.entry.run else None)

    @property
    def unchecked(self) -> int:
        """Rows that nobody checked."""
        return _unchecked(self.entry.run)

    @property
    def tells_accounts(self) -> bool:
        """Whether it says at all which accounts it was about."""
        run = self.entry.run
        return self.purged or self.is_batch or bool(run and run.seen and run.seen.service_users)

    def on(self, environment: str) -> bool | None:
        """Whether it was on that DigiCert ONE (a name or an address; any, if empty). None: it does not tell.

        A batch is asked for the first of its accounts that tells.
        """
        if environment and self._rows is not None:
            each = (_on(self._told_of(row), environment) for row in self._rows.values())
            return next((one for one in each if one is not None), None)
        return True if self.purged else _on(self.entry.run, environment)

    def account(self, name: str, environment: str) -> AccountAttendance | None:
        """An account in it, on that environment: of a batch by its name there, of a single run the service user by id
        or name. None where it is not in it."""
        if self._rows is not None:
            row = self._rows.get(disarmed(name))
            return self._of_batch(row, environment) if row is not None else None
        if self.purged:
            return AccountAttendance(self.why_not, 0)
        run = self.entry.run
        users = run.seen.service_users if run and run.seen else ()
        if not self.on(environment):
            return None
        if any(name in (user.id, user.name) for user in users):
            return AccountAttendance(self.why_not, self.unchecked)
        return self._further.get(disarmed(name))

    @property
    def is_batch(self) -> bool:
        return self._rows is not None

    @cached_property
    def _rows(self) -> Mapping[str, dict[str, str]] | None:
        """A batch's row of each account; None for another run, whose table of that name is another table."""
        table = reader.table_rows(self.entry.folder / "data" / ACCOUNTS)
        if table is None or not {"account", "status"} <= set(table[0]):
            return None
        # names as a table holds them: an older one disarmed less
        return {disarmed(row["account"]): row for row in table[1]}

    @cached_property
    def _further(self) -> Mapping[str, AccountAttendance]:
        """The further service users of a run, by id and by name."""
        table = reader.table_rows(self.entry.folder / "data" / SERVICE_USERS)
        rows = table[1] if table else []
        run = self.entry.run
        # a run in which one gave no answer is not done, and did ask the others
        whole = "" if run is not None and run.verdict == Verdict.UNCHECKED else self.why_not
        found: dict[str, AccountAttendance] = {}
        for row in rows:
            unchecked = row.get("state") == Verdict.UNCHECKED
            account = AccountAttendance(whole or (f"not answered ({row.get('reason')})" if unchecked else ""), 0)
            found |= {disarmed(key): account for key in (row.get("id"), row.get("name")) if key}
        return found

    def _of_batch(self, row: Mapping[str, str], environment: str) -> AccountAttendance | None:
        why = _why_not(row.get("status", ""), row.get("verdict"))
        if why and row.get("reason"):
            why += f" ({row['reason']})"
        if not environment and row.get("verdict") in _CALM:
            return AccountAttendance(why, 0)  # a batch has thousands: what its row tells is not looked up
        told = self._told_of(row)
        return AccountAttendance(why, _unchecked(told)) if _on(told, environment) else None

    def _told_of(self, row: Mapping[str, str]) -> ToldRun | None:
        """run.json of a batch's account; it may lie in an earlier bag, where the batch was taken up again."""
        report = self.entry.folder / "data" / unquote(row.get("report", ""))
        try:
            return reader.read_run(report.parent / "run.json")
        except (OSError, ValidationError):
            return None


def runs(archive: Path, jobs: frozenset[str], since: datetime, until: datetime) -> tuple[AttendedRun, ...]:
    """Every run of these jobs that started from the first moment on and before the second, in the order of its start.

    A bag that cannot be read is a run that does not count. Raises OSError where the archive cannot be listed.
    """
    first, last = f"{since:{_STAMP}}", f"{until:{_STAMP}}"  # to the second: what follows it is looked at below
    stamp = len(first)
    bags = tuple(chain.bags(archive))
    named = [one for one in bags if first <= one.name[:stamp] <= last]
    read = (entry(archive, one) for one in named if any(one.name[stamp + 1 :].startswith(job) for job in jobs))
    found = [AttendedRun(one, one.job) for one in read]
    for link in _purged(bags):
        left = ArchivedBag(archive, link.bag, link, None)
        # a name may end like that of a second bag in the same second
        job = left.folder.name[stamp + 1 :]
        found.append(AttendedRun(left, job if job in jobs else left.job, purged=True))
    inside = (one for one in found if one.job in jobs and since <= one.started < until)
    return tuple(sorted(inside, key=lambda one: (one.started, one.place)))


def _purged(bags: tuple[Path, ...]) -> Iterator[Link]:
    """The links of the bags that were purged, or that an excerpt leaves out, each once, as the chain has them."""
    told = {bag.parts[-4:] for bag in bags}
    for bag in bags:
        if f"-{PURGE}" in bag.name or f"-{EXPORT}" in bag.name:
            for name in (PURGED, ELSEWHERE):
                with suppress(OSError, ValueError):  # `archive.verify` finds what was forged
                    for one in tombstones.read_tombstone(disk.read_file(bag / name)):
                        place = tuple(one.link.bag.split("/"))
                        if place not in told:
                            told.add(place)
                            yield one.link


def _why_not(status: str, verdict: str | None) -> str:
    if status != Status.DONE:
        return status
    return "a dry run, which only planned" if verdict == Verdict.PLANNED else ""


def _unchecked(run: ToldRun | None) -> int:
    # a long table is there as CSV, as Parquet, and by its first rows
    each: dict[str, int] = {}
    for table in run.tables if run else ():
        name = Path(table.file).stem.removesuffix("-first")
        each[name] = max(each.get(name, 0), table.unchecked or 0)
    return sum(each.values())


def _on(run: ToldRun | None, environment: str) -> bool | None:
    if not environment:
        return True
    if run is None or run.target is None:
        return None
    return environment.rstrip("/") in (run.target.environment, run.target.api_url)
