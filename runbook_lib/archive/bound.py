"""The binding data that a tombstone or an excerpt keeps of each absent bag, so that no other bag can pass for it.

    <bag>/data/absent/<number>/chain.json                the absent bag's link in the chain
    <bag>/data/absent/<number>/tagmanifest-sha256.txt    lists the digest of chain.json; the next bag names its digest
    <bag>/data/absent/<number>/bag.p7s                   its signature, if it had one
    <bag>/data/absent/<number>/purged.txt                in an excerpt: a tombstone that it leaves out, if that has no
                                                         binding data

So the chain of digests continues through absent bags. Tombstones of the first format keep no binding data: only their
word vouches for the chain before them, and the verifiers say so. A bag of the current format says that in
bag-info.txt. After such a bag, a list without binding data is a finding, because no current version writes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import chain, tombstones
from runbook_lib.archive.chain import DIGEST, LINK, NONE, TAGS, Link
from runbook_lib.archive.tombstones import PURGED, TombstoneLine
from runbook_lib.archive.walk import SMALL

KEPT, SIGNATURE = "absent", "bag.p7s"
FORMAT = "Archive-Format"
"""In bag-info.txt: 2 if tombstones and excerpts keep binding data."""

_TAG = re.compile(rf"({DIGEST})  ([A-Za-z0-9._-]+)")


@dataclass
class Bound:
    """The result of checking a list of absent bags.

    `word` are the bags without binding data; `inherited` are those of them that an older tombstone listed; `signed` are
    the bags whose kept signature must be verified: its folder and the signer.
    """

    findings: list[str] = field(default_factory=list)
    word: list[TombstoneLine] = field(default_factory=list)
    inherited: list[TombstoneLine] = field(default_factory=list)
    signed: list[tuple[str, str]] = field(default_factory=list)


def binding_files(bag: Path) -> dict[str, bytes]:
    """The binding data of a bag that is present, as files below `data/`. Raises OSError; ValueError for a bad link."""
    content = disk.read_file(bag / LINK, SMALL)
    folder = f"{KEPT}/{Link.read(content).sequence}"
    files = {f"{folder}/{LINK}": content, f"{folder}/{TAGS}": disk.read_file(bag / TAGS)}
    signature = chain.signature_of(bag)
    return {**files, f"{folder}/{SIGNATURE}": disk.read_file(signature, SMALL)} if signature.exists() else files


def hand_on(tombstone: Path) -> dict[str, bytes]:
    """What an excerpt keeps for the bags of a tombstone: their binding data, or the tombstone's list without it."""
    content = disk.read_file(tombstone / PURGED)
    files: dict[str, bytes] = {}
    for line in tombstones.read_tombstone(content):
        folder = tombstone / "data" / KEPT / str(line.link.sequence)
        if not folder.is_dir():
            number = Link.read(disk.read_file(tombstone / LINK, SMALL)).sequence
            files[f"{KEPT}/{number}/{PURGED}"] = content
            continue
        for name in (LINK, TAGS, SIGNATURE):
            if (folder / name).exists():
                files[f"{KEPT}/{line.link.sequence}/{name}"] = disk.read_file(folder / name)
    return files


def binds_tombstones(bag: Path) -> bool:
    """Whether a bag is of the format whose tombstones keep binding data."""
    try:
        return f"\n{FORMAT}: 2\n".encode() in b"\n" + disk.read_file(bag / "bag-info.txt", SMALL)
    except OSError:
        return False


def check_bound(archive: Path, place: str, name: str, listed: Sequence[TombstoneLine]) -> Bound:
    """Compare each line of a list of absent bags with its binding data.

    Args:
        place: the bag that holds the list.
        name: the list's file name.
    """
    found = Bound()
    words: set[str] = set()
    for line in listed:
        folder = f"{place}/data/{KEPT}/{line.link.sequence}"
        kept = archive / folder
        if not (kept / LINK).exists() and not (kept / TAGS).exists():
            found.word.append(line)
            continue
        tags = {}
        try:
            tags = listed_tags(disk.read_file(kept / TAGS), line.digest)
            content = disk.read_file(kept / LINK, SMALL)
            if disk.sha256(content) != tags.get(LINK) or Link.read(content) != line.link:
                raise ValueError(f"{LINK} differs")
            if line.signature != NONE and disk.sha256(disk.read_file(kept / SIGNATURE, SMALL)) != line.signature:
                raise ValueError("the signature differs")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            found.findings.append(f"{folder}: does not match {name} ({why})")
            continue
        if line.link.signer != NONE and line.signature != NONE:
            found.signed.append((folder, line.link.signer))
        if PURGED in tags and (kept / PURGED).exists():
            words.update(_inherited(kept / PURGED, tags[PURGED]))
    found.inherited = [line for line in found.word if line.line() in words]
    return found


def listed_tags(content: bytes, digest: str) -> dict[str, str]:
    """What a tag manifest lists: name, digest. Raises ValueError if it is malformed or has another digest itself."""
    if disk.sha256(content) != digest:
        raise ValueError("the tag manifest differs")
    lines = [_TAG.fullmatch(line) for line in content.decode("ascii", "replace").removesuffix("\n").split("\n")]
    named = [line[2] for line in lines if line is not None]
    if None in lines or len(set(named)) != len(named):
        raise ValueError("malformed tag manifest line")
    return {line[2]: line[1] for line in lines if line is not None}


def _inherited(file: Path, digest: str) -> Iterator[str]:
    try:
        content = disk.read_file(file)
        if disk.sha256(content) == digest:
            yield from (line.line() for line in tombstones.read_tombstone(content))
    except (OSError, ValueError):
        return
