"""What changed between two inventories: appeared, vanished, other state, enabled or disabled, closer to its end.

A certificate is the same if its id is; where one of the two has none, if its serial number is. Its name is what it is
called, and may have changed hands. What an inventory could not find out is no change: it is told as not known.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from runbook_lib import disk, given
from runbook_lib.archive import reader
from runbook_lib.archive.reader import ArchivedBag, ToldRun
from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso, within
from runbook_lib.errors import RunbookError
from runbook_lib.result import Table, Verdict
from runbook_lib.tables import disarmed

FILE = "tables/inventory.csv"
FOLDERS = "read-folders"
"""The step of an inventory whose certificates are not compared."""
THRESHOLDS = (90, 30, 7, 0)
"""Days left. A certificate that has fallen below one of them since came closer to its end."""

COLUMNS = ("change", "name", "was", "is", "days left", "ends", "owner", "serial", "id")
"""Of a comparison. Scripts read them: add at the end, rename none."""

_READ = ("name", "state", "days left", "ends", "enabled", "in the store", "owner", "serial", "id")


class Change(StrEnum):
    """What became of a certificate, from what is looked at first."""

    VANISHED = "vanished"
    APPEARED = "appeared"
    UNKNOWN = "not known"
    STATE = "state"
    ENABLED = "enabled"
    CLOSER = "closer to its end"


@dataclass(frozen=True)
class InventoryCertificate:
    """A row of an inventory, as far as it is compared."""

    name: str
    state: str
    days_left: str
    ends: str
    enabled: str
    where: str
    owner: str
    serial: str
    id: str

    @property
    def number(self) -> int | str:
        """The serial number, however it is written."""
        return int(self.serial, 16) if re.fullmatch(r"[0-9A-Fa-f]+", self.serial) else self.serial

    @property
    def place(self) -> str:
        """Where it lies in the store: all that is known of a file that cannot be read."""
        return self.where.removesuffix(" (in use)") if self.where not in ("", "no") else ""

    @property
    def days(self) -> int | None:
        return int(self.days_left) if re.fullmatch(r"-?\d+", self.days_left) else None


@dataclass(frozen=True)
class ArchivedInventory:
    """An inventory in the archive.

    Args:
        rows: its certificates. A source that gave no answer is none.
        complete: whether every source answered. Where not, a certificate that is not among the rows may exist all the
            same.
    """

    entry: ArchivedBag
    run: ToldRun
    rows: tuple[InventoryCertificate, ...]
    complete: bool

    @property
    def at(self) -> datetime:
        return self.entry.at

    def __str__(self) -> str:
        told = f"{self.entry.place}: {len(self.rows)} certificates"
        return told if self.complete else f"{told}; NOT EVERY SOURCE ANSWERED"


@dataclass(frozen=True)
class Difference:
    """One change of one certificate."""

    change: Change
    was: str
    now: str
    certificate: InventoryCertificate

    def row(self) -> tuple[str, ...]:
        """Its cells, as `COLUMNS`."""
        one = self.certificate
        return (self.change.value, one.name, self.was, self.now, one.days_left, one.ends, one.owner, one.serial, one.id)


@dataclass(frozen=True)
class Comparison:
    """Two inventories and every difference, ordered by kind and name."""

    before: ArchivedInventory
    after: ArchivedInventory
    differences: tuple[Difference, ...]

    @property
    def complete(self) -> bool:
        return self.before.complete and self.after.complete

    @property
    def headline(self) -> str:
        counts = {kind: sum(one.change is kind for one in self.differences) for kind in Change}
        told = ", ".join(f"{count:,} {kind.value}" for kind, count in counts.items() if count) or "nothing changed"
        return f"From {iso(self.before.at)} to {iso(self.after.at)}: {told}."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was not found out, a sentence each."""
        return tuple(
            f"In the inventory of {iso(one.at)} a source was silent: what it does not list may exist all the same."
            for one in (self.before, self.after)
            if not one.complete
        )

    def table(self) -> Table:
        """The differences as rows."""
        rows = tuple(one.row() for one in self.differences)
        return Table(name="changes", title="What changed", columns=COLUMNS, rows=rows)


def compare_inventories(before: ArchivedBag, after: ArchivedBag) -> Comparison:
    """Compare two inventories.

    Raises:
        RunbookError: BAD_PARAMETER where a bag holds no inventory, the second is the older one, or the two are of
            different accounts; UNREADABLE_FILE where a file is not as it was sealed.
    """
    old, new = _load(before), _load(after)
    if new.at < old.at:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"The second inventory ({iso(new.at)}) is older than the first ({iso(old.at)}).",
            remedy="Name the older one first.",
        )
    _refuse_apart(old.run, new.run)
    differences = sorted(_differences(old, new), key=lambda one: (list(Change).index(one.change), one.row()))
    return Comparison(old, new, tuple(differences))


def named(archive: Path, text: str) -> ArchivedBag:
    """The bag that a reader means.

    Args:
        text: the path of a bag, from the current folder or from the archive; or a day, YYYY-MM-DD: the last inventory
            that was done on it (UTC).

    Raises:
        RunbookError: BAD_PARAMETER where there is none, or where the day's inventories are of different accounts.
    """
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return _of_day(archive, text)
    if (bag := reader.bag_at(archive, text)) is not None:
        return bag
    raise RunbookError(
        Reason.BAD_PARAMETER,
        f"{given.shown(text)} is neither a bag nor a day.",
        remedy="Write a day as YYYY-MM-DD, or a bag as YYYY/MM/DD/<utc>-<job>.",
    )


def holds_inventory(one: ArchivedBag) -> bool:
    """Whether a run was done and left an inventory."""
    return one.done and one.run is not None and any(table.file == FILE for table in one.run.tables)


def alike(one: ArchivedBag, other: ArchivedBag) -> bool:
    """Whether two inventories can be compared: the same job, DigiCert ONE and service user, as far as they tell."""
    return not _of_several(entry.run for entry in (one, other) if entry.run is not None)


def _of_day(archive: Path, text: str) -> ArchivedBag:
    try:
        day = date.fromisoformat(text)
        within(day)
    except ValueError:
        raise RunbookError(Reason.BAD_PARAMETER, f"{text} is no day of the calendar.") from None
    found = [one for one in reader.entries_of(archive, day) if holds_inventory(one)]
    if not found:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"No inventory was done on {day}.",
            remedy=_nearest(archive, day),
        )
    if _of_several(one.run for one in found if one.run is not None):
        places = ", ".join(one.place for one in found)
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"On {day} there are inventories of several accounts: {places}.",
            remedy="Name the bag in place of the day.",
        )
    return max(found, key=lambda one: (one.at, one.place))


def _of_several(runs: Iterable[ToldRun]) -> bool:
    """Whether inventories differ in job, DigiCert ONE or service user, as far as they tell."""
    runs = list(runs)
    jobs = {(run.job, run.target.api_url if run.target else "") for run in runs}
    users = {frozenset(user.id for user in run.seen.service_users) for run in runs if run.seen} - {frozenset()}
    return len(jobs) > 1 or len(users) > 1


def _nearest(archive: Path, day: date) -> str:
    """The nearest days with an inventory, at most a year away."""
    for direction in (-1, 1):
        for distance in range(1, 366):
            other = day + direction * timedelta(days=distance)
            if any(holds_inventory(one) for one in reader.entries_of(archive, other)):
                return f"The nearest {'before' if direction < 0 else 'after'} it is of {other}."
    return "Archive one first: runbook run inventory."


def _load(one: ArchivedBag) -> ArchivedInventory:
    if one.run is None or not any(table.file == FILE for table in one.run.tables):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{one.place} holds no inventory{f': {one.problem}' if one.problem else ''}.",
            remedy="Name a bag of the job inventory.",
        )
    _sealed(one.folder, "data/run.json")
    rows = csv.DictReader(io.StringIO(_sealed(one.folder, f"data/{FILE}").decode("utf-8-sig"), newline=""))
    missing = set(_READ) - set(rows.fieldnames or ())
    if missing:
        raise RunbookError(
            Reason.UNREADABLE_FILE, f"{one.place}: {FILE} lacks the columns {', '.join(sorted(missing))}."
        )
    # an older inventory has some cells as they came; disarmed twice is disarmed once
    certificates = tuple(InventoryCertificate(*(disarmed(row[column] or "") for column in _READ)) for row in rows)
    return ArchivedInventory(
        entry=one,
        run=one.run,
        rows=tuple(one for one in certificates if one.id or one.serial or one.place or one.enabled != "unknown"),
        # what lies in folders is in a table of its own
        complete=not any(step.verdict == Verdict.UNCHECKED and step.slug != FOLDERS for step in one.run.steps),
    )


def _sealed(bag: Path, name: str) -> bytes:
    """A file as the bag's own manifest knows it. That the manifest is as it was is what `archive verify` tells."""
    try:
        content = disk.read_file(bag / name)
        manifest = disk.read_file(bag / "manifest-sha256.txt").decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunbookError(
            Reason.UNREADABLE_FILE, f"{bag.name}/{name} cannot be read: {type(error).__name__}."
        ) from None
    if f"{disk.sha256(content)}  {name}" not in manifest:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"{bag.name}/{name} is not as it was sealed.",
            remedy="`runbook archive verify DIR` says what else was changed.",
        )
    return content


def _refuse_apart(old: ToldRun, new: ToldRun) -> None:
    if old.target and new.target and old.target.api_url != new.target.api_url:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"One is an inventory of {old.target.api_url}, the other of {new.target.api_url}.",
            remedy="Compare two of the same DigiCert ONE.",
        )
    users = [{user.id for user in run.seen.service_users} if run.seen else set() for run in (old, new)]
    if all(users) and not users[0] & users[1]:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "The two are inventories of different service users.",
            remedy="Compare two of the same service user.",
        )


# --- which row is which -----------------------------------------------------------------------------------------------


def _pairs(
    old: tuple[InventoryCertificate, ...], new: tuple[InventoryCertificate, ...]
) -> tuple[
    list[tuple[InventoryCertificate, InventoryCertificate]], list[InventoryCertificate], list[InventoryCertificate]
]:
    """The rows that are the same certificate, and those of either side that have no counterpart."""
    pairs: list[tuple[InventoryCertificate, InventoryCertificate]] = []
    left, right = list(old), list(new)
    keys: tuple[Callable[[InventoryCertificate], Hashable], ...] = (
        lambda one: one.id or None,
        lambda one: (one.number, one.place) if one.serial else None,  # of copies, the one at the same place is meant
        lambda one: one.number if one.serial else None,
        # a file that cannot be read: its place in the store is all that is known
        lambda one: one.place if one.place and not one.id else None,
        # listed with neither id nor serial number: its end as well, since a name may have changed hands
        lambda one: None if one.id or one.serial or one.place else (one.name, one.ends, one.owner),
    )
    for key in keys:
        waiting: dict[Hashable, list[InventoryCertificate]] = defaultdict(list)
        for one in left:
            waiting[key(one)].append(one)
        unmatched = []
        for one in right:
            wanted = key(one)
            candidates = waiting[wanted] if wanted is not None else []
            fit = [other for other in candidates if _may_be(one, other)]
            if fit:
                other = min(fit, key=lambda each: each.name != one.name)
                candidates.remove(other)
                pairs.append((other, one))
            else:
                unmatched.append(one)
        left, right = [one for rest in waiting.values() for one in rest], unmatched
    return pairs, left, right


def _may_be(one: InventoryCertificate, other: InventoryCertificate) -> bool:
    """Two ids are two certificates, whatever else they share; where an id is missing, two serials are."""
    if one.id and other.id:
        return one.id == other.id
    return not (one.serial and other.serial) or one.number == other.number


def _differences(old: ArchivedInventory, new: ArchivedInventory) -> Iterator[Difference]:
    pairs, gone, come = _pairs(old.rows, new.rows)
    for one in gone:
        if new.complete:
            yield Difference(Change.VANISHED, one.state, "not there", one)
        else:
            yield Difference(Change.UNKNOWN, one.state, "not asked: a source was silent", one)
    for one in come:
        if old.complete:
            yield Difference(Change.APPEARED, "not there", one.state, one)
        else:
            yield Difference(Change.UNKNOWN, "not asked: a source was silent", one.state, one)
    for before, after in pairs:
        yield from _changes(before, after)


def _changes(before: InventoryCertificate, after: InventoryCertificate) -> Iterator[Difference]:
    silent = Verdict.UNCHECKED in (before.state, after.state)
    if before.state != after.state:
        yield Difference(Change.UNKNOWN if silent else Change.STATE, before.state, after.state, after)
    if before.enabled != after.enabled and "unknown" not in (before.enabled, after.enabled):
        yield Difference(Change.ENABLED, before.enabled, after.enabled, after)
    if before.days is None or after.days is None:
        return
    crossed = [limit for limit in THRESHOLDS if after.days < limit <= before.days]
    if crossed:
        was = f"{before.days} days left"
        now = f"below {crossed[-1]}" if crossed[-1] else f"ended {after.ends or 'since'}"
        yield Difference(Change.CLOSER, was, now, after)
