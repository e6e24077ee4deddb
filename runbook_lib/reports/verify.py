"""Does an archive still say what it said? Every file, the chain, what lies beside the bags; then the seals (`seals`).

verify.sh in the archive asks the same without Python; a test holds the two together over thousands of changes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports import absent, chain, seals
from runbook_lib.reports.absent import ELSEWHERE, PURGED, Absent
from runbook_lib.reports.authority import ROOTS
from runbook_lib.reports.chain import DIGEST, NONE, PLACE, TAGS, Link
from runbook_lib.reports.own import OWN
from runbook_lib.reports.signing import CERTS
from runbook_lib.reports.stamps import BESIDE, stamp_of
from runbook_lib.visible import visible

PAYLOAD_MANIFEST = "manifest-sha256.txt"
_TOP = {"certs", "index.html", "run.schema.json", "VERIFY.md", "verify.sh"}
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LINES = {
    PAYLOAD_MANIFEST: re.compile(rf"({DIGEST})  (data/[A-Za-z0-9._/-]+)"),
    TAGS: re.compile(rf"({DIGEST})  ([A-Za-z0-9._-]+)"),
}
_BESIDE = re.compile(rf"({DIGEST})  ({PLACE}\.tsr|{CERTS}/{re.escape(ROOTS)})")
_ROOTS = f"{CERTS}/{ROOTS}"
_ENTRY = {PURGED, ELSEWHERE, *(f"data/{job}.json" for job in OWN)}
"""By these an entry of the archive's own is known. A run may be unsigned, for its evidence comes first; what says that
something may be missing, or who is to be trusted, may not: the next run's signature would cover it."""

_TRIES = 3
"""Where something was sealed meanwhile, half of it may have been seen: then it looks again."""

_DAY = re.compile(r"[0-9]{4}(/[0-9]{2}(/[0-9]{2})?)?")


@dataclass(frozen=True)
class Audit:
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


@dataclass(frozen=True)
class _Bag:
    """A bag of the chain, there or not. `beside` is what it lists: path, digest. `entry`: one of the archive's own."""

    link: Link
    digest: str
    signature: str
    here: bool = True
    entry: bool = False
    beside: tuple[tuple[str, str], ...] = ()


@dataclass
class _Found:
    """What is collected on the way. `loose` are the names beside the bags, `declared` what stands in for them."""

    bags: list[_Bag] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    purged: list[Absent] = field(default_factory=list)
    elsewhere: dict[str, list[Absent]] = field(default_factory=dict)


def verify(archive: Path, *, head: str | None = None, excerpt: bool = False) -> Audit:
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


def _verify(archive: Path, head: str | None, excerpt: bool) -> Audit:
    found = _Found()
    findings, bags = found.findings, found.bags
    files = 0
    places = _places(archive, found)
    for place in places:
        files += _check_bag(archive, place, found)
    elsewhere = list(_left_out(found)) if excerpt else []
    gone = [*found.purged, *elsewhere]
    bags += [_Bag(one.link, one.digest, one.signature, here=False) for one in gone]
    bags.sort(key=lambda one: (one.link.sequence, one.link.bag))
    here = set(places)
    for loose in sorted(found.loose):
        place, _, kind = loose.rpartition(".")
        if place not in here:
            findings.append(f"{loose}: a {'signature' if kind == 'p7s' else 'time stamp'} without its bag")
    findings += _check_absent(gone, here)
    findings += _check_chain(archive, bags, head)
    findings += _check_beside(archive, bags, found.loose, {one.link.bag for one in gone})
    sealed = [
        seals.Sealed(one.link.bag, one.link.signer, f"{one.link.bag}.tsr" in found.loose)
        for one in bags
        if one.here and ((one.link.signer != NONE and one.signature != NONE) or f"{one.link.bag}.tsr" in found.loose)
    ]
    held = seals.check(archive, sealed)
    last_signed = max(
        (one.link.sequence for one in bags if one.link.signer != NONE and one.signature != NONE), default=0
    )
    return Audit(
        bags=len(places),
        files=files,
        signed=held.signed,
        covered=sum(one.here and one.link.signer == NONE and one.link.sequence < last_signed for one in bags),
        signer=next((one.link.signer for one in bags if one.link.signer != NONE), ""),
        head=(bags[-1].link.sequence, bags[-1].digest) if bags else None,
        findings=(*findings, *held.findings),
        stamped=held.stamped,
        late=held.late,
        purged=len(found.purged),
        elsewhere=len(elsewhere),
    )


def _places(archive: Path, found: _Found) -> list[str]:
    """The bags' places; the names of signatures and stamps are `loose`. Whatever else lies there is a finding."""
    places: list[str] = []
    findings = found.findings
    for name, entry in _entries(archive, "", findings, top=True):
        if not (entry.is_dir(follow_symlinks=False) and _DAY.fullmatch(name)):
            if name not in _TOP:
                findings.append(f"{name}: not part of an archive")
            continue
        for month, _ in _below(archive, name, findings):
            for day, _ in _below(archive, month, findings):
                for path, inner in _entries(archive, day, findings):
                    if re.fullmatch(PLACE, path) and inner.is_dir(follow_symlinks=False):
                        places.append(path)
                    elif re.fullmatch(rf"{PLACE}\.(p7s|tsr)", path) and inner.is_file(follow_symlinks=False):
                        found.loose.add(path)
                    else:
                        findings.append(f"{path}: not part of an archive")
    return sorted(places)


def _below(archive: Path, folder: str, findings: list[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    for path, entry in _entries(archive, folder, findings):
        if _DAY.fullmatch(path) and entry.is_dir(follow_symlinks=False):
            yield path, entry
        else:
            findings.append(f"{path}: not part of an archive")


def _entries(
    archive: Path, folder: str, findings: list[str], *, top: bool = False
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(archive / folder) as entries:
        found = sorted(entries, key=lambda one: one.name)
    for entry in found:
        if top and entry.name.startswith("."):  # the writers' own: lock, pointer, staging
            continue
        path = f"{folder}/{entry.name}" if folder else entry.name
        if _NAME.fullmatch(entry.name):
            yield path, entry
        else:
            findings.append(f"{visible(path)}: a name that no bag holds")


def _check_bag(archive: Path, place: str, found: _Found) -> int:
    """Hold a bag's files against its manifests; returns how many files there are."""
    findings = found.findings
    expected: dict[str, str] = {}
    for manifest, form in _LINES.items():
        try:
            text = (archive / place / manifest).read_bytes().decode("ascii", "replace")
        except FileNotFoundError:
            findings.append(f"{place}: has no {manifest}")
            continue
        for line in text.removesuffix("\n").split("\n"):
            parts = form.fullmatch(line)
            if parts is None or ".." in parts[2].split("/") or parts[2] in expected:
                findings.append(f"{place}/{manifest}: a line that is none of a manifest")
            else:
                expected[parts[2]] = parts[1]
    actual = dict(_digests(archive / place, "", findings, place))
    digest = actual.pop(TAGS, "")
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            findings.append(f"{place}/{name}: missing")
        elif name not in expected:
            findings.append(f"{place}/{name}: was added")
        elif expected[name] != actual[name]:
            findings.append(f"{place}/{name}: was changed")
    try:
        link = Link.read((archive / place / chain.LINK).read_bytes())
    except FileNotFoundError:
        findings.append(f"{place}: not chained: it has no {chain.LINK}")
    except ValueError:
        findings.append(f"{place}/{chain.LINK}: not in its form")
    else:
        if link.bag != place:
            findings.append(f"{place}: says that it is {link.bag}: renamed, moved or copied")
        beside = tuple(_beside(archive / place, place, findings))
        entry = bool(_ENTRY & actual.keys()) or any(path == _ROOTS for path, _ in beside)
        found.bags.append(_Bag(link, digest, chain.signature_digest(archive / place), entry=entry, beside=beside))
    found.purged += _absent(archive, f"{place}/{PURGED}", findings)
    if (archive / place / ELSEWHERE).exists():
        found.elsewhere[place] = _absent(archive, f"{place}/{ELSEWHERE}", findings)
    return len(actual) + bool(digest)


def _beside(bag: Path, place: str, findings: list[str]) -> Iterator[tuple[str, str]]:
    try:
        text = (bag / BESIDE).read_bytes().decode("ascii", "replace")
    except FileNotFoundError:
        return
    for line in text.removesuffix("\n").split("\n"):
        parts = _BESIDE.fullmatch(line)
        if parts is None:
            findings.append(f"{place}/{BESIDE}: a line that is none of a list")
        else:
            yield parts[2], parts[1]


def _absent(archive: Path, path: str, findings: list[str]) -> list[Absent]:
    try:
        return absent.read((archive / path).read_bytes())
    except FileNotFoundError:
        return []
    except ValueError as error:
        findings.append(f"{path}: {error}")
        return []


def _left_out(found: _Found) -> Iterator[Absent]:
    """What an excerpt leaves out, as its last bag says."""
    last = max(found.bags, key=lambda one: one.link.sequence, default=None)
    if last is None or list(found.elsewhere) != [last.link.bag]:
        found.findings.append(f"this is no excerpt: its last bag has no {ELSEWHERE}, or another one has")
        return
    yield from found.elsewhere[last.link.bag]


def _check_absent(gone: Sequence[Absent], here: set[str]) -> Iterator[str]:
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
            elif chain.sha256(stamp_of(archive / place).read_bytes()) != digest:
                yield f"{path}: is another than the one that {bag.link.bag} names"
    if roots == NONE:
        for path in sorted(loose):
            if path.endswith(".tsr"):
                yield f"{path}: a time stamp, and no bag names an authority"
        return
    try:
        same = chain.sha256((archive / _ROOTS).read_bytes()) == roots
    except FileNotFoundError:
        same = False
    if not same:
        yield f"{_ROOTS}: missing, or other than the chain says"


def _digests(folder: Path, below: str, findings: list[str], place: str) -> Iterator[tuple[str, str]]:
    """Every file of a bag and its SHA-256. What is neither file nor folder is a finding, and so is an empty folder."""
    empty = True
    for path, entry in _entries(folder, below, findings):
        empty = False
        if entry.is_dir(follow_symlinks=False):
            yield from _digests(folder, path, findings, place)
        elif entry.is_file(follow_symlinks=False):
            with Path(entry.path).open("rb") as stream:
                yield path, hashlib.file_digest(stream, "sha256").hexdigest()
        else:
            findings.append(f"{place}/{path}: neither a file nor a folder")
    if empty and below not in ("", "data"):
        findings.append(f"{place}/{below}: an empty folder was added")


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
    sealed = chain.Sealed(last.link.sequence, last.digest, last.signature, last.link.next_signer, last.link.bag)
    if head is not None and sealed != head and (pending is None or sealed != pending.sealed):
        yield f"{chain.HEAD} says that the chain ends with number {head.sequence}, and it is not the last bag here"
