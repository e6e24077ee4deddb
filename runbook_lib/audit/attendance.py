"""The runs of an archive, for checking that it is complete: when they ran, whether they count, for which accounts."""

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
"""In the bag of a batch: a row for each account, with at least `account`, `status`, `verdict`, `reason`, `report`."""

SERVICE_USERS = "tables/service-users.csv"
"""In a run over several service users: a row for each further one, with at least `name`, `id`, `state`, `reason`."""

_STAMP = "%Y%m%dT%H%M%SZ"
"""The beginning of a bag's name."""

_CALM = (Verdict.OK, Verdict.NOTHING_TO_DO)


@dataclass(frozen=True)
class AccountAttendance:
    """An account in a run: why it does not count (empty if it does), and the number of its unchecked rows."""

    why_not: str
    unchecked: int


@dataclass(frozen=True)
class AttendedRun:
    """A run in the archive, or one that was purged.

    Args:
        job: its job.
        purged: only its line is left, in a tombstone or in the list of an excerpt. It counts as present, done or not as
            the chain says. Its environment and accounts are unknown, and taken as those that were expected.
    """

    entry: ArchivedBag
    job: str
    purged: bool = False

    @property
    def place(self) -> str:
        return self.entry.place

    @property
    def started(self) -> datetime:
        """Its start in UTC, by the clock of its machine."""
        return self.entry.at

    @property
    def why_not(self) -> str:
        """Why it does not count; empty if it does."""
        return _why_not(self.entry.status, self.entry.run.verdict if self.entry.run else None)

    @property
    def unchecked(self) -> int:
        """The number of unchecked rows."""
        return _unchecked(self.entry.run)

    @property
    def tells_accounts(self) -> bool:
        """Whether it says which accounts it was for."""
        run = self.entry.run
        return self.purged or self.is_batch or bool(run and run.seen and run.seen.service_users)

    def on(self, environment: str) -> bool | None:
        """Whether it was on that DigiCert ONE (a name or an address; empty: any). None if unknown.

        The first account that says so answers for a batch.
        """
        if environment and self._rows is not None:
            answers = (_on(self._run_of(row), environment) for row in self._rows.values())
            return next((answer for answer in answers if answer is not None), None)
        return True if self.purged else _on(self.entry.run, environment)

    def account(self, name: str, environment: str) -> AccountAttendance | None:
        """An account in the run, on that environment: in a batch by its name there, in a single run the service user by
        id or name. None if it is not in the run."""
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
        """The row of each account of a batch. None for any other run: its table of that name has other content."""
        table = reader.table_rows(self.entry.folder / "data" / ACCOUNTS)
        if table is None or not {"account", "status"} <= set(table[0]):
            return None
        # names in the form of today's tables: older ones escaped less
        return {disarmed(row["account"]): row for row in table[1]}

    @cached_property
    def _further(self) -> Mapping[str, AccountAttendance]:
        """The further service users of a run, by id and by name."""
        table = reader.table_rows(self.entry.folder / "data" / SERVICE_USERS)
        rows = table[1] if table else []
        run = self.entry.run
        # a run in which a service user did not answer has still checked the others
        common = "" if run is not None and run.verdict == Verdict.UNCHECKED else self.why_not
        found: dict[str, AccountAttendance] = {}
        for row in rows:
            unchecked = row.get("state") == Verdict.UNCHECKED
            account = AccountAttendance(common or (f"no response ({row.get('reason')})" if unchecked else ""), 0)
            found |= {disarmed(key): account for key in (row.get("id"), row.get("name")) if key}
        return found

    def _of_batch(self, row: Mapping[str, str], environment: str) -> AccountAttendance | None:
        why = _why_not(row.get("status", ""), row.get("verdict"))
        if why and row.get("reason"):
            why += f" ({row['reason']})"
        if not environment and row.get("verdict") in _CALM:
            return AccountAttendance(why, 0)  # a batch has thousands: their records are read only if needed
        run = self._run_of(row)
        return AccountAttendance(why, _unchecked(run)) if _on(run, environment) else None

    def _run_of(self, row: Mapping[str, str]) -> ToldRun | None:
        """run.json of a batch's account; of a resumed batch, it may be in an earlier bag."""
        report = self.entry.folder / "data" / unquote(row.get("report", ""))
        try:
            return reader.read_run(report.parent / "run.json")
        except (OSError, ValidationError):
            return None


def runs(archive: Path, jobs: frozenset[str], since: datetime, until: datetime) -> tuple[AttendedRun, ...]:
    """Every run of these jobs that started at or after `since` and before `until`, in the order of their start.

    A bag that cannot be read is a run that does not count. Raises OSError if the archive cannot be listed.
    """
    first, last = f"{since:{_STAMP}}", f"{until:{_STAMP}}"  # whole seconds; fractions are compared below
    stamp = len(first)
    bags = tuple(chain.bags(archive))
    named = [bag for bag in bags if first <= bag.name[:stamp] <= last]
    read = (entry(archive, bag) for bag in named if any(bag.name[stamp + 1 :].startswith(job) for job in jobs))
    found = [AttendedRun(bag, bag.job) for bag in read]
    for link in _purged(bags):
        absent = ArchivedBag(archive, link.bag, link, None)
        # a job's own name may end in a number, like that of a second bag in the same second
        job = absent.folder.name[stamp + 1 :]
        found.append(AttendedRun(absent, job if job in jobs else absent.job, purged=True))
    inside = (run for run in found if run.job in jobs and since <= run.started < until)
    return tuple(sorted(inside, key=lambda run: (run.started, run.place)))


def _purged(bags: tuple[Path, ...]) -> Iterator[Link]:
    """The links of the bags that were purged or that an excerpt leaves out, each once."""
    seen = {bag.parts[-4:] for bag in bags}
    for bag in bags:
        if f"-{PURGE}" in bag.name or f"-{EXPORT}" in bag.name:
            for name in (PURGED, ELSEWHERE):
                with suppress(OSError, ValueError):  # `archive.verify` finds a damaged list
                    for line in tombstones.read_tombstone(disk.read_file(bag / name)):
                        place = tuple(line.link.bag.split("/"))
                        if place not in seen:
                            seen.add(place)
                            yield line.link


def _why_not(status: str, verdict: str | None) -> str:
    if status != Status.DONE:
        return status
    return "a dry run" if verdict == Verdict.PLANNED else ""


def _unchecked(run: ToldRun | None) -> int:
    # a long table is listed as CSV and by its first rows; earlier versions list it as Parquet too
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
