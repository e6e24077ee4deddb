"""Does an archive still say what it said? Every file, the chain, what lies beside the bags; then `verify_seals`.

verify.sh in the archive asks the same without Python; a test holds the two together over thousands of changes.
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
"""By these an entry of the archive's own is known. A run may be unsigned, for its evidence comes first; what says that
something may be missing, or who is to be trusted, may not: the next run's signature would cover it."""

_TRIES = 3
"""Where something was sealed meanwhile, half of it may have been seen: then it looks again."""

_SHOWN = 1000
"""Findings that are told: a bag of a million strange files needs no more to be known."""


@dataclass(frozen=True)
class Verification:
    """What was found.

    Args:
        bags: how many there are, and how many `files` in them.
        signed: how many of them hold a signature that holds.
        covered: how many say that nobody signed them, and are covered by the signature of a later bag.
        signer: SHA-256 of the certificate that signed first. It named the one that signs after it, and so on, so this
            is what to compare. Empty where nobody signs.
        head: sequence and digest of the last bag; None without one.
        findings: everything that does not hold, a sentence each. Nothing was found if this is empty.
        stamped: the times (UTC) of the time stamps that hold, in order.
        late: how many signatures have a signer whose certificate was not valid at the stamped time.
        purged: how many bags are gone, as tombstones in the chain declare.
        elsewhere: how many bags an excerpt leaves out.
        word: how many of both are named by a list of the first format, which keeps nothing that binds: that they were
            as it says, and what came before them, rests on its word.
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
    """A bag of the chain, there or not. `beside` is what it lists: path, digest. `entry`: one of the archive's own.
    `marked`: of a format whose lists bind."""

    link: Link
    digest: str
    signature: str
    here: bool = True
    entry: bool = False
    beside: tuple[tuple[str, str], ...] = ()
    marked: bool = False


@dataclass
class _Found:
    """What is collected on the way. `loose` are the names beside the bags, `declared` what stands in for them."""

    bags: list[_Bag] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    purged: dict[str, list[TombstoneLine]] = field(default_factory=dict)
    elsewhere: dict[str, list[TombstoneLine]] = field(default_factory=dict)


def verify_archive(archive: Path, *, head: str | None = None, excerpt: bool = False) -> Verification:
    """Check an archive. Reads everything in it, and changes nothing.

    Args:
        head: the digest that `runbook archive head` gave at some time, kept elsewhere. It must be in the chain still.
        excerpt: whether this is what `runbook archive export` made. Without that, an excerpt does not hold: nobody may
            pass off the half of an archive as an excerpt.

    Raises:
        RunbookError: UNREADABLE_FILE where the archive is no folder, cannot be read or there is no openssl;
            BAD_PARAMETER for a `head` that is no digest.
    """
    if head is not None and not re.fullmatch(DIGEST, head):
        raise RunbookError(Reason.BAD_PARAMETER, "--head is a SHA-256 digest: 64 digits and letters a to f.")
    if not archive.is_dir():
        raise RunbookError(Reason.UNREADABLE_FILE, f"{archive} is no folder.")
    try:
        for _ in range(_TRIES):
            before = chain.read_pointer(archive)
            audit = _verify(archive, head, excerpt)
            if not audit.findings or chain.read_pointer(archive) == before:
                break
        return audit
    except OSError as error:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{error.filename}: {error.strerror}.") from None


def _verify(archive: Path, head: str | None, excerpt: bool) -> Verification:
    found = _Found()
    findings, bags = found.findings, found.bags
    places, found.loose = walk.bag_places(archive, findings)
    files = sum(_check_bag(archive, place, found) for place in places)
    elsewhere = _left_out(found) if excerpt else {}
    gone = [one for listed in (*found.purged.values(), *elsewhere.values()) for one in listed]
    by_place = {one.link.bag: one for one in bags}
    word, kept = 0, []
    for name, lists in ((PURGED, found.purged), (ELSEWHERE, elsewhere)):
        for place, listed in lists.items():
            held = bound.check_bound(archive, place, name, listed)
            findings += [*held.findings, *_check_list(by_place.get(place), place, name, listed, held, bags)]
            word += len(held.word)
            kept += held.signed
    bags += [_Bag(one.link, one.digest, one.signature, here=False) for one in gone]
    bags.sort(key=lambda one: (one.link.sequence, one.link.bag))
    here = set(places)
    for loose in sorted(found.loose):
        place, _, kind = loose.rpartition(".")
        if place not in here:
            findings.append(f"{loose}: a {'signature' if kind == 'p7s' else 'time stamp'} without its bag")
    findings += _check_tombstones(gone, here)
    findings += _check_chain(archive, bags, head)
    findings += _check_beside(archive, bags, found.loose, {one.link.bag for one in gone})
    sealed = [
        verify_seals.SealToVerify(one.link.bag, one.link.signer, f"{one.link.bag}.tsr" in found.loose)
        for one in bags
        # openssl would wait for a tag manifest that is a FIFO: one that could not be read is a finding already
        if one.here
        and one.digest
        and ((one.link.signer != NONE and one.signature != NONE) or f"{one.link.bag}.tsr" in found.loose)
    ]
    proof = verify_seals.verify_seals(archive, sealed, kept)
    findings += proof.findings
    if len(findings) > _SHOWN:
        findings[_SHOWN:] = [f"and {len(findings) - _SHOWN:,} more"]
    last_signed = max(
        (one.link.sequence for one in bags if one.link.signer != NONE and one.signature != NONE), default=0
    )
    return Verification(
        bags=len(places),
        files=files,
        signed=proof.signed,
        covered=sum(one.here and one.link.signer == NONE and one.link.sequence < last_signed for one in bags),
        signer=next((one.link.signer for one in bags if one.link.signer != NONE), ""),
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
    """Whether a bag may say of others that they are gone."""
    job = PURGE if name == PURGED else EXPORT
    if not re.fullmatch(rf".*Z-{job}(-[0-9]+)?", place):
        yield f"{place}/{name}: only a bag of the job {job} has such a list"
    for one in listed:
        if name == PURGED and is_kept(one.link.bag):
            yield f"{place}/{name}: names {one.link.bag}, an entry of the archive's own: none is ever purged"
        if bag is not None and one.link.sequence >= bag.link.sequence:
            yield f"{place}/{name}: names number {one.link.sequence}, which does not come before it"
    bare = len(held.word) - len(held.inherited)
    if bag is not None and bare and any(one.marked and one.link.sequence <= bag.link.sequence for one in bags):
        yield f"{place}/{name}: keeps nothing that binds {bare} of its bags, and is not of the first format"


def _check_bag(archive: Path, place: str, found: _Found) -> int:
    """Hold a bag's files against its manifests; returns how many files there are."""
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
            findings.append(f"{place}/{manifest}: a line that is none of a manifest")
    actual = walk.bag_files(bag, place, findings)
    count = len(actual)
    digest = walk.digest(bag / TAGS, disk.LARGEST) if actual.pop(TAGS, None) is not None else ""
    walk.compare_with_manifest(bag, place, expected, actual, findings)
    link = _link(bag, place, findings)
    if link is not None:
        if link.bag != place:
            findings.append(f"{place}: says that it is {link.bag}: renamed, moved or copied")
        beside = tuple(_beside(bag, place, findings))
        entry = bool(_ENTRY & actual.keys()) or any(path == _ROOTS for path, _ in beside)
        signed = f"{place}.p7s" in found.loose
        signature = walk.digest(chain.signature_of(bag), walk.SMALL) if signed else NONE
        found.bags.append(_Bag(link, digest, signature, True, entry, beside, bound.binds_tombstones(bag)))
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
        findings.append(f"{place}/{chain.LINK}: not in its form")
    return None


def _list(file: Path, name: str, findings: list[str], missing: str = "") -> Iterator[str]:
    """The lines of a list; nothing where it is not there, or where it is nothing to read."""
    try:
        content = disk.read_file(file)
    except FileNotFoundError:
        if missing:
            findings.append(missing)
    except OSError as error:
        findings.append(f"{name}: cannot be read ({error.strerror})")
    else:
        yield from walk.list_lines(content)


def _beside(bag: Path, place: str, findings: list[str]) -> Iterator[tuple[str, str]]:
    malformed = False
    for line in _list(bag / BESIDE, f"{place}/{BESIDE}", findings):
        parts = _BESIDE.fullmatch(line)
        if parts is None:
            malformed = True
        else:
            yield parts[2], parts[1]
    if malformed:
        findings.append(f"{place}/{BESIDE}: a line that is none of a list")


def _tombstone_lines(archive: Path, path: str, findings: list[str]) -> list[TombstoneLine]:
    try:
        return tombstones.read_tombstone(disk.read_file(archive / path))
    except OSError as error:
        findings.append(f"{path}: cannot be read ({error.strerror})")
    except ValueError as error:
        findings.append(f"{path}: {error}")
    return []


def _left_out(found: _Found) -> dict[str, list[TombstoneLine]]:
    """What an excerpt leaves out, as its last bag says."""
    last = max(found.bags, key=lambda one: one.link.sequence, default=None)
    if last is None or list(found.elsewhere) != [last.link.bag]:
        found.findings.append(f"this is no excerpt: its last bag has no {ELSEWHERE}, or another one has")
        return {}
    return found.elsewhere


def _check_tombstones(gone: Sequence[TombstoneLine], here: set[str]) -> Iterator[str]:
    seen: set[str] = set()
    for one in gone:
        if one.link.bag in here:
            yield f"{one.link.bag}: was purged or left out, and is there (the next run ends a purge that was cut off)"
        if one.link.bag in seen:
            yield f"{one.link.bag}: was purged or left out twice"
        seen.add(one.link.bag)


def _check_beside(archive: Path, bags: Sequence[_Bag], loose: set[str], gone: set[str]) -> Iterator[str]:
    """Time stamps and the authority's roots against what the chain says of them; of the roots the last word counts."""
    roots = NONE
    for bag in bags:
        for path, digest in bag.beside:
            place = path.removesuffix(".tsr")
            if place == path:
                roots = digest
            elif path not in loose:
                if place not in gone:
                    yield f"{path}: missing"
            elif walk.digest(stamp_of(archive / place), walk.SMALL) != digest:
                yield f"{path}: is another than the one that {bag.link.bag} names"
    if roots == NONE:
        for path in sorted(loose):
            if path.endswith(".tsr"):
                yield f"{path}: a time stamp, and no bag names an authority"
        return
    if walk.digest(archive / _ROOTS, walk.SMALL, follow=True) != roots:
        yield f"{_ROOTS}: missing, or other than the chain says"


def _check_chain(archive: Path, bags: list[_Bag], head: str | None) -> Iterator[str]:
    if not bags:
        yield "there is no bag in a chain here: nothing was verified"
    number, digest, signature, turn = 0, NONE, NONE, NONE
    for one in bags:
        link = one.link
        if link.sequence == number:
            yield f"{link.bag}: number {number} is in the chain twice"
        elif link.sequence != number + 1:
            missing = f"number {number + 1}" if link.sequence == number + 2 else f"{number + 1} to {link.sequence - 1}"
            yield f"{link.bag}: {missing} missing before it"
        if link.previous != digest:
            yield f"{link.bag}: follows another bag than the one before it"
        if link.previous_signature != signature:
            yield f"{link.bag}: the signature of the bag before it is another"
        if link.signer not in (NONE, turn) and turn != NONE:
            yield f"{link.bag}: signed by another than the signer whose turn it was"
        if link.next_signer != turn if link.signer == NONE else link.next_signer == NONE:
            yield f"{link.bag}: names a next signer that it cannot name"
        if one.entry and link.signer == NONE and turn != NONE:
            yield f"{link.bag}: an entry of the archive's own that nobody signed"
        if link.signer != NONE and one.signature == NONE:
            yield f"{link.bag}: its signature is missing"
        if link.signer == NONE and one.signature != NONE:
            yield f"{link.bag}: has a signature that it does not know of"
        number, digest, signature, turn = link.sequence, one.digest, one.signature, link.next_signer
    if bags and turn != NONE and bags[-1].link.signer == NONE:
        yield f"{bags[-1].link.bag}: not signed, and no signed bag follows"
    if head is not None and all(one.digest != head for one in bags):
        yield f"the head {head} is not in this archive: it was cut off or written anew since"
    if bags:
        yield from _check_pointer(archive, bags[-1])


def _check_pointer(archive: Path, last: _Bag) -> Iterator[str]:
    """The writers' pointer is no evidence, but where it is there it must agree."""
    head, pending = chain.read_pointer(archive)
    sealed = chain.SealedBag(last.link.sequence, last.digest, last.signature, last.link.next_signer, last.link.bag)
    if head is not None and sealed != head and (pending is None or sealed != pending.sealed):
        yield f"{chain.HEAD} says that the chain ends with number {head.sequence}, and it is not the last bag here"
