"""Closes a bag and appends it to the chain: link, tag manifest, signature, rename.

What a SIGKILL leaves, and what the next writer does (each step is on the disk before the next):

    before `next` is in .head      a left-over staging folder: sealed as interrupted (`interrupted.left_over`)
    after it                       a closed bag in the staging folder: `recover` moves it into place
    after the signature's rename   the same
    after the bag's rename         the bag is in place: `recover` tidies up
    while bags are removed         their tombstone is in place: `recover` removes the others too
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path

import bagit

from runbook_lib import disk
from runbook_lib.archive import chain, index, interrupted, signing, timestamps, tombstones
from runbook_lib.archive.chain import NONE, Link, Pending, SealedBag
from runbook_lib.archive.openssl import CERTS, TSA_ROOTS
from runbook_lib.archive.signing import Signer
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports.runrecord import SCHEMA

BAG, SIGNATURE = "bag", "bag.p7s"
"""In a staging folder: the bag and its signature."""

_TEMPLATES = Path(__file__).with_name("templates")
GUIDES = {"verify.sh": _TEMPLATES, "VERIFY.md": _TEMPLATES, SCHEMA.name: SCHEMA.parent}
"""Files that an archive holds for whoever verifies it, and their folders in this version."""


@dataclass(frozen=True)
class BagSummary:
    """What the chain records of a bag: its job, its start (UTC), how it ended, and the counts of `Link`.

    `group` is the UUID of bags that belong together, such as those of a resumed batch; empty for others.
    """

    job: str
    at: datetime
    status: str
    expected: int
    produced: int
    group: str = ""


@dataclass(frozen=True)
class Place:
    """A bag in the archive, and why its signature or its time stamp is missing, if it should have one."""

    folder: Path
    unsigned: RunbookError | None
    unstamped: RunbookError | None = None


def into_chain(
    archive: Path,
    folder: Path,
    work: BagSummary,
    *,
    environ: Mapping[str, str],
    signer: Signer | None = None,
    successor: str = "",
    neighbours: Mapping[str, str] | None = None,
) -> Place:
    """Close the bag in `folder` and append it to the chain. The caller holds the archive's lock.

    The bag lists the time stamps that arrived since the previous bag.

    Args:
        folder: a staging folder of this archive with a bag that lacks only chain.json and the tag manifest.
        environ: resolves the reference to the passphrase.
        signer: signs instead of the archive's signer: the first signer of an archive.
        successor: SHA-256 of the certificate that signs from the next bag on.
        neighbours: more files next to the bags that it lists: path from the archive's top, SHA-256.

    Raises:
        RunbookError: ARCHIVE_FAILED if the bag does not validate. OSError: from the file system.
    """
    head = chain.find_head(archive)
    unsigned = None
    if signer is None and head.next_signer != NONE:
        try:
            signer = signing.load_signer(archive, head.next_signer, environ)
        except RunbookError as error:
            unsigned = error
    aside = folder / BAG
    target = _free(archive, work)
    link = Link(
        bag=str(target.relative_to(archive)),
        sequence=head.sequence + 1,
        previous=head.digest,
        previous_signature=head.signature,
        status=work.status,
        expected=work.expected,
        produced=work.produced,
        signer=signer.fingerprint if signer else NONE,
        next_signer=successor or (signer.fingerprint if signer else head.next_signer),
    )
    disk.write_file(aside / chain.LINK, link.text())
    came, waiting = timestamps.to_list(archive)
    if came or neighbours:
        disk.write_file(aside / timestamps.BESIDE, timestamps.stamp_sums({**came, **(neighbours or {})}))
    tags = _close(aside)
    signature = b""
    if signer is not None:
        signature = signer.sign(tags)
        disk.write_file(folder / SIGNATURE, signature)
    _check(aside)
    for inner in [aside, *(path for path in aside.rglob("*") if path.is_dir()), folder]:
        disk.sync_folder(inner)
    sealed = SealedBag(
        sequence=link.sequence,
        digest=disk.sha256(tags),
        signature=disk.sha256(signature) if signature else NONE,
        next_signer=link.next_signer,
        bag=link.bag,
    )
    timestamps.write_waiting(archive, [*(path.removesuffix(".tsr") for path in came), *waiting, link.bag])
    if (aside / tombstones.PURGED).exists():
        tombstones.announce(archive, link.bag)
    chain.write_pointer(archive, head, Pending(sealed, str(folder.relative_to(archive))))
    try:
        _move(archive, folder, target)
    except OSError:
        if not target.exists():
            chain.signature_of(target).unlink(missing_ok=True)
        raise
    interrupted.sealed(folder)
    _act(archive, target)
    chain.write_pointer(archive, sealed)
    timestamps.write_waiting(archive, [*waiting, link.bag])
    return Place(target, unsigned)


def recover(archive: Path) -> None:
    """Finish what a killed writer had begun. The caller holds the archive's lock."""
    head, pending = chain.read_pointer(archive)
    if head is None or pending is None:
        return
    sealed, folder, target = pending.sealed, archive / pending.staging, archive / pending.sealed.bag
    if _digest(folder / BAG) == sealed.digest and not target.exists():
        _move(archive, folder, target)
    if _digest(target) == sealed.digest:
        _act(archive, target)
        head = sealed
    else:
        chain.signature_of(target).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    chain.write_pointer(archive, head)


def _act(archive: Path, entry: Path) -> None:
    """Carry out a sealed entry: remove a tombstone's bags, or put a new authority's roots into `certs`."""
    tombstones.remove(archive)
    if (entry / tombstones.PURGED).exists():
        index.renew(archive)
    roots = entry / "data" / TSA_ROOTS
    if f"{CERTS}/{TSA_ROOTS}" in timestamps.read_list(entry) and roots.exists():
        disk.replace(archive / CERTS / TSA_ROOTS, roots.read_bytes())


def write_guides(archive: Path) -> None:
    """Put verify.sh, VERIFY.md and the JSON Schema of run.json of this version into the archive."""
    for name, folder in GUIDES.items():
        content = (folder / name).read_bytes()
        try:
            same = disk.read_file(archive / name) == content
        except OSError:
            same = False
        if not same:
            disk.replace(archive / name, content)


def _free(archive: Path, work: BagSummary) -> Path:
    """The bag's place. A second run of the same job in the same second gets the suffix `-2`, and so on.

    The place of a purged bag is not free: a run that was killed long ago is sealed under its start time.
    """
    day = archive / f"{work.at:%Y}" / f"{work.at:%m}" / f"{work.at:%d}"
    # a tombstone is newer than the bags in it, so only newer days are searched, and mostly there is none
    newer = takewhile(lambda bag: bag.parent > day, chain.bags(archive))
    purged = {archive / place for bag in newer for place in tombstones.purged_places(bag)}
    name, count = f"{work.at:%Y%m%dT%H%M%SZ}-{work.job}", 1
    while True:
        target = day / (name if count == 1 else f"{name}-{count}")
        if target not in purged and not target.exists() and not chain.signature_of(target).exists():
            return target
        count += 1


def _close(bag: Path) -> bytes:
    """Write the tag manifest, the last file of the bag."""
    tags = sorted(path for path in bag.iterdir() if path.is_file())
    lines = "".join(f"{disk.sha256(path.read_bytes())}  {path.name}\n" for path in tags).encode()
    disk.write_file(bag / chain.TAGS, lines)
    return lines


def _check(bag: Path) -> None:
    try:
        bagit.Bag(str(bag)).validate()
    except bagit.BagError as error:
        raise RunbookError(Reason.ARCHIVE_FAILED, f"The bag is not valid: {error}.") from error


def _move(archive: Path, folder: Path, target: Path) -> None:
    """Move the signature first, so that whoever sees the bag also sees its signature."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if (folder / SIGNATURE).exists():
        (folder / SIGNATURE).rename(chain.signature_of(target))
    # a rename onto a folder that is not empty fails (POSIX), so nothing in the archive is overwritten
    (folder / BAG).rename(target)
    for above in (target.parent, target.parent.parent, target.parent.parent.parent, archive):
        disk.sync_folder(above)
    index.add(archive, target)


def _digest(bag: Path) -> str:
    try:
        return disk.sha256(disk.read_file(bag / chain.TAGS))
    except OSError:
        return ""
