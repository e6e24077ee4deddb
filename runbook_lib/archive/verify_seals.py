"""The seals of an archive that is being verified: signatures and time stamps, each asked of openssl."""

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
    """A bag to look at: its place, who signed it (`none`: nobody), and whether it has a time stamp."""

    bag: str
    signer: str
    stamped: bool


@dataclass(frozen=True)
class Held:
    """How many signatures hold, the times of the stamps that do, `late` as in `Audit`, and what does not hold."""

    signed: int
    stamped: tuple[datetime, ...]
    late: int
    findings: tuple[str, ...]


def verify_seals(archive: Path, bags: Sequence[SealToVerify], kept: Sequence[tuple[str, str]] = ()) -> Held:
    """Verify the signature and the stamp of each bag, several at a time.

    Args:
        kept: the folders that keep the signature of a bag which is gone, and who signed it.
    """
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        named = ({one.signer for one in bags} | {signer for _, signer in kept}) - {NONE}
        roots = archive / CERTS / signing.ROOTS
        if named and (why := _unfit(roots)):
            return Held(0, (), 0, (f"{CERTS}/{signing.ROOTS}: {why}: no signature was looked at",))
        return _check(archive, bags, kept, _signers(archive, named, Path(folder)))


def _signers(archive: Path, named: set[str], folder: Path) -> dict[str, Path]:
    """The certificates that the chain names, each alone in a file: whatever else is in theirs signs nothing."""
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
    """Why a file is none to hand to openssl; empty where it is one."""
    try:
        disk.opened(file, walk.SMALL, follow=True).close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _check(
    archive: Path, bags: Sequence[SealToVerify], kept: Sequence[tuple[str, str]], signers: Mapping[str, Path]
) -> Held:
    roots = archive / CERTS / signing.ROOTS

    def look(one: SealToVerify) -> _Seen:
        at, findings = _stamp(archive, one) if one.stamped else (None, [])
        if one.signer == NONE:
            return _Seen(at, False, False, findings)
        if one.signer not in signers:
            return _Seen(at, False, False, [*findings, f"{one.bag}: {CERTS}/{one.signer}.pem is missing or another"])
        place = archive / one.bag
        why, late = "", False
        for moment in (at, None) if at else (None,):
            why = signing.signature_refused(
                signature_of(place), place / chain.TAGS, signers[one.signer], roots, at=moment
            )
            if not why:
                late = moment is not at
                break
        if why:
            findings = [*findings, f"{one.bag}: its signature does not hold ({why})"]
        return _Seen(at, not why, late, findings)

    def look_at_kept(one: tuple[str, str]) -> list[str]:
        folder, signer = one
        if signer not in signers:
            return [f"{folder}: {CERTS}/{signer}.pem is missing or another"]
        kept = archive / folder
        why = signing.signature_refused(kept / bound.SIGNATURE, kept / chain.TAGS, signers[signer], roots)
        return [f"{folder}: the signature that it keeps does not hold ({why})"] if why else []

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(look, bags))
        of_kept = list(pool.map(look_at_kept, kept))
    return Held(
        signed=sum(one.signed for one in seen),
        stamped=tuple(sorted(one.at for one in seen if one.at)),
        late=sum(one.late for one in seen),
        findings=tuple(finding for one in (*(one.findings for one in seen), *of_kept) for finding in one),
    )


@dataclass(frozen=True)
class _Seen:
    at: datetime | None
    signed: bool
    late: bool
    findings: list[str]


def _stamp(archive: Path, one: SealToVerify) -> tuple[datetime | None, list[str]]:
    """The time of a stamp, where it holds; else what does not."""
    place, roots = archive / one.bag, archive / CERTS / timestamp_authority.ROOTS
    why = _unfit(roots) or timestamp_authority.stamp_refused(stamp_of(place), subject(place), roots)
    if why:
        return None, [f"{one.bag}.tsr: does not hold ({why})"]
    return timestamp_authority.stamped_at(disk.read_file(stamp_of(place), walk.SMALL)), []
