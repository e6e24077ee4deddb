"""Verifies the seals of an archive: signatures and time stamps, each with openssl."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from runbook_lib import disk
from runbook_lib.archive import bound, chain, signing, timestamp_authority, walk
from runbook_lib.archive.chain import NONE, signature_of
from runbook_lib.archive.signing import CERTS
from runbook_lib.archive.timestamps import stamp_of, subject


@dataclass(frozen=True)
class SealToVerify:
    """A bag to check: its place, its signer (`none` if unsigned) and whether it has a time stamp."""

    bag: str
    signer: str
    stamped: bool


@dataclass(frozen=True)
class Held:
    """The number of signatures that verify, the times of the time stamps that do, `late` as in `Verification`, and the
    findings."""

    signed: int
    stamped: tuple[datetime, ...]
    late: int
    findings: tuple[str, ...]


def verify_seals(archive: Path, bags: Sequence[SealToVerify], kept: Sequence[tuple[str, str]] = ()) -> Held:
    """Verify the signature and the time stamp of each bag, several at a time.

    Args:
        kept: folders that keep the signature of an absent bag, each with its signer.
    """
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        named = ({bag.signer for bag in bags} | {signer for _, signer in kept}) - {NONE}
        roots = archive / CERTS / signing.ROOTS
        if named and (why := _unfit(roots)):
            return Held(0, (), 0, (f"{CERTS}/{signing.ROOTS}: {why}: no signature was verified",))
        return _check(archive, bags, kept, _signers(archive, named, Path(folder)))


def _signers(archive: Path, named: set[str], folder: Path) -> dict[str, Path]:
    """The certificates that the chain names, each alone in a file, so that no other certificate in theirs counts."""
    found: dict[str, Path] = {}
    for signer in named:
        try:
            content = disk.read_file(archive / CERTS / f"{signer}.pem", walk.SMALL, follow=True)
            first = x509.load_pem_x509_certificates(content)[0]
        except (OSError, ValueError):
            continue
        if signing.fingerprint(first) == signer:
            found[signer] = folder / f"{signer}.pem"
            found[signer].write_bytes(signing.certificates_pem(first))
    return found


def _unfit(file: Path) -> str:
    """Why openssl must not read a file; empty if it may."""
    try:
        disk.opened(file, walk.SMALL, follow=True).close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _check(
    archive: Path, bags: Sequence[SealToVerify], kept: Sequence[tuple[str, str]], signers: Mapping[str, Path]
) -> Held:
    roots = archive / CERTS / signing.ROOTS

    def look(bag: SealToVerify) -> _Seen:
        at, findings = _stamp(archive, bag) if bag.stamped else (None, [])
        if bag.signer == NONE:
            return _Seen(at, False, False, findings)
        if bag.signer not in signers:
            return _Seen(at, False, False, [*findings, f"{bag.bag}: {_no_certificate(bag.signer)}"])
        place = archive / bag.bag
        why, late = "", False
        for moment in (at, None) if at else (None,):
            why = signing.signature_refused(
                signature_of(place), place / chain.TAGS, signers[bag.signer], roots, at=moment
            )
            if not why:
                late = moment is not at
                break
        if why:
            findings = [*findings, f"{bag.bag}: its signature does not verify ({why})"]
        return _Seen(at, not why, late, findings)

    def look_at_kept(absent: tuple[str, str]) -> list[str]:
        folder, signer = absent
        if signer not in signers:
            return [f"{folder}: {_no_certificate(signer)}"]
        place = archive / folder
        why = signing.signature_refused(place / bound.SIGNATURE, place / chain.TAGS, signers[signer], roots)
        return [f"{folder}: the kept signature does not verify ({why})"] if why else []

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(look, bags))
        of_kept = list(pool.map(look_at_kept, kept))
    return Held(
        signed=sum(seal.signed for seal in seen),
        stamped=tuple(sorted(seal.at for seal in seen if seal.at)),
        late=sum(seal.late for seal in seen),
        findings=tuple(finding for found in (*(seal.findings for seal in seen), *of_kept) for finding in found),
    )


def _no_certificate(signer: str) -> str:
    return f"{CERTS}/{signer}.pem is missing or a different certificate"


@dataclass(frozen=True)
class _Seen:
    at: datetime | None
    signed: bool
    late: bool
    findings: list[str]


def _stamp(archive: Path, bag: SealToVerify) -> tuple[datetime | None, list[str]]:
    """The time of a time stamp that verifies; else None and the finding."""
    place, roots = archive / bag.bag, archive / CERTS / timestamp_authority.ROOTS
    why = _unfit(roots) or timestamp_authority.stamp_refused(stamp_of(place), subject(place), roots)
    if why:
        return None, [f"{bag.bag}.tsr: does not verify ({why})"]
    return timestamp_authority.stamped_at(disk.read_file(stamp_of(place), walk.SMALL)), []
