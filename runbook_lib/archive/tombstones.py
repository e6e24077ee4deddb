"""Bags that are in the chain and no longer, or not, in the folder: what is kept of each, a line, and their removal.

    <bag>/purged.txt        in a bag of the job `purge`: the tombstone of the bags that were removed with it
    <bag>/elsewhere.txt     in a bag of the job `export`: the bags that an excerpt leaves out

A line holds what the chain needs of a bag, so that the bags beside it are held against it as if it were there.
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
"""Names the tombstone whose bags are being removed: the next writer goes on where this one was killed. And the
folder through which they go."""

HEADER = "sequence bag digest signature previous previous_signature signer next_signer expected produced status"
"""The first line of both files."""

_EITHER = f"({DIGEST}|{NONE})"
_LINE = re.compile(
    rf"([1-9][0-9]*) ({PLACE}) ({DIGEST}) {_EITHER} {_EITHER} {_EITHER} {_EITHER} {_EITHER} "
    r"(0|[1-9][0-9]*) (0|[1-9][0-9]*) ([a-z][a-z ]*)"
)


@dataclass(frozen=True)
class TombstoneLine:
    """What is kept of a bag: its link, the digest of its tag manifest, and that of its .p7s."""

    link: Link
    digest: str
    signature: str

    def line(self) -> str:
        """Sequence, place, both digests, the two of the bag before, signer, next signer, the two counts, status."""
        link = self.link
        words = [link.sequence, link.bag, self.digest, self.signature, link.previous, link.previous_signature]
        words += [link.signer, link.next_signer, link.expected, link.produced, link.status]
        return " ".join(map(str, words))


def of(bag: Path) -> TombstoneLine:
    """A bag as it lies there. Raises OSError, or ValueError where it is in no chain."""
    link = Link.read(disk.read_file(bag / chain.LINK))
    return TombstoneLine(link, disk.sha256(disk.read_file(bag / chain.TAGS)), chain.signature_digest(bag))


def tombstone_text(bags: Iterable[TombstoneLine]) -> bytes:
    """The file, in the order of the chain."""
    lines = [HEADER, *(one.line() for one in sorted(bags, key=lambda one: one.link.sequence))]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def read_tombstone(content: bytes) -> list[TombstoneLine]:
    """The file read back. Raises ValueError for a line that `text` would not write."""
    found = []
    lines = walk.list_lines(content)
    if next(lines) != HEADER:
        raise ValueError("its first line is another")
    for line in lines:
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise ValueError("a line that is none of a tombstone")
        number, bag, digest, signature, previous, before, signer, turn, expected, produced, status = parts.groups()
        link = Link(bag, int(number), previous, before, status, int(expected), int(produced), signer, turn)
        found.append(TombstoneLine(link, digest, signature))
    return found


def purged_places(bag: Path) -> set[str]:
    """The places of the bags that a tombstone stands for; nothing for another bag, or where it was damaged."""
    try:
        return {one.link.bag for one in read_tombstone(disk.read_file(bag / PURGED))}
    except (OSError, ValueError):
        return set()


def announce(archive: Path, tombstone: str) -> None:
    """Say which bag will be the tombstone, before it is sealed. The caller holds the archive's lock."""
    disk.replace(archive / PURGING, f"{tombstone}\n".encode("ascii"))


def remove(archive: Path) -> None:
    """Remove what the announced tombstone names, if it was sealed. The caller holds the archive's lock.

    A bag that is not the one that was declared stays: it is evidence of something. Each bag goes by one rename.
    """
    trash = archive / TRASH
    for one in _announced(archive):
        bag = archive / one.link.bag
        if bag.exists() and not still_is(bag, one):
            continue
        if bag.exists():
            trash.mkdir(exist_ok=True)
            bag.rename(trash / f"{one.link.sequence}")
        signature_of(bag).unlink(missing_ok=True)
        stamp_of(bag).unlink(missing_ok=True)
        for above in list(bag.parents)[:3]:
            with suppress(OSError):  # other bags are in it
                above.rmdir()
    shutil.rmtree(trash, ignore_errors=True)
    (archive / PURGING).unlink(missing_ok=True)


def _announced(archive: Path) -> list[TombstoneLine]:
    try:
        tombstone = disk.read_file(archive / PURGING).decode("ascii").strip()
        return read_tombstone(disk.read_file(archive / tombstone / PURGED)) if re.fullmatch(PLACE, tombstone) else []
    except (OSError, ValueError):
        return []  # it was not sealed, or nothing is being removed


def still_is(bag: Path, declared: TombstoneLine) -> bool:
    """Whether the bag that lies there is the one that was declared; its signature may have gone already."""
    try:
        found = of(bag)
    except (OSError, ValueError):
        return False
    return (found.link, found.digest) == (declared.link, declared.digest)
