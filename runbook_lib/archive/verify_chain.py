"""Checks what the bags of an archive say of each other: the chain, lists of absent bags, and files next to the bags."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from runbook_lib.archive import bound, chain, walk
from runbook_lib.archive.chain import EXPORT, GENESIS, NONE, PURGE, SealedBag, is_kept
from runbook_lib.archive.tombstones import PURGED, TombstoneLine
from runbook_lib.archive.verify_bags import LISTED_ROOTS, FoundBag


def check_list(
    bag: FoundBag | None,
    place: str,
    name: str,
    listed: Sequence[TombstoneLine],
    held: bound.Bound,
    bags: Sequence[FoundBag],
) -> Iterator[str]:
    """Check that a bag may declare the listed bags gone."""
    job = PURGE if name == PURGED else EXPORT
    if not re.fullmatch(rf".*Z-{job}(-[0-9]+)?", place):
        yield f"{place}/{name}: only a bag of the job {job} may hold this list"
    for line in listed:
        if name == PURGED and is_kept(line.link.bag):
            yield f"{place}/{name}: names {line.link.bag}, an archive entry that is never purged"
        if bag is not None and line.link.sequence >= bag.link.sequence:
            yield f"{place}/{name}: names number {line.link.sequence}, which does not come before it"
    bare = len(held.word) - len(held.inherited)
    if bag is not None and bare and any(other.marked and other.link.sequence <= bag.link.sequence for other in bags):
        yield f"{place}/{name}: no binding data for {bare} of its bags, and not of the first format"


def check_tombstones(archive: Path, gone: Sequence[TombstoneLine]) -> Iterator[str]:
    """Check that no bag is declared gone twice, and none that is present."""
    seen: set[str] = set()
    for line in gone:
        if (archive / line.link.bag).is_dir():
            yield f"{line.link.bag}: purged or left out, but present (the next run completes an interrupted purge)"
        if line.link.bag in seen:
            yield f"{line.link.bag}: purged or left out twice"
        seen.add(line.link.bag)


def check_beside(
    archive: Path, bags: Sequence[FoundBag], stamps: Sequence[str], gone: set[str], *, whole: bool
) -> Iterator[str]:
    """Compare time stamps and the authority's roots with what the chain lists. The last listed roots count.

    Args:
        stamps: the time stamps, as files.
        gone: the bags that are absent.
        whole: whether `bags` are all there are: else an earlier one may list the roots.
    """
    roots = NONE
    for bag in bags:
        for path, digest in bag.neighbours:
            place = path.removesuffix(".tsr")
            if place == path:
                roots = digest
            elif not os.path.lexists(archive / path):
                if place not in gone:
                    yield f"{path}: missing"
            elif walk.digest(archive / path, walk.SMALL) != digest:
                yield f"{path}: not the time stamp that {bag.link.bag} names"
    if roots != NONE and walk.digest(archive / LISTED_ROOTS, walk.SMALL, follow=True) != roots:
        yield f"{LISTED_ROOTS}: missing, or not the file that the chain names"
    if roots == NONE and whole:
        yield from (f"{path}: time stamp, but no bag names an authority" for path in stamps)


def check_chain(archive: Path, bags: Sequence[FoundBag], head: str | None, start: SealedBag) -> Iterator[str]:
    """Check that each bag follows the one before it, the first of them `start`.

    Args:
        head: a digest that one of the bags must have.
    """
    if not bags and start == GENESIS:
        yield "no chained bag found: nothing was verified"
    number, digest, signature, turn = start.sequence, start.digest, start.signature, start.next_signer
    for bag in bags:
        link = bag.link
        if link.sequence == number:
            yield f"{link.bag}: number {number} is in the chain twice"
        elif link.sequence == number + 2:
            yield f"{link.bag}: number {number + 1} is missing before it"
        elif link.sequence != number + 1:
            yield f"{link.bag}: numbers {number + 1} to {link.sequence - 1} are missing before it"
        if link.previous != digest:
            yield f"{link.bag}: does not link to the bag before it"
        if link.previous_signature != signature:
            yield f"{link.bag}: does not link to the signature of the bag before it"
        if link.signer not in (NONE, turn) and turn != NONE:
            yield f"{link.bag}: its signer is not the one that the bag before it names"
        if link.next_signer != turn if link.signer == NONE else link.next_signer == NONE:
            yield f"{link.bag}: names a next signer that is not allowed"
        if bag.entry and link.signer == NONE and turn != NONE:
            yield f"{link.bag}: unsigned archive entry"
        if link.signer != NONE and bag.signature == NONE:
            yield f"{link.bag}: its signature is missing"
        if link.signer == NONE and bag.signature != NONE:
            yield f"{link.bag}: has a signature, but names no signer"
        number, digest, signature, turn = link.sequence, bag.digest, bag.signature, link.next_signer
    if bags and turn != NONE and bags[-1].link.signer == NONE:
        yield f"{bags[-1].link.bag}: not signed, and no signed bag follows"
    if head is not None and all(bag.digest != head for bag in bags):
        yield f"the head {head} is not in this archive: its end was cut off, or it was rewritten since"
    if bags:
        start = SealedBag(number, digest, signature, turn, bags[-1].link.bag)
    if start != GENESIS:
        yield from _check_pointer(archive, start)


def _check_pointer(archive: Path, sealed: SealedBag) -> Iterator[str]:
    """Check that the writers' pointer agrees with the bags. It is no evidence, and may be missing."""
    head, pending = chain.read_pointer(archive)
    if head is not None and sealed != head and (pending is None or sealed != pending.sealed):
        yield f"{chain.HEAD} says that the chain ends with number {head.sequence}, which is not the last bag here"
