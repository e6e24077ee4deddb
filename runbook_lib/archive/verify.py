"""Checks that an archive is as it was sealed: files, chain, files next to the bags; `verify_seals` does the rest.

verify.sh in the archive runs the same checks without Python; a test compares the two over thousands of changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import bound, chain, tombstones, verify_seals, walk
from runbook_lib.archive.chain import DIGEST, ENTRY_KINDS, EXPORT, NONE, PLACE, PURGE, TAGS, Link, is_kept
from runbook_lib.archive.signing import CERTS
from runbook_lib.archive.timestamp_authority import ROOTS
from runbook_lib.archive.timestamps import BESIDE, stamp_of
from runbook_lib.archive.tombstones import ELSEWHERE, PURGED, TombstoneLine
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

PAYLOAD_MANIFEST = "manifest-sha256.txt"
_LINES = {
    PAYLOAD_MANIFEST: re.compile(rf"({DIGEST})  (data/[A-Za-z0-9._/-]+)"),
    TAGS: re.compile(rf"({DIGEST})  ([A-Za-z0-9._-]+)"),
}
_BESIDE = re.compile(rf"({DIGEST})  ({PLACE}\.tsr|{CERTS}/{re.escape(ROOTS)})")
_ROOTS = f"{CERTS}/{ROOTS}"
_ENTRY = {PURGED, ELSEWHERE, *(f"data/{job}.json" for job in ENTRY_KINDS)}
"""Files that mark an archive entry. A run may be unsigned, since its evidence must not be lost. An entry must not:
it says which bags may be missing or whom to trust, and the signature of the next run would cover a forged one."""

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
        findings: everything that does not hold, a sentence each. Empty if nothing was found.
        stamped: the times (UTC) of the time stamps that verify, in order.
        late: the number of signatures whose certificate was not valid at the stamped time.
        purged: the number of bags that tombstones in the chain stand for.
        elsewhere: the number of bags that an excerpt leaves out.
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
    word: int = 0


@dataclass(frozen=True)
class _Bag:
    """A bag of the chain, present or not. `neighbours` are the files next to the bags that it lists: path, digest.
    `entry`: an archive entry. `marked`: of the format whose lists keep binding data."""

    link: Link
    digest: str
    signature: str
    here: bool = True
    entry: bool = False
    neighbours: tuple[tuple[str, str], ...] = ()
    marked: bool = False


@dataclass
class _Found:
    """What the checks collect. `loose` are the names of signatures and time stamps; `purged` and `elsewhere` list, by
    bag, the bags that are not present."""

    bags: list[_Bag] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    purged: dict[str, list[TombstoneLine]] = field(default_factory=dict)
    elsewhere: dict[str, list[TombstoneLine]] = field(default_factory=dict)


def verify_archive(archive: Path, *, head: str | None = None, excerpt: bool = False) -> Verification:
    """Check an archive. Reads every file in it and changes nothing.

    Args:
        head: a digest that `runbook archive head` printed earlier, kept elsewhere. It must still be in the chain.
        excerpt: whether the folder was made by `runbook archive export`. Without this flag an excerpt does not verify,
            so that nobody can pass off half an archive as an excerpt.

    Raises:
        RunbookError: UNREADABLE_FILE if the archive is not a folder or cannot be read, or openssl is missing;
            BAD_PARAMETER if `head` is not a digest.
    """
    if head is not None and not re.fullmatch(DIGEST, head):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "--head must be a SHA-256 digest: 64 characters, 0-9 and a-f.",
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
            audit = _verify(archive, head, excerpt)
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


def _verify(archive: Path, head: str | None, excerpt: bool) -> Verification:
    found = _Found()
    findings, bags = found.findings, found.bags
    places, found.loose = walk.bag_places(archive, findings)
    files = sum(_check_bag(archive, place, found) for place in places)
    elsewhere = _left_out(found) if excerpt else {}
    gone = [line for listed in (*found.purged.values(), *elsewhere.values()) for line in listed]
    by_place = {bag.link.bag: bag for bag in bags}
    word, kept = 0, []
    for name, lists in ((PURGED, found.purged), (ELSEWHERE, elsewhere)):
        for place, listed in lists.items():
            held = bound.check_bound(archive, place, name, listed)
            findings += [*held.findings, *_check_list(by_place.get(place), place, name, listed, held, bags)]
            word += len(held.word)
            kept += held.signed
    bags += [_Bag(line.link, line.digest, line.signature, here=False) for line in gone]
    bags.sort(key=lambda bag: (bag.link.sequence, bag.link.bag))
    here = set(places)
    for loose in sorted(found.loose):
        place, _, kind = loose.rpartition(".")
        if place not in here:
            findings.append(f"{loose}: {'signature' if kind == 'p7s' else 'time stamp'} without a bag")
    findings += _check_tombstones(gone, here)
    findings += _check_chain(archive, bags, head)
    findings += _check_beside(archive, bags, found.loose, {line.link.bag for line in gone})
    sealed = [
        verify_seals.SealToVerify(bag.link.bag, bag.link.signer, f"{bag.link.bag}.tsr" in found.loose)
        for bag in bags
        # openssl would block on a tag manifest that is a FIFO; an unreadable one is a finding already
        if bag.here
        and bag.digest
        and ((bag.link.signer != NONE and bag.signature != NONE) or f"{bag.link.bag}.tsr" in found.loose)
    ]
    proof = verify_seals.verify_seals(archive, sealed, kept)
    findings += proof.findings
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
        head=(bags[-1].link.sequence, bags[-1].digest) if bags else None,
        findings=tuple(findings),
        stamped=proof.stamped,
        late=proof.late,
        purged=sum(map(len, found.purged.values())),
        elsewhere=sum(map(len, elsewhere.values())),
        word=word,
    )


def _check_list(
    bag: _Bag | None, place: str, name: str, listed: Sequence[TombstoneLine], held: bound.Bound, bags: Sequence[_Bag]
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


def _check_bag(archive: Path, place: str, found: _Found) -> int:
    """Compare a bag's files with its manifests; return the number of files."""
    findings, bag = found.findings, archive / place
    expected: dict[str, str] = {}
    for manifest, form in _LINES.items():
        malformed = False
        for line in _list(bag / manifest, f"{place}/{manifest}", findings, f"{place}: has no {manifest}"):
            parts = form.fullmatch(line)
            if parts is None or ".." in parts[2].split("/") or parts[2] in expected:
                malformed = True
            else:
                expected[parts[2]] = parts[1]
        if malformed:
            findings.append(f"{place}/{manifest}: malformed manifest line")
    actual = walk.bag_files(bag, place, findings)
    count = len(actual)
    digest = walk.digest(bag / TAGS, disk.LARGEST) if actual.pop(TAGS, None) is not None else ""
    walk.compare_with_manifest(bag, place, expected, actual, findings)
    link = _link(bag, place, findings)
    if link is not None:
        if link.bag != place:
            findings.append(f"{place}: {chain.LINK} names {link.bag}: renamed, moved or copied")
        listed = tuple(_listed_beside(bag, place, findings))
        entry = bool(_ENTRY & actual.keys()) or any(path == _ROOTS for path, _ in listed)
        signed = f"{place}.p7s" in found.loose
        signature = walk.digest(chain.signature_of(bag), walk.SMALL) if signed else NONE
        found.bags.append(_Bag(link, digest, signature, True, entry, listed, bound.binds_tombstones(bag)))
    for name, lists in ((PURGED, found.purged), (ELSEWHERE, found.elsewhere)):
        if name in actual:
            lists[place] = _tombstone_lines(archive, f"{place}/{name}", findings)
    return count


def _link(bag: Path, place: str, findings: list[str]) -> Link | None:
    try:
        return Link.read(disk.read_file(bag / chain.LINK, walk.SMALL))
    except FileNotFoundError:
        findings.append(f"{place}: not chained: it has no {chain.LINK}")
    except OSError as error:
        findings.append(f"{place}/{chain.LINK}: cannot be read ({error.strerror})")
    except ValueError:
        findings.append(f"{place}/{chain.LINK}: malformed")
    return None


def _list(file: Path, name: str, findings: list[str], missing: str = "") -> Iterator[str]:
    """The lines of a list; none if the file is missing or cannot be read."""
    try:
        content = disk.read_file(file)
    except FileNotFoundError:
        if missing:
            findings.append(missing)
    except OSError as error:
        findings.append(f"{name}: cannot be read ({error.strerror})")
    else:
        yield from walk.list_lines(content)


def _listed_beside(bag: Path, place: str, findings: list[str]) -> Iterator[tuple[str, str]]:
    malformed = False
    for line in _list(bag / BESIDE, f"{place}/{BESIDE}", findings):
        parts = _BESIDE.fullmatch(line)
        if parts is None:
            malformed = True
        else:
            yield parts[2], parts[1]
    if malformed:
        findings.append(f"{place}/{BESIDE}: malformed list line")


def _tombstone_lines(archive: Path, path: str, findings: list[str]) -> list[TombstoneLine]:
    try:
        return tombstones.read_tombstone(disk.read_file(archive / path))
    except OSError as error:
        findings.append(f"{path}: cannot be read ({error.strerror})")
    except ValueError as error:
        findings.append(f"{path}: {error}")
    return []


def _left_out(found: _Found) -> dict[str, list[TombstoneLine]]:
    """The bags that an excerpt leaves out, as its last bag lists them."""
    last = max(found.bags, key=lambda bag: bag.link.sequence, default=None)
    if last is None or list(found.elsewhere) != [last.link.bag]:
        found.findings.append(f"not an excerpt: its last bag has no {ELSEWHERE}, or another bag has one")
        return {}
    return found.elsewhere


def _check_tombstones(gone: Sequence[TombstoneLine], here: set[str]) -> Iterator[str]:
    seen: set[str] = set()
    for line in gone:
        if line.link.bag in here:
            yield f"{line.link.bag}: purged or left out, but present (the next run completes an interrupted purge)"
        if line.link.bag in seen:
            yield f"{line.link.bag}: purged or left out twice"
        seen.add(line.link.bag)


def _check_beside(archive: Path, bags: Sequence[_Bag], loose: set[str], gone: set[str]) -> Iterator[str]:
    """Compare time stamps and the authority's roots with what the chain lists. The last listed roots count."""
    roots = NONE
    for bag in bags:
        for path, digest in bag.neighbours:
            place = path.removesuffix(".tsr")
            if place == path:
                roots = digest
            elif path not in loose:
                if place not in gone:
                    yield f"{path}: missing"
            elif walk.digest(stamp_of(archive / place), walk.SMALL) != digest:
                yield f"{path}: not the time stamp that {bag.link.bag} names"
    if roots == NONE:
        for path in sorted(loose):
            if path.endswith(".tsr"):
                yield f"{path}: time stamp, but no bag names an authority"
        return
    if walk.digest(archive / _ROOTS, walk.SMALL, follow=True) != roots:
        yield f"{_ROOTS}: missing, or not the file that the chain names"


def _check_chain(archive: Path, bags: list[_Bag], head: str | None) -> Iterator[str]:
    if not bags:
        yield "no chained bag found: nothing was verified"
    number, digest, signature, turn = 0, NONE, NONE, NONE
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
        yield from _check_pointer(archive, bags[-1])


def _check_pointer(archive: Path, last: _Bag) -> Iterator[str]:
    """Check that the writers' pointer agrees with the bags. It is no evidence, and may be missing."""
    head, pending = chain.read_pointer(archive)
    sealed = chain.SealedBag(last.link.sequence, last.digest, last.signature, last.link.next_signer, last.link.bag)
    if head is not None and sealed != head and (pending is None or sealed != pending.sealed):
        yield f"{chain.HEAD} says that the chain ends with number {head.sequence}, which is not the last bag here"
