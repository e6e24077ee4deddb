"""What a tombstone or an excerpt keeps of a bag so that it cannot stand for another one.

    <bag>/data/absent/<number>/chain.json                what the bag said of itself and of the one before it
    <bag>/data/absent/<number>/tagmanifest-sha256.txt    its digest is what the next bag names; it lists chain.json's
    <bag>/data/absent/<number>/bag.p7s                   its signature, where it had one
    <bag>/data/absent/<number>/purged.txt                of a tombstone that an excerpt leaves out, if it keeps nothing

So the chain of digests goes unbroken through the bags that are gone. Tombstones of the first format keep nothing: what
lies before them rests on their word, and the verifiers say so. A bag of the present format says that in bag-info.txt:
after one, a list that keeps nothing is a finding, for nobody makes such a list any more.
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
"""In bag-info.txt: 2 where tombstones and excerpts keep what binds."""

_TAG = re.compile(rf"({DIGEST})  ([A-Za-z0-9._-]+)")


@dataclass
class Bound:
    """What was found of the bags that a list names.

    `word` are those of which nothing is kept, `inherited` those of these that an older tombstone named, `signed` those
    whose signature is to be looked at: the folder that keeps it, and the signer.
    """

    findings: list[str] = field(default_factory=list)
    word: list[TombstoneLine] = field(default_factory=list)
    inherited: list[TombstoneLine] = field(default_factory=list)
    signed: list[tuple[str, str]] = field(default_factory=list)


def binding_files(bag: Path) -> dict[str, bytes]:
    """The files below `data/` that bind a bag which is there. Raises OSError, or ValueError where it is in no chain."""
    content = disk.read_file(bag / LINK, SMALL)
    folder = f"{KEPT}/{Link.read(content).sequence}"
    files = {f"{folder}/{LINK}": content, f"{folder}/{TAGS}": disk.read_file(bag / TAGS)}
    signature = chain.signature_of(bag)
    return {**files, f"{folder}/{SIGNATURE}": disk.read_file(signature, SMALL)} if signature.exists() else files


def hand_on(tombstone: Path) -> dict[str, bytes]:
    """What an excerpt keeps of the bags that a tombstone stands for: what that keeps, or its own words."""
    content = disk.read_file(tombstone / PURGED)
    files: dict[str, bytes] = {}
    for one in tombstones.read_tombstone(content):
        folder = tombstone / "data" / KEPT / str(one.link.sequence)
        if not folder.is_dir():
            number = Link.read(disk.read_file(tombstone / LINK, SMALL)).sequence
            files[f"{KEPT}/{number}/{PURGED}"] = content
            continue
        for name in (LINK, TAGS, SIGNATURE):
            if (folder / name).exists():
                files[f"{KEPT}/{one.link.sequence}/{name}"] = disk.read_file(folder / name)
    return files


def binds_tombstones(bag: Path) -> bool:
    """Whether a bag is of a format whose tombstones bind."""
    try:
        return f"\n{FORMAT}: 2\n".encode() in b"\n" + disk.read_file(bag / "bag-info.txt", SMALL)
    except OSError:
        return False


def check_bound(archive: Path, place: str, name: str, listed: Sequence[TombstoneLine]) -> Bound:
    """Hold each line of a list against what is kept beside it.

    Args:
        place: the bag that has the list.
        name: the list's file name.
    """
    found = Bound()
    words: set[str] = set()
    for one in listed:
        folder = f"{place}/data/{KEPT}/{one.link.sequence}"
        kept = archive / folder
        if not (kept / LINK).exists() and not (kept / TAGS).exists():
            found.word.append(one)
            continue
        tags = {}
        try:
            tags = _tags(disk.read_file(kept / TAGS), one.digest)
            content = disk.read_file(kept / LINK, SMALL)
            if disk.sha256(content) != tags.get(LINK) or Link.read(content) != one.link:
                raise ValueError("chain.json is another")
            if one.signature != NONE and disk.sha256(disk.read_file(kept / SIGNATURE, SMALL)) != one.signature:
                raise ValueError("its signature is another")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            found.findings.append(f"{folder}: does not bind what {name} says ({why})")
            continue
        if one.link.signer != NONE and one.signature != NONE:
            found.signed.append((folder, one.link.signer))
        if PURGED in tags and (kept / PURGED).exists():
            words.update(_inherited(kept / PURGED, tags[PURGED]))
    found.inherited = [one for one in found.word if one.line() in words]
    return found


def _tags(content: bytes, digest: str) -> dict[str, str]:
    if disk.sha256(content) != digest:
        raise ValueError("the tag manifest is another")
    lines = [_TAG.fullmatch(line) for line in content.decode("ascii", "replace").removesuffix("\n").split("\n")]
    named = [line[2] for line in lines if line is not None]
    if None in lines or len(set(named)) != len(named):
        raise ValueError("a malformed line in the tag manifest")
    return {line[2]: line[1] for line in lines if line is not None}


def _inherited(file: Path, digest: str) -> Iterator[str]:
    try:
        content = disk.read_file(file)
        if disk.sha256(content) == digest:
            yield from (one.line() for one in tombstones.read_tombstone(content))
    except (OSError, ValueError):
        return
