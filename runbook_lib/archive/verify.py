"""Checks that an archive is as it was sealed. The rooms `verify_…` and `succession` do the parts of it.

verify.sh in the archive runs the same checks without Python; a test compares the two over thousands of changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook_lib.archive import bound, chain, verify_seals, walk
from runbook_lib.archive.chain import DIGEST, NONE
from runbook_lib.archive.succession import RENEWAL, Token, verify_tokens
from runbook_lib.archive.timestamps import subject
from runbook_lib.archive.tombstones import ELSEWHERE, PURGED, TombstoneLine
from runbook_lib.archive.verify_bags import FoundBag, FoundBags, check_bag
from runbook_lib.archive.verify_chain import check_beside, check_chain, check_list, check_tombstones
from runbook_lib.archive.verify_since import bags_since
from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock, SystemClock
from runbook_lib.errors import RunbookError

SYSTEM = SystemClock()
_TRIES = 3
"""A bag that is sealed during a check may be seen half-written, so the check is repeated."""

_SHOWN = 1000
"""Most findings that are reported: a bag of a million added files needs no longer list."""


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Args:
        bags: the number of bags, and of `files` in them.
        signed: the number of bags whose signature verifies.
        covered: the number of unsigned bags that the signature of a later bag covers.
        signer: SHA-256 of the first signer's certificate. Each signer names the next, so this is the one to compare.
            Empty if no bag is signed.
        head: sequence number and digest of the last bag; None without one.
        since: the number of the bag that `bags` and `files` come after; 0 if the whole archive was checked.
        findings: everything that does not hold, a sentence each. Empty if nothing was found.
        stamped: the times (UTC) of the time stamps that verify, in order.
        late: the number of signatures whose certificate was not valid at the stamped time.
        purged: the number of bags that tombstones in the chain stand for.
        elsewhere: the number of bags that an excerpt leaves out.
        restamped: the times (UTC) of the entries that renew time stamps.
        lapsed: the number of time stamps that were not renewed before their authority's certificate ended, and of all
            before them.
        ends: when the newest time stamp ends (UTC), if that is past or less than 90 days away.
        word: how many of both are listed in the first format, without binding data: only the tombstone's word vouches
            for them and for the chain before them.
    """

    bags: int
    files: int
    signed: int
    covered: int
    signer: str
    head: tuple[int, str] | None
    findings: tuple[str, ...]
    stamped: tuple[datetime, ...] = ()
    late: int = 0
    purged: int = 0
    elsewhere: int = 0
    restamped: tuple[datetime, ...] = ()
    lapsed: int = 0
    ends: datetime | None = None
    word: int = 0
    since: int = 0


def verify_archive(
    archive: Path,
    *,
    head: str | None = None,
    since: str | None = None,
    excerpt: bool = False,
    clock: Clock = SYSTEM,
) -> Verification:
    """Check an archive. Reads every file in it, or with `since` those of later bags, and changes nothing.

    Args:
        head: a digest that `runbook archive head` printed earlier, kept elsewhere. It must still be in the chain.
        since: likewise, of an earlier check: only what came after that bag is checked.
        excerpt: whether the folder was made by `runbook archive export`. Without this flag an excerpt does not verify,
            so that nobody can pass off half an archive as an excerpt.
        clock: the time as of which the newest time stamp must hold.

    Raises:
        RunbookError: UNREADABLE_FILE if the archive is not a folder or cannot be read, or openssl is missing;
            BAD_PARAMETER if `head` or `since` is not a digest.
    """
    for option, digest in (("head", head), ("since", since)):
        if digest is not None and not re.fullmatch(DIGEST, digest):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"--{option} must be a SHA-256 digest: 64 characters, 0-9 and a-f.",
                remedy="Copy it from the output of `runbook archive head`.",
                title="The head is not a digest",
            )
    if not archive.is_dir():
        raise RunbookError(
            Reason.UNREADABLE_FILE, f"{archive} is not a folder.", remedy="Check the path.", title="There is no archive"
        )
    try:
        for _ in range(_TRIES):
            before = chain.read_pointer(archive)
            audit = _verify(archive, head, since, excerpt, clock.now())
            if not audit.findings or chain.read_pointer(archive) == before:
                break
        return audit
    except OSError as error:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"{error.filename}: {error.strerror}.",
            remedy="Check the path and its permissions.",
            title="The archive cannot be read",
        ) from None


def _verify(archive: Path, head: str | None, since: str | None, excerpt: bool, now: datetime) -> Verification:
    found = FoundBags()
    findings, bags = found.findings, found.bags
    start = chain.GENESIS
    if since is None:
        places, found.loose = walk.bag_places(archive, findings)
    else:
        start, places, found.loose = bags_since(archive, since, findings)
    files = sum(check_bag(archive, place, found) for place in places)
    elsewhere = _left_out(found) if excerpt else {}
    gone = [line for listed in (*found.purged.values(), *elsewhere.values()) for line in listed]
    by_place = {bag.link.bag: bag for bag in bags}
    word, kept = 0, []
    for name, lists in ((PURGED, found.purged), (ELSEWHERE, elsewhere)):
        for place, listed in lists.items():
            held = bound.check_bound(archive, place, name, listed)
            findings += [*held.findings, *check_list(by_place.get(place), place, name, listed, held, bags)]
            word += len(held.word)
            kept += held.signed
    later = (line for line in gone if line.link.sequence > start.sequence)
    bags += [FoundBag(line.link, line.digest, line.signature, here=False) for line in later]
    bags.sort(key=lambda bag: (bag.link.sequence, bag.link.bag))
    here = set(places)
    for loose in sorted(found.loose):
        place, _, kind = loose.rpartition(".")
        if place not in here:
            findings.append(f"{loose}: {'signature' if kind == 'p7s' else 'time stamp'} without a bag")
    findings += check_tombstones(archive, gone)
    if since is None or start != chain.GENESIS:
        findings += check_chain(archive, bags, head, start)
    tokens = list(_tokens(archive, bags, found.loose))
    stamps = [token.file for token in tokens]
    findings += check_beside(archive, bags, stamps, {line.link.bag for line in gone}, whole=since is None)
    standing = verify_tokens(archive, tokens, now=now)
    sealed = [
        verify_seals.SealToVerify(bag.link.bag, bag.link.signer, standing.at.get(f"{bag.link.bag}.tsr"))
        for bag in bags
        if _readable(bag) and bag.link.signer != NONE and bag.signature != NONE
    ]
    proof = verify_seals.verify_seals(archive, sealed, kept)
    findings += [*standing.findings, *proof.findings]
    if len(findings) > _SHOWN:
        findings[_SHOWN:] = [f"and {len(findings) - _SHOWN:,} more"]
    last_signed = max(
        (bag.link.sequence for bag in bags if bag.link.signer != NONE and bag.signature != NONE), default=0
    )
    return Verification(
        bags=len(places),
        files=files,
        signed=proof.signed,
        covered=sum(bag.here and bag.link.signer == NONE and bag.link.sequence < last_signed for bag in bags),
        signer=next((bag.link.signer for bag in bags if bag.link.signer != NONE), ""),
        head=_end(bags, start),
        findings=tuple(findings),
        stamped=tuple(sorted(at for file, at in standing.at.items() if not file.endswith(RENEWAL))),
        late=proof.late,
        purged=sum(map(len, found.purged.values())),
        elsewhere=sum(map(len, elsewhere.values())),
        restamped=tuple(sorted(at for file, at in standing.at.items() if file.endswith(RENEWAL))),
        lapsed=standing.lapsed,
        ends=standing.ends,
        word=word,
        since=start.sequence,
    )


def _readable(bag: FoundBag) -> bool:
    """Whether openssl may read a bag's tag manifest. It would block on a FIFO, which is a finding already."""
    return bag.here and bool(bag.digest)


def _end(bags: Sequence[FoundBag], start: chain.SealedBag) -> tuple[int, str] | None:
    if bags:
        return bags[-1].link.sequence, bags[-1].digest
    return (start.sequence, start.digest) if start != chain.GENESIS else None


def _tokens(archive: Path, bags: Sequence[FoundBag], loose: set[str]) -> Iterator[Token]:
    """The time stamps to verify, in the chain's order."""
    named: dict[str, int] = {}
    for bag in bags:
        for path, _ in bag.neighbours:
            named.setdefault(path, bag.link.sequence)
    for bag in bags:
        place, number = bag.link.bag, bag.link.sequence
        if bag.here and bag.renewal:
            yield Token(f"{place}/{RENEWAL}", ("-digest", bag.link.previous), number - 1, number)
        if _readable(bag) and f"{place}.tsr" in loose:
            yield Token(f"{place}.tsr", ("-data", str(subject(archive / place))), number, named.get(f"{place}.tsr"))


def _left_out(found: FoundBags) -> dict[str, list[TombstoneLine]]:
    """The bags that an excerpt leaves out, as its last bag lists them."""
    last = max(found.bags, key=lambda bag: bag.link.sequence, default=None)
    if last is None or list(found.elsewhere) != [last.link.bag]:
        found.findings.append(f"not an excerpt: its last bag has no {ELSEWHERE}, or another bag has one")
        return {}
    return found.elsewhere
