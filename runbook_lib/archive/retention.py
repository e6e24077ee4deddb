"""Retention and legal hold: which bags a purge may remove, and the tombstone that it leaves.

The bags of a group (`bag.GROUP`: a resumed batch) stay or go together: later ones link to reports in earlier ones.

A hold, its release and a purge are archive entries (`entries`), signed if the archive has a signer. A purge removes
only runs: archive entries stay, whatever their age. The tombstone is written first, a line a bag (`tombstones`), so the
chain still holds from the first bag to the last.
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
    """Keeps every run that started in a period from a purge, first and last day (UTC) included.

    Args:
        since, until: None: open on that side.
        why: the reason, for a reader in years to come.
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

    `goes` are the bags to remove, `held` the old bags under a hold, each with the hold's name, and `waits` the old bags
    of a batch of which a younger bag stays.
    """

    before: date
    goes: tuple[TombstoneLine, ...]
    held: tuple[tuple[str, str], ...]
    waits: tuple[str, ...] = ()


def day_of(place: str) -> date:
    """The day (UTC) on which a bag's run started."""
    return date(*map(int, place.split("/")[:3]))


def hold_runs(archive: Path, what: Hold, *, at: datetime, environ: Mapping[str, str]) -> Place:
    """Keep the runs of a period from every purge, until the hold is released.

    Raises:
        RunbookError: BAD_PARAMETER, also if the name is in use; SIGNER_SHUT; DISK_FULL or ARCHIVE_FAILED.
    """
    if not NAME.fullmatch(what.name):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "It must begin with a letter or digit and have up to 63 letters, digits, spaces, dots, underscores and "
            "dashes.",
            title="The hold's name is not valid",
        )
    if what.since is not None and what.until is not None and what.until < what.since:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"The last day ({what.until}) is before the first ({what.since}).",
            title="The hold's period is not valid",
        )
    with entries.begun(archive, HOLD, at=at, environ=environ) as entry:
        if what.name in holds(archive):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"A hold {what.name!r} is in force.",
                remedy="Choose another name, or release it first.",
                title="The hold already exists",
            )
        facts = {"name": what.name, "from": _iso(what.since), "to": _iso(what.until), "why": what.why}
        place = entry.seal(facts)
    return entries.stamped(archive, place)


def release_hold(archive: Path, name: str, *, why: str, at: datetime, environ: Mapping[str, str]) -> Place:
    """End a hold. Raises as `hold_runs`, and BAD_PARAMETER if there is no hold of that name."""
    with entries.begun(archive, RELEASE, at=at, environ=environ) as entry:
        known = holds(archive)
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"No hold {name!r} is in force. Holds in force: {listed}.",
                remedy="Name a hold in force.",
                title="There is no such hold",
            )
        place = entry.seal({"name": name, "why": why})
    return entries.stamped(archive, place)


def holds(archive: Path) -> dict[str, Hold]:
    """The holds in force, by name, from the archive's entries. Raises RunbookError (UNREADABLE_FILE)."""
    listed: list[tuple[int, str, dict[str, str]]] = []
    for bag in chain.bags(archive):
        for job in (HOLD, RELEASE):
            file = bag / "data" / f"{job}.json"
            if f"Z-{job}" in bag.name and file.exists():
                try:
                    number = Link.read(disk.read_file(bag / chain.LINK)).sequence
                    listed.append((number, job, json.loads(disk.read_file(file))))
                except (OSError, ValueError, RecursionError) as error:
                    raise RunbookError(
                        Reason.UNREADABLE_FILE,
                        f"{file}: {error}.",
                        remedy="Find out what was changed: `runbook archive verify DIR`.",
                        title="A hold in the archive cannot be read",
                    ) from None
    found: dict[str, Hold] = {}
    for _, job, facts in sorted(listed, key=lambda item: item[0]):
        if job == RELEASE:
            found.pop(facts["name"], None)
        else:
            found[facts["name"]] = Hold(facts["name"], _day(facts["from"]), _day(facts["to"]), facts["why"])
    return found


def plan(archive: Path, before: date, *, at: datetime) -> PurgePlan:
    """Plan a purge of the runs that started before a day (UTC). Verifies the whole archive first.

    Raises:
        RunbookError: NOT_WHOLE if there are findings; BAD_PARAMETER for a day in the future.
    """
    if before > at.date():
        raise RunbookError(
            Reason.BAD_PARAMETER, f"{before} is later than today.", title="A purge cannot include the future"
        )
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
    """Permanently remove the bags of a plan. Their tombstone is sealed before the first of them is removed.

    If the process is killed, the next run removes the rest.

    Raises:
        RunbookError: BAD_PARAMETER if the plan is empty; NOT_WHOLE if a bag has changed since the plan was made; BUSY
            if a new hold covers a bag; SIGNER_SHUT; DISK_FULL or ARCHIVE_FAILED.
    """
    if not what.goes:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"No run that started before {what.before} can be removed.",
            remedy="Choose a later day, or release the hold that keeps the runs.",
            title="There is nothing to purge",
        )
    with entries.begun(archive, PURGE, at=at, environ=environ) as entry:
        groups = _groups(archive, _runs(archive))
        for bag, name in _held([line.link.bag for line in what.goes], holds(archive), groups).items():
            raise RunbookError(
                Reason.BUSY,
                f"The new hold {name!r} covers {bag}.",
                remedy="Plan the purge again.",
                title="A hold prevents the purge",
            )
        for line in what.goes:
            if not tombstones.still_is(archive / line.link.bag, line):
                raise RunbookError(Reason.NOT_WHOLE, f"{line.link.bag} has changed since the plan was made.")
        facts = {"before": what.before.isoformat(), "why": why, "bags": len(what.goes)}
        kept = {name: file for line in what.goes for name, file in bound.binding_files(archive / line.link.bag).items()}
        tags = {PURGED: tombstones.tombstone_text(what.goes)}
        place = entry.seal(facts, kept=kept, tags=tags, neighbours=_still_listed(archive, what.goes))
    return entries.stamped(archive, place)


def must_be_whole(archive: Path) -> None:
    """Raise NOT_WHOLE if the archive has findings."""
    findings = verify_archive(archive).findings
    if findings:
        more = f" And {len(findings) - 1} more." if len(findings) > 1 else ""
        raise RunbookError(Reason.NOT_WHOLE, f"{findings[0]}.{more}")


def _still_listed(archive: Path, goes: Iterable[TombstoneLine]) -> dict[str, str]:
    """The time stamps of bags that stay but that only purged bags list: the tombstone lists them from now on.

    The authority's roots are not needed: the entries that list them stay.
    """
    listed = {path: digest for line in goes for path, digest in timestamps.read_list(archive / line.link.bag).items()}
    gone = {f"{line.link.bag}.tsr" for line in goes}
    return {path: digest for path, digest in listed.items() if path.endswith(".tsr") and path not in gone}


def _held(places: Iterable[str], known: Mapping[str, Hold], groups: Mapping[str, str]) -> dict[str, str]:
    """The places that a hold covers, by their own day or that of a bag of their group, each with the hold's name."""
    by_group: dict[str, str] = {}
    for place, group in groups.items():
        if (name := _covering(place, known)) is not None:
            by_group.setdefault(group, name)
    found = {place: _covering(place, known) or by_group.get(groups.get(place, "")) for place in places}
    return {place: name for place, name in found.items() if name is not None}


def _covering(place: str, known: Mapping[str, Hold]) -> str | None:
    return next((hold.name for hold in known.values() if hold.covers(day_of(place))), None)


def _groups(archive: Path, places: Iterable[str]) -> dict[str, str]:
    """The group of each bag that has one."""
    found = {}
    for place in places:
        info = disk.read_file(archive / place / "bag-info.txt").decode("utf-8", "replace")
        if match := re.search(rf"^{GROUP}: (.+)$", info, re.MULTILINE):
            found[place] = match[1]
    return found


def _runs(archive: Path) -> list[str]:
    """The places of the bags that a purge may remove."""
    return [bag for bag in _places(archive) if not is_kept(bag)]


def _places(archive: Path) -> list[str]:
    return sorted(str(bag.relative_to(archive)) for bag in chain.bags(archive))


def _iso(day: date | None) -> str:
    return day.isoformat() if day else ""


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
