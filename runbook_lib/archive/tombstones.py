"""Tombstones: the list of bags that are in the chain but not in the folder, and their removal.

    <bag>/purged.txt        in a bag of the job `purge`: the tombstone of the bags that were removed with it
    <bag>/elsewhere.txt     in a bag of the job `export`: the bags that an excerpt leaves out

A line holds what the chain needs of a bag, so that the bags before and after it are checked as if it were present.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import chain, walk
from runbook_lib.archive.chain import DIGEST, NONE, PLACE, Link, signature_of
from runbook_lib.archive.timestamps import stamp_of

PURGED, ELSEWHERE = "purged.txt", "elsewhere.txt"
PURGING, TRASH = ".purging", ".purged"
"""The file that names the tombstone whose bags are being removed, so that the next writer can complete an interrupted
purge; and the folder into which they are moved first."""

HEADER = "sequence bag digest signature previous previous_signature signer next_signer expected produced status"
"""The first line of both files."""

_EITHER = f"({DIGEST}|{NONE})"
_LINE = re.compile(
    rf"([1-9][0-9]*) ({PLACE}) ({DIGEST}) {_EITHER} {_EITHER} {_EITHER} {_EITHER} {_EITHER} "
    r"(0|[1-9][0-9]*) (0|[1-9][0-9]*) ([a-z][a-z ]*)"
)


@dataclass(frozen=True)
class TombstoneLine:
    """The record of an absent bag: its link, the digest of its tag manifest and the digest of its .p7s."""

    link: Link
    digest: str
    signature: str

    def line(self) -> str:
        """The line: the words that `HEADER` names, in its order."""
        link = self.link
        words = [link.sequence, link.bag, self.digest, self.signature, link.previous, link.previous_signature]
        words += [link.signer, link.next_signer, link.expected, link.produced, link.status]
        return " ".join(map(str, words))


def of(bag: Path) -> TombstoneLine:
    """The record of a bag that is present. Raises OSError; ValueError if it is not chained."""
    link = Link.read(disk.read_file(bag / chain.LINK))
    return TombstoneLine(link, disk.sha256(disk.read_file(bag / chain.TAGS)), chain.signature_digest(bag))


def tombstone_text(bags: Iterable[TombstoneLine]) -> bytes:
    """The file, in the order of the chain."""
    lines = [HEADER, *(bag.line() for bag in sorted(bags, key=lambda bag: bag.link.sequence))]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def read_tombstone(content: bytes) -> list[TombstoneLine]:
    """Read the file. Raises ValueError for a line that `tombstone_text` would not write."""
    found = []
    lines = walk.list_lines(content)
    if next(lines) != HEADER:
        raise ValueError("malformed header line")
    for line in lines:
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise ValueError("malformed tombstone line")
        number, bag, digest, signature, previous, before, signer, turn, expected, produced, status = parts.groups()
        link = Link(bag, int(number), previous, before, status, int(expected), int(produced), signer, turn)
        found.append(TombstoneLine(link, digest, signature))
    return found


def purged_places(bag: Path) -> set[str]:
    """The places of the bags in a tombstone; none if the bag is not a tombstone or its list is damaged."""
    try:
        return {line.link.bag for line in read_tombstone(disk.read_file(bag / PURGED))}
    except (OSError, ValueError):
        return set()


def announce(archive: Path, tombstone: str) -> None:
    """Record which bag will be the tombstone, before it is sealed. The caller holds the archive's lock."""
    disk.replace(archive / PURGING, f"{tombstone}\n".encode("ascii"))


def remove(archive: Path) -> None:
    """Remove the bags that the announced tombstone lists, if it was sealed. The caller holds the archive's lock.

    A bag that differs from its line stays, because it is evidence. Each bag is removed by one rename.
    """
    trash = archive / TRASH
    for declared in _announced(archive):
        bag = archive / declared.link.bag
        if bag.exists() and not still_is(bag, declared):
            continue
        if bag.exists():
            trash.mkdir(exist_ok=True)
            bag.rename(trash / f"{declared.link.sequence}")
        signature_of(bag).unlink(missing_ok=True)
        stamp_of(bag).unlink(missing_ok=True)
        for above in list(bag.parents)[:3]:
            with suppress(OSError):  # it holds other bags
                above.rmdir()
    shutil.rmtree(trash, ignore_errors=True)
    (archive / PURGING).unlink(missing_ok=True)


def _announced(archive: Path) -> list[TombstoneLine]:
    try:
        tombstone = disk.read_file(archive / PURGING).decode("ascii").strip()
        return read_tombstone(disk.read_file(archive / tombstone / PURGED)) if re.fullmatch(PLACE, tombstone) else []
    except (OSError, ValueError):
        return []  # not sealed, or no purge is under way


def still_is(bag: Path, declared: TombstoneLine) -> bool:
    """Whether a bag is still the one that was declared. Its signature may have been removed already."""
    try:
        found = of(bag)
    except (OSError, ValueError):
        return False
    return (found.link, found.digest) == (declared.link, declared.digest)
