"""Retention and legal hold: which bags may go, which must not, and the tombstone that a purge leaves.

Bags of one group (`bag.GROUP`: a batch that was gone on with) stay or go together, since the later ones link to the
reports in the earlier ones.

A hold, its release and a purge are entries of the chain (`entries`), signed where the archive has a signer. A purge
takes runs only: entries of the archive's own stay, whatever their age. What goes is written into the tombstone first, a
line a bag (`tombstones`), so the chain still holds from its first bag to its last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import bound, chain, entries, timestamps, tombstones
from runbook_lib.archive.bag import GROUP
from runbook_lib.archive.chain import HOLD, PURGE, RELEASE, Link, is_kept
from runbook_lib.archive.seal import Place
from runbook_lib.archive.tombstones import PURGED, TombstoneLine
from runbook_lib.archive.verify import verify_archive
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")


@dataclass(frozen=True)
class Hold:
    """What must not be purged: every run that started in a period, first and last day (UTC) included.

    Args:
        since, until: None is without an end on that side.
        why: in words, for whoever reads it in years.
    """

    name: str
    since: date | None
    until: date | None
    why: str

    def covers(self, day: date) -> bool:
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)


@dataclass(frozen=True)
class PurgePlan:
    """What a purge would do.

    `held` are the old bags that only a hold keeps, each with the hold's name; `waits` are those that belong to a batch
    of which a younger bag stays.
    """

    before: date
    goes: tuple[TombstoneLine, ...]
    held: tuple[tuple[str, str], ...]
    waits: tuple[str, ...] = ()


def day_of(place: str) -> date:
    """The day (UTC) on which the run of a bag started."""
    return date(*map(int, place.split("/")[:3]))


def hold_runs(archive: Path, what: Hold, *, at: datetime, environ: Mapping[str, str]) -> Place:
    """Keep the runs of a period from every purge, until it is released.

    Raises:
        RunbookError: BAD_PARAMETER, also where the name is taken; SIGNER_SHUT; DISK_FULL or ARCHIVE_FAILED.
    """
    if not NAME.fullmatch(what.name):
        raise RunbookError(Reason.BAD_PARAMETER, "A hold's name has letters, digits, spaces, dots, dashes: 63 at most.")
    if what.since is not None and what.until is not None and what.until < what.since:
        raise RunbookError(Reason.BAD_PARAMETER, f"{what.until} is before {what.since}.")
    with entries.begun(archive, HOLD, at=at, environ=environ) as entry:
        if what.name in holds(archive):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"There is a hold {what.name!r}.",
                remedy="Choose another name, or release it first.",
            )
        told = {"name": what.name, "from": _iso(what.since), "to": _iso(what.until), "why": what.why}
        place = entry.seal(told)
    return entries.stamped(archive, place)


def release_hold(archive: Path, name: str, *, why: str, at: datetime, environ: Mapping[str, str]) -> Place:
    """End a hold. Raises as `hold`, and BAD_PARAMETER where there is none of that name."""
    with entries.begun(archive, RELEASE, at=at, environ=environ) as entry:
        known = holds(archive)
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise RunbookError(Reason.BAD_PARAMETER, f"There is no hold {name!r}. In force: {listed}.")
        place = entry.seal({"name": name, "why": why})
    return entries.stamped(archive, place)


def holds(archive: Path) -> dict[str, Hold]:
    """The holds in force, by name, as the entries of the chain say. Raises RunbookError (UNREADABLE_FILE)."""
    told: list[tuple[int, str, dict[str, str]]] = []
    for bag in chain.bags(archive):
        for job in (HOLD, RELEASE):
            file = bag / "data" / f"{job}.json"
            if f"Z-{job}" in bag.name and file.exists():
                try:
                    number = Link.read(disk.read_file(bag / chain.LINK)).sequence
                    told.append((number, job, json.loads(disk.read_file(file))))
                except (OSError, ValueError, RecursionError) as error:
                    raise RunbookError(Reason.UNREADABLE_FILE, f"{file} cannot be read: {error}.") from None
    found: dict[str, Hold] = {}
    for _, job, one in sorted(told, key=lambda one: one[0]):
        if job == RELEASE:
            found.pop(one["name"], None)
        else:
            found[one["name"]] = Hold(one["name"], _day(one["from"]), _day(one["to"]), one["why"])
    return found


def plan(archive: Path, before: date, *, at: datetime) -> PurgePlan:
    """What a purge of the runs that started before a day (UTC) would remove. Verifies the whole archive first.

    Raises:
        RunbookError: NOT_WHOLE where it does not hold; BAD_PARAMETER for a day that is still to come.
    """
    if before > at.date():
        raise RunbookError(Reason.BAD_PARAMETER, f"{before} is still to come: a purge takes what is past.")
    must_be_whole(archive)
    runs = _runs(archive)
    old = [bag for bag in runs if day_of(bag) < before]
    groups = _groups(archive, runs)
    held = _held(old, holds(archive), groups)
    young = {groups[bag] for bag in set(runs) - set(old) if bag in groups}
    waits = tuple(bag for bag in old if bag not in held and groups.get(bag) in young)
    goes = tuple(tombstones.of(archive / bag) for bag in old if bag not in held and bag not in waits)
    return PurgePlan(before, goes, tuple(sorted(held.items())), waits)


def purge_runs(archive: Path, what: PurgePlan, *, why: str, at: datetime, environ: Mapping[str, str]) -> Place:
    """Remove the bags of a plan for good. Their tombstone is sealed before the first of them goes.

    If the process is killed meanwhile, the next run removes the rest.

    Raises:
        RunbookError: BAD_PARAMETER where nothing would go; NOT_WHOLE where a bag is not the one of the plan any more;
            BUSY where a hold covers one since; SIGNER_SHUT; DISK_FULL or ARCHIVE_FAILED.
    """
    if not what.goes:
        raise RunbookError(Reason.BAD_PARAMETER, f"There is nothing to purge before {what.before}.")
    with entries.begun(archive, PURGE, at=at, environ=environ) as entry:
        groups = _groups(archive, _runs(archive))
        for bag, name in _held([one.link.bag for one in what.goes], holds(archive), groups).items():
            raise RunbookError(
                Reason.BUSY,
                f"The hold {name!r} covers {bag} since the plan was made.",
                remedy="Look at the plan again.",
            )
        for one in what.goes:
            if not tombstones.still_is(archive / one.link.bag, one):
                raise RunbookError(Reason.NOT_WHOLE, f"{one.link.bag} is not as it was when the plan was made.")
        told = {"before": what.before.isoformat(), "why": why, "bags": len(what.goes)}
        kept = {name: file for one in what.goes for name, file in bound.binding_files(archive / one.link.bag).items()}
        tags = {PURGED: tombstones.tombstone_text(what.goes)}
        place = entry.seal(told, kept=kept, tags=tags, beside=_still_listed(archive, what.goes))
    return entries.stamped(archive, place)


def must_be_whole(archive: Path) -> None:
    """Refuse to go on with an archive that does not hold (NOT_WHOLE)."""
    findings = verify_archive(archive).findings
    if findings:
        more = f" And {len(findings) - 1} more." if len(findings) > 1 else ""
        raise RunbookError(Reason.NOT_WHOLE, f"{findings[0]}.{more}")


def _still_listed(archive: Path, goes: Iterable[TombstoneLine]) -> dict[str, str]:
    """The stamps of bags that stay, which only a bag that goes names: the tombstone names them from now on.

    Of the authority's roots the chain's last word counts, and the entries that named them stay.
    """
    listed = {path: digest for one in goes for path, digest in timestamps.read_list(archive / one.link.bag).items()}
    gone = {f"{one.link.bag}.tsr" for one in goes}
    return {path: digest for path, digest in listed.items() if path.endswith(".tsr") and path not in gone}


def _held(places: Iterable[str], known: Mapping[str, Hold], groups: Mapping[str, str]) -> dict[str, str]:
    """Which of these places a hold keeps, and its name: one that covers its day, or that of another of its group."""
    by_group: dict[str, str] = {}
    for place, group in groups.items():
        if (name := _covering(place, known)) is not None:
            by_group.setdefault(group, name)
    found = {place: _covering(place, known) or by_group.get(groups.get(place, "")) for place in places}
    return {place: name for place, name in found.items() if name is not None}


def _covering(place: str, known: Mapping[str, Hold]) -> str | None:
    return next((one.name for one in known.values() if one.covers(day_of(place))), None)


def _groups(archive: Path, places: Iterable[str]) -> dict[str, str]:
    """The groups of the bags that have one."""
    found = {}
    for place in places:
        info = disk.read_file(archive / place / "bag-info.txt").decode("utf-8", "replace")
        if match := re.search(rf"^{GROUP}: (.+)$", info, re.MULTILINE):
            found[place] = match[1]
    return found


def _runs(archive: Path) -> list[str]:
    """Where the runs' bags are: all that a purge may take."""
    return [bag for bag in _places(archive) if not is_kept(bag)]


def _places(archive: Path) -> list[str]:
    return sorted(str(bag.relative_to(archive)) for bag in chain.bags(archive))


def _iso(day: date | None) -> str:
    return day.isoformat() if day else ""


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
