"""Reads and checks the bags of an archive one by one: files against manifests, and what each says of the chain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import bound, chain, tombstones, walk
from runbook_lib.archive.chain import DIGEST, ENTRY_KINDS, NONE, PLACE, RESTAMP, TAGS, Link
from runbook_lib.archive.openssl import CERTS, TSA_ROOTS
from runbook_lib.archive.succession import RENEWAL
from runbook_lib.archive.timestamps import BESIDE
from runbook_lib.archive.tombstones import ELSEWHERE, PURGED, TombstoneLine

PAYLOAD_MANIFEST = "manifest-sha256.txt"
_LINES = {
    PAYLOAD_MANIFEST: re.compile(rf"({DIGEST})  (data/[A-Za-z0-9._/-]+)"),
    TAGS: re.compile(rf"({DIGEST})  ([A-Za-z0-9._-]+)"),
}
_BESIDE = re.compile(rf"({DIGEST})  ({PLACE}\.tsr|{CERTS}/{re.escape(TSA_ROOTS)})")
LISTED_ROOTS = f"{CERTS}/{TSA_ROOTS}"
_ENTRY = {PURGED, ELSEWHERE, *(f"data/{job}.json" for job in ENTRY_KINDS)}
"""Files that mark an archive entry. A run may be unsigned, since its evidence must not be lost. An entry must not:
it says which bags may be missing or whom to trust, and the signature of the next run would cover a forged one."""


@dataclass(frozen=True)
class FoundBag:
    """A bag of the chain, present or not. `neighbours` are the files next to the bags that it lists: path, digest.
    `entry`: an archive entry. `renewal`: it holds a time stamp over the bag before it. `marked`: of the format whose
    lists keep binding data."""

    link: Link
    digest: str
    signature: str
    here: bool = True
    entry: bool = False
    neighbours: tuple[tuple[str, str], ...] = ()
    marked: bool = False
    renewal: bool = False


@dataclass
class FoundBags:
    """What the checks collect. `loose` are the names of signatures and time stamps; `purged` and `elsewhere` list, by
    bag, the bags that are not present."""

    bags: list[FoundBag] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    purged: dict[str, list[TombstoneLine]] = field(default_factory=dict)
    elsewhere: dict[str, list[TombstoneLine]] = field(default_factory=dict)


def check_bag(archive: Path, place: str, found: FoundBags) -> int:
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
        entry = bool(_ENTRY & actual.keys()) or any(path == LISTED_ROOTS for path, _ in listed)
        signed = f"{place}.p7s" in found.loose
        signature = walk.digest(chain.signature_of(bag), walk.SMALL) if signed else NONE
        renewal = f"data/{RESTAMP}.json" in actual
        if renewal and RENEWAL not in actual:
            findings.append(f"{place}/{RENEWAL}: missing")
            renewal = False
        found.bags.append(FoundBag(link, digest, signature, True, entry, listed, bound.binds_tombstones(bag), renewal))
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
