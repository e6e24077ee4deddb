"""Finds what came into an archive after a head kept elsewhere, so that a nightly check costs what a night costs."""

from __future__ import annotations

from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import bound, chain, tombstones, walk
from runbook_lib.archive.chain import GENESIS, LINK, TAGS, SealedBag
from runbook_lib.archive.tombstones import PURGED, TombstoneLine


def bags_since(archive: Path, head: str, findings: list[str]) -> tuple[SealedBag, list[str], set[str]]:
    """The bags after the one whose tag manifest has the digest `head`.

    Bags are read from the newest day back until every number from the head to the last bag is found, because a run that
    was killed long ago is sealed under its start. The writers' pointer says which is the last; without it all are read.

    Returns:
        The head's bag, or GENESIS if it is not in the archive, which is a finding; the places of the bags after it; the
        names of their signatures and time stamps.
    """
    pointer, _ = chain.read_pointer(archive)
    start = GENESIS
    numbers: dict[str, int] = {}  # 0: not chained
    gone: list[TombstoneLine] = []
    known: set[int] = set()
    for bag in chain.bags(archive):
        sealed = chain.sealed_bag(archive, bag)
        numbers[str(bag.relative_to(archive))] = sealed.sequence if sealed else 0
        purged = _purged(bag)
        gone += purged
        known |= {sealed.sequence if sealed else 0, *(line.link.sequence for line in purged)}
        if sealed is not None and sealed.digest == head:
            start = sealed
        if start == GENESIS or pointer is None:
            continue
        if all(number in known for number in range(start.sequence + 1, pointer.sequence + 1)):
            break
    if start != GENESIS:
        _check_link(archive / start.bag, start, findings)
    else:
        start = next((_as_sealed(line) for line in gone if line.digest == head), GENESIS)
    if start == GENESIS:
        findings.append(f"the head {head} is not in this archive: its end was cut off, or it was rewritten since")
        return GENESIS, [], set()
    places = sorted(place for place, number in numbers.items() if number == 0 or number > start.sequence)
    loose: set[str] = set()
    for day in sorted({place.rpartition("/")[0] for place in places}):
        loose |= walk.day_places(archive, day, findings)[1]
    return start, places, {name for name in loose if name.rpartition(".")[0] in set(places)}


def _purged(bag: Path) -> list[TombstoneLine]:
    try:
        return tombstones.read_tombstone(disk.read_file(bag / PURGED))
    except (OSError, ValueError):  # most bags have none; a damaged one is a finding when the bag is checked
        return []


def _check_link(bag: Path, sealed: SealedBag, findings: list[str]) -> None:
    """Check that the head's tag manifest, whose digest was kept elsewhere, vouches for its chain.json."""
    try:
        tags = bound.listed_tags(disk.read_file(bag / TAGS), sealed.digest)
        same = tags.get(LINK) == disk.sha256(disk.read_file(bag / LINK, walk.SMALL))
    except (OSError, ValueError):
        same = False
    if not same:
        findings.append(f"{sealed.bag}/{LINK}: changed")


def _as_sealed(line: TombstoneLine) -> SealedBag:
    return SealedBag(line.link.sequence, line.digest, line.signature, line.link.next_signer, line.link.bag)
