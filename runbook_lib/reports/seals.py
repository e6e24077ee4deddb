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

from runbook_lib.reports import authority, chain, signing
from runbook_lib.reports.chain import NONE, signature_of
from runbook_lib.reports.signing import CERTS
from runbook_lib.reports.stamps import stamp_of, subject


@dataclass(frozen=True)
class Sealed:
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


def check(archive: Path, bags: Sequence[Sealed]) -> Held:
    """Verify the signature and the stamp of each bag, several at a time."""
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        return _check(archive, bags, _signers(archive, {one.signer for one in bags} - {NONE}, Path(folder)))


def _signers(archive: Path, named: set[str], folder: Path) -> dict[str, Path]:
    """The certificates that the chain names, each alone in a file: whatever else is in theirs signs nothing."""
    found: dict[str, Path] = {}
    for signer in named:
        try:
            first = x509.load_pem_x509_certificates((archive / CERTS / f"{signer}.pem").read_bytes())[0]
        except (OSError, ValueError):
            continue
        if signing.fingerprint(first) == signer:
            found[signer] = folder / f"{signer}.pem"
            found[signer].write_bytes(signing.pem(first))
    return found


def _check(archive: Path, bags: Sequence[Sealed], signers: Mapping[str, Path]) -> Held:

    def look(one: Sealed) -> _Seen:
        at, findings = _stamp(archive, one) if one.stamped else (None, [])
        if one.signer == NONE:
            return _Seen(at, False, False, findings)
        if one.signer not in signers:
            return _Seen(at, False, False, [*findings, f"{one.bag}: {CERTS}/{one.signer}.pem is missing or another"])
        place, roots = archive / one.bag, archive / CERTS / signing.ROOTS
        why, late = "", False
        for moment in (at, None) if at else (None,):
            why = signing.refused(signature_of(place), place / chain.TAGS, signers[one.signer], roots, at=moment)
            if not why:
                late = moment is not at
                break
        if why:
            findings = [*findings, f"{one.bag}: its signature does not hold ({why})"]
        return _Seen(at, not why, late, findings)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(look, bags))
    return Held(
        signed=sum(one.signed for one in seen),
        stamped=tuple(sorted(one.at for one in seen if one.at)),
        late=sum(one.late for one in seen),
        findings=tuple(finding for one in seen for finding in one.findings),
    )


@dataclass(frozen=True)
class _Seen:
    at: datetime | None
    signed: bool
    late: bool
    findings: list[str]


def _stamp(archive: Path, one: Sealed) -> tuple[datetime | None, list[str]]:
    """The time of a stamp, where it holds; else what does not."""
    place = archive / one.bag
    why = authority.refused(stamp_of(place), subject(place), archive / CERTS / authority.ROOTS)
    if why:
        return None, [f"{one.bag}.tsr: does not hold ({why})"]
    return authority.stamped_at(stamp_of(place).read_bytes()), []
