"""Verifies the signatures of an archive, each with openssl."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import bound, chain, walk
from runbook_lib.archive.chain import NONE, signature_of
from runbook_lib.archive.openssl import CERTS, ROOTS, signature_refused


@dataclass(frozen=True)
class SealToVerify:
    """A bag to check: its place, its signer (`none` if unsigned) and the time of its time stamp, if that verifies."""

    bag: str
    signer: str
    at: datetime | None


@dataclass(frozen=True)
class Held:
    """The number of signatures that verify, `late` as in `Verification`, and the findings."""

    signed: int
    late: int
    findings: tuple[str, ...]


def verify_seals(archive: Path, bags: Sequence[SealToVerify], kept: Sequence[tuple[str, str]] = ()) -> Held:
    """Verify the signature of each bag that has a signer, several at a time.

    Args:
        kept: folders that keep the signature of an absent bag, each with its signer.
    """
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        named = ({bag.signer for bag in bags} | {signer for _, signer in kept}) - {NONE}
        if named and (why := walk.unfit(archive / CERTS / ROOTS, follow=True)):
            return Held(0, 0, (f"{CERTS}/{ROOTS}: {why}: no signature was verified",))
        return _check(archive, bags, kept, _signers(archive, named, Path(folder)))


def _signers(archive: Path, named: set[str], folder: Path) -> dict[str, Path]:
    """The certificates that the chain names, each alone in a file, so that no other certificate in theirs counts."""
    if not named:
        return {}
    from cryptography import x509  # imported here, so that a nightly check of an unsigned archive starts without it

    from runbook_lib.archive import signing

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


def _check(
    archive: Path, bags: Sequence[SealToVerify], kept: Sequence[tuple[str, str]], signers: Mapping[str, Path]
) -> Held:
    roots = archive / CERTS / ROOTS

    def look(bag: SealToVerify) -> _Seen:
        if bag.signer not in signers:
            return _Seen(False, False, [f"{bag.bag}: {_no_certificate(bag.signer)}"])
        place = archive / bag.bag
        why, late = "", False
        for moment in (bag.at, None) if bag.at else (None,):
            why = signature_refused(signature_of(place), place / chain.TAGS, signers[bag.signer], roots, at=moment)
            if not why:
                late = moment is not bag.at
                break
        return _Seen(not why, late, [f"{bag.bag}: its signature does not verify ({why})"] if why else [])

    def look_at_kept(absent: tuple[str, str]) -> list[str]:
        folder, signer = absent
        if signer not in signers:
            return [f"{folder}: {_no_certificate(signer)}"]
        place = archive / folder
        why = signature_refused(place / bound.SIGNATURE, place / chain.TAGS, signers[signer], roots)
        return [f"{folder}: the kept signature does not verify ({why})"] if why else []

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(look, (bag for bag in bags if bag.signer != NONE)))
        of_kept = list(pool.map(look_at_kept, kept))
    return Held(
        signed=sum(seal.signed for seal in seen),
        late=sum(seal.late for seal in seen),
        findings=tuple(finding for found in (*(seal.findings for seal in seen), *of_kept) for finding in found),
    )


def _no_certificate(signer: str) -> str:
    return f"{CERTS}/{signer}.pem is missing or a different certificate"


@dataclass(frozen=True)
class _Seen:
    signed: bool
    late: bool
    findings: list[str]
