"""Does an archive still say what it said? Every file, the chain, the signatures.

verify.sh in the archive asks the same without Python; a test holds the two together over thousands of changes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports import chain, signing
from runbook_lib.reports.chain import DIGEST, NONE, PLACE, TAGS, Link
from runbook_lib.result import visible

PAYLOAD_MANIFEST = "manifest-sha256.txt"
_TOP = {"certs", "index.html", "run.schema.json", "VERIFY.md", "verify.sh"}
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LINES = {
    PAYLOAD_MANIFEST: re.compile(rf"({DIGEST})  (data/[A-Za-z0-9._/-]+)"),
    TAGS: re.compile(rf"({DIGEST})  ([A-Za-z0-9._-]+)"),
}
_DAY = re.compile(r"[0-9]{4}(/[0-9]{2}(/[0-9]{2})?)?")


@dataclass(frozen=True)
class Audit:
    """What was found.

    Args:
        bags: how many there are, and how many `files` in them.
        signed: how many of them hold a signature that holds.
        covered: how many say that nobody signed them, and are covered by the signature of a later bag.
        signer: whether this archive has a signer at all.
        head: sequence and digest of the last bag; None without one.
        findings: everything that does not hold, a sentence each. Nothing was found if this is empty.
    """

    bags: int
    files: int
    signed: int
    covered: int
    signer: bool
    head: tuple[int, str] | None
    findings: tuple[str, ...]


@dataclass(frozen=True)
class _Bag:
    link: Link
    digest: str
    signature: str


def verify(archive: Path, *, head: str | None = None) -> Audit:
    """Check an archive. Reads everything in it, and changes nothing.

    Args:
        head: the digest that `runbook archive head` gave at some time, kept elsewhere. It must be in the chain still.

    Raises:
        RunbookError: UNREADABLE_FILE where the archive is no folder, cannot be read or there is no openssl;
            BAD_PARAMETER for a `head` that is no digest.
    """
    if head is not None and not re.fullmatch(DIGEST, head):
        raise RunbookError(Reason.BAD_PARAMETER, "--head is a SHA-256 digest: 64 digits and letters a to f.")
    if not archive.is_dir():
        raise RunbookError(Reason.UNREADABLE_FILE, f"{archive} is no folder.")
    try:
        return _verify(archive, head)
    except OSError as error:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{error.filename}: {error.strerror}.") from None


def _verify(archive: Path, head: str | None) -> Audit:
    findings: list[str] = []
    bags: list[_Bag] = []
    files = 0
    places, loose = _places(archive, findings)
    for place in places:
        files += _check_bag(archive, place, bags, findings)
    bags.sort(key=lambda one: (one.link.sequence, one.link.bag))
    for orphan in sorted(loose - {f"{place}.p7s" for place in places}):
        findings.append(f"{orphan}: a signature without its bag")
    findings += _check_chain(archive, bags, head)
    to_check = [one for one in bags if one.link.signer != NONE and one.signature != NONE]
    refused = _check_signatures(archive, to_check)
    last_signed = max((one.link.sequence for one in to_check), default=0)
    return Audit(
        bags=len(places),
        files=files,
        signed=len(to_check) - len(refused),
        covered=sum(one.link.signer == NONE and one.link.sequence < last_signed for one in bags),
        signer=any(one.link.next_signer != NONE for one in bags),
        head=(bags[-1].link.sequence, bags[-1].digest) if bags else None,
        findings=tuple(findings + refused),
    )


def _places(archive: Path, findings: list[str]) -> tuple[list[str], set[str]]:
    """The bags' places and the signatures' names; whatever else lies between them is a finding."""
    places: list[str] = []
    loose: set[str] = set()
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
                    elif re.fullmatch(rf"{PLACE}\.p7s", path) and inner.is_file(follow_symlinks=False):
                        loose.add(path)
                    else:
                        findings.append(f"{path}: not part of an archive")
    return sorted(places), loose


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


def _check_bag(archive: Path, place: str, bags: list[_Bag], findings: list[str]) -> int:
    """Hold a bag's files against its manifests; returns how many files there are."""
    expected: dict[str, str] = {}
    for manifest, form in _LINES.items():
        try:
            text = (archive / place / manifest).read_bytes().decode("ascii", "replace")
        except FileNotFoundError:
            findings.append(f"{place}: has no {manifest}")
            continue
        for line in text.removesuffix("\n").split("\n"):
            found = form.fullmatch(line)
            if found is None or ".." in found[2].split("/") or found[2] in expected:
                findings.append(f"{place}/{manifest}: a line that is none of a manifest")
            else:
                expected[found[2]] = found[1]
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
        bags.append(_Bag(link, digest, chain.signature_digest(archive / place)))
    return len(actual) + bool(digest)


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


def _check_signatures(archive: Path, bags: Iterable[_Bag]) -> list[str]:
    known: dict[str, bool] = {}

    def check(one: _Bag) -> str | None:
        signer = archive / signing.CERTS / f"{one.link.signer}.pem"
        if one.link.signer not in known:
            known[one.link.signer] = _is(signer, one.link.signer)
        if not known[one.link.signer]:
            return f"{one.link.bag}: {signing.CERTS}/{signer.name} is missing or another certificate"
        place = archive / one.link.bag
        why = signing.refused(chain.signature_of(place), place / TAGS, signer, archive / signing.CERTS / signing.ROOTS)
        return f"{one.link.bag}: its signature does not hold ({why})" if why else None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [problem for problem in pool.map(check, bags) if problem]


def _is(file: Path, fingerprint: str) -> bool:
    try:
        first = x509.load_pem_x509_certificates(file.read_bytes())[0]
    except (OSError, ValueError):
        return False
    return signing.fingerprint(first) == fingerprint
