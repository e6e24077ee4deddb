"""What changed between two inventories: appeared, vanished, new state, enabled or disabled, closer to its end.

Two rows are the same certificate if they have the same id or, if one has none, the same serial number. A name may pass
to another certificate. What an inventory could not find out is reported as unknown, not as a change.
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
from runbook_lib.schema import INTEGER, MOMENT, TEXT, Schema, Type, ordered
from runbook_lib.tables import disarmed
from runbook_lib.words import quantity

FILE = "tables/inventory.csv"
FOLDERS = "read-folders"
"""The inventory step whose certificates are not compared."""
THRESHOLDS = (90, 30, 7, 0)
"""Days left. A certificate that fell below one of them came closer to its end."""

_READ = ("name", "state", "days left", "ends", "enabled", "in the store", "owner", "serial", "id")
_NOT_LISTED, _NO_RESPONSE = "not listed", "unknown (no response)"


class Change(StrEnum):
    """The kinds of changes, most important first."""

    VANISHED = "vanished"
    APPEARED = "appeared"
    UNKNOWN = "not known"
    STATE = "state"
    ENABLED = "enabled"
    CLOSER = "closer to its end"


_TYPES: dict[str, Type] = {"change": ordered(reversed(Change)), "name": TEXT, "was": TEXT, "is": TEXT}
_TYPES |= {"days left": INTEGER, "ends": MOMENT, "owner": TEXT, "serial": TEXT, "id": TEXT}
CHANGES = Schema("changes", _TYPES)

_IN_WORDS = {change: change.value for change in Change} | {Change.UNKNOWN: "unknown", Change.STATE: "changed state"}
_IN_WORDS |= {Change.ENABLED: "enabled or disabled", Change.CLOSER: "closer to the end"}


@dataclass(frozen=True)
class InventoryCertificate:
    """The compared cells of an inventory row."""

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
        """The serial number as an integer, so that its notation does not matter; unchanged if it is not hexadecimal."""
        return int(self.serial, 16) if re.fullmatch(r"[0-9A-Fa-f]+", self.serial) else self.serial

    @property
    def place(self) -> str:
        """Its place in the store: all that is known of an unreadable file."""
        return self.where.removesuffix(" (in use)") if self.where not in ("", "no") else ""

    @property
    def days(self) -> int | None:
        return int(self.days_left) if re.fullmatch(r"-?\d+", self.days_left) else None


@dataclass(frozen=True)
class ArchivedInventory:
    """An inventory in the archive.

    Args:
        rows: its certificates, without the rows for sources that did not answer.
        complete: whether every source answered. If not, a certificate that is not listed may still exist.
    """

    entry: ArchivedBag
    run: ToldRun
    rows: tuple[InventoryCertificate, ...]
    complete: bool

    @property
    def at(self) -> datetime:
        return self.entry.at

    def __str__(self) -> str:
        line = f"{self.entry.place}: {quantity(len(self.rows), 'certificate')}"
        return line if self.complete else f"{line}; INCOMPLETE: a source did not answer"


@dataclass(frozen=True)
class Difference:
    """One change of one certificate."""

    change: Change
    was: str
    now: str
    certificate: InventoryCertificate

    def row(self) -> tuple[str, ...]:
        """Its cells, in the order of `CHANGES`."""
        after = self.certificate
        cells = (after.name, self.was, self.now, after.days_left, after.ends, after.owner, after.serial, after.id)
        return (self.change.value, *cells)


@dataclass(frozen=True)
class Comparison:
    """Two inventories and their differences, ordered by kind and name."""

    before: ArchivedInventory
    after: ArchivedInventory
    differences: tuple[Difference, ...]

    @property
    def complete(self) -> bool:
        return self.before.complete and self.after.complete

    @property
    def headline(self) -> str:
        counts = {words: sum(each.change is kind for each in self.differences) for kind, words in _IN_WORDS.items()}
        summary = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count) or "no changes"
        return f"From {iso(self.before.at)} to {iso(self.after.at)}: {summary}."

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unknown, a sentence each."""
        return tuple(
            f"The inventory of {iso(inventory.at)} is incomplete: a source did not answer. Certificates that it does "
            "not list may still exist."
            for inventory in (self.before, self.after)
            if not inventory.complete
        )

    def table(self) -> Table:
        """The differences as rows."""
        return CHANGES.table("What changed", [difference.row() for difference in self.differences])


def compare_inventories(before: ArchivedBag, after: ArchivedBag) -> Comparison:
    """Compare two inventories.

    Raises:
        RunbookError: BAD_PARAMETER if a bag holds no inventory, the second inventory is older, or the two are of
            different accounts; UNREADABLE_FILE if a file is not as it was sealed.
    """
    old, new = _load(before), _load(after)
    if new.at < old.at:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"The second inventory ({iso(new.at)}) is older than the first ({iso(old.at)}).",
            remedy="Name the older one first.",
            title="The inventories are in the wrong order",
        )
    _refuse_apart(old.run, new.run)
    differences = sorted(_differences(old, new), key=lambda each: (list(Change).index(each.change), each.row()))
    return Comparison(old, new, tuple(differences))


def named(archive: Path, text: str) -> ArchivedBag:
    """The bag that a text names.

    Args:
        text: the path of a bag, relative to the current folder or to the archive; its folder's own name; or a day,
            YYYY-MM-DD: the last inventory of that day (UTC).

    Raises:
        RunbookError: BAD_PARAMETER if there is none, or if the day's inventories are of different accounts.
    """
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return _of_day(archive, text)
    if (bag := reader.bag_at(archive, text)) is not None:
        return bag
    raise RunbookError(
        Reason.BAD_PARAMETER,
        f"{given.shown(text)} is neither a bag nor a day.",
        remedy="Enter a day as YYYY-MM-DD, or a bag as <utc>-<job>.",
        title="There is no such bag or day",
    )


def holds_inventory(bag: ArchivedBag) -> bool:
    """Whether a bag's run is done and left an inventory."""
    return bag.done and bag.run is not None and any(table.file == FILE for table in bag.run.tables)


def alike(first: ArchivedBag, second: ArchivedBag) -> bool:
    """Whether two inventories can be compared: no difference in job, DigiCert ONE or service user is recorded."""
    return not _of_several(bag.run for bag in (first, second) if bag.run is not None)


def _of_day(archive: Path, text: str) -> ArchivedBag:
    try:
        day = date.fromisoformat(text)
        within(day)
    except ValueError:
        raise RunbookError(Reason.BAD_PARAMETER, f"{text} is not a valid day.", title="The day is not valid") from None
    found = [bag for bag in reader.entries_of(archive, day) if holds_inventory(bag)]
    if not found:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"No inventory was done on {day}.",
            remedy=_nearest(archive, day),
            title="There is no inventory of that day",
        )
    if _of_several(bag.run for bag in found if bag.run is not None):
        places = ", ".join(bag.place for bag in found)
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"On {day} there are inventories of several accounts: {places}.",
            remedy="Name the bag instead of the day.",
            title="The day does not name one inventory",
        )
    return max(found, key=lambda bag: (bag.at, bag.place))


def _of_several(runs: Iterable[ToldRun]) -> bool:
    """Whether a difference in job, DigiCert ONE or service user is recorded."""
    runs = list(runs)
    jobs = {(run.job, run.target.api_url if run.target else "") for run in runs}
    users = {frozenset(user.id for user in run.seen.service_users) for run in runs if run.seen} - {frozenset()}
    return len(jobs) > 1 or len(users) > 1


def _nearest(archive: Path, day: date) -> str:
    """A remedy that names the nearest day with an inventory, at most a year away."""
    for direction in (-1, 1):
        for distance in range(1, 366):
            other = day + direction * timedelta(days=distance)
            if any(holds_inventory(bag) for bag in reader.entries_of(archive, other)):
                return f"Use the nearest inventory {'before' if direction < 0 else 'after'} that day: {other}."
    return "Archive one first: runbook run inventory."


def _load(bag: ArchivedBag) -> ArchivedInventory:
    if bag.run is None or not any(table.file == FILE for table in bag.run.tables):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{bag.place} holds no inventory{f': {bag.problem}' if bag.problem else ''}.",
            remedy="Name a bag of the job inventory.",
            title="The bag holds no inventory",
        )
    _sealed(bag.folder, "data/run.json")
    rows = csv.DictReader(io.StringIO(_sealed(bag.folder, f"data/{FILE}").decode("utf-8-sig"), newline=""))
    missing = set(_READ) - set(rows.fieldnames or ())
    if missing:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"{bag.place}: {FILE} lacks these columns: {', '.join(sorted(missing))}.",
            remedy="Name another inventory.",
            title="The inventory lacks columns",
        )
    # an older inventory has some cells unescaped; escaping twice changes nothing
    listed = (InventoryCertificate(*(disarmed(row[column] or "") for column in _READ)) for row in rows)
    return ArchivedInventory(
        entry=bag,
        run=bag.run,
        rows=tuple(each for each in listed if each.id or each.serial or each.place or each.enabled != "unknown"),
        # files in folders have their own table
        complete=not any(step.verdict == Verdict.UNCHECKED and step.slug != FOLDERS for step in bag.run.steps),
    )


def _sealed(bag: Path, name: str) -> bytes:
    """A file that matches the bag's manifest. The manifest itself is checked by `archive verify`."""
    try:
        content = disk.read_file(bag / name)
        manifest = disk.read_file(bag / "manifest-sha256.txt").decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"{bag.name}/{name}: {type(error).__name__}.",
            remedy="Find out what was changed: `runbook archive verify DIR`.",
            title="The inventory cannot be read",
        ) from None
    if f"{disk.sha256(content)}  {name}" not in manifest:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"{bag.name}/{name} is not as it was sealed.",
            remedy="Find out what else was changed: `runbook archive verify DIR`.",
            title="The inventory was changed after it was sealed",
        )
    return content


def _refuse_apart(old: ToldRun, new: ToldRun) -> None:
    if old.target and new.target and old.target.api_url != new.target.api_url:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"The inventories are of different environments: {old.target.api_url} and {new.target.api_url}.",
            remedy="Compare two inventories of the same environment.",
            title="The inventories cannot be compared",
        )
    users = [{user.id for user in run.seen.service_users} if run.seen else set() for run in (old, new)]
    if all(users) and not users[0] & users[1]:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "The inventories are of different service users.",
            remedy="Compare two inventories of the same service user.",
            title="The inventories cannot be compared",
        )


# --- matching rows ----------------------------------------------------------------------------------------------------


def _pairs(
    old: tuple[InventoryCertificate, ...], new: tuple[InventoryCertificate, ...]
) -> tuple[
    list[tuple[InventoryCertificate, InventoryCertificate]], list[InventoryCertificate], list[InventoryCertificate]
]:
    """Pairs of rows that are the same certificate, and the rows of either side without a counterpart."""
    pairs: list[tuple[InventoryCertificate, InventoryCertificate]] = []
    left, right = list(old), list(new)
    keys: tuple[Callable[[InventoryCertificate], Hashable], ...] = (
        lambda row: row.id or None,
        lambda row: (row.number, row.place) if row.serial else None,  # a copy matches the copy at the same place
        lambda row: row.number if row.serial else None,
        # an unreadable file: only its place in the store is known
        lambda row: row.place if row.place and not row.id else None,
        # neither id nor serial number: also compare the end, because a name may pass to another certificate
        lambda row: None if row.id or row.serial or row.place else (row.name, row.ends, row.owner),
    )
    for key in keys:
        waiting: dict[Hashable, list[InventoryCertificate]] = defaultdict(list)
        for before in left:
            waiting[key(before)].append(before)
        unmatched = []
        for after in right:
            wanted = key(after)
            candidates = waiting[wanted] if wanted is not None else []
            fit = [before for before in candidates if _may_be(before, after)]
            if fit:
                match = min(fit, key=lambda before: before.name != after.name)
                candidates.remove(match)
                pairs.append((match, after))
            else:
                unmatched.append(after)
        left, right = [before for rest in waiting.values() for before in rest], unmatched
    return pairs, left, right


def _may_be(before: InventoryCertificate, after: InventoryCertificate) -> bool:
    """Whether two rows may be the same certificate: two ids decide; if an id is missing, two serial numbers do."""
    if before.id and after.id:
        return before.id == after.id
    return not (before.serial and after.serial) or before.number == after.number


def _differences(old: ArchivedInventory, new: ArchivedInventory) -> Iterator[Difference]:
    pairs, gone, come = _pairs(old.rows, new.rows)
    for row in gone:
        if new.complete:
            yield Difference(Change.VANISHED, row.state, _NOT_LISTED, row)
        else:
            yield Difference(Change.UNKNOWN, row.state, _NO_RESPONSE, row)
    for row in come:
        if old.complete:
            yield Difference(Change.APPEARED, _NOT_LISTED, row.state, row)
        else:
            yield Difference(Change.UNKNOWN, _NO_RESPONSE, row.state, row)
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
