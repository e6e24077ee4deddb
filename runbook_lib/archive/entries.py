"""Archive entries: new signer, authority or time stamp, expectation, hold, release, purge, export. Each is a bag.

They record what was done to the archive, so a purge keeps them; except an export, which changed nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook_lib import disk
from runbook_lib.archive import chain, signing, timestamp_authority, timestamps
from runbook_lib.archive.bag import Started, archive_errors, fill, staging
from runbook_lib.archive.chain import AUTHORITY, RESTAMP, SIGNER
from runbook_lib.archive.openssl import CERTS, ROOTS, TSA_ROOTS
from runbook_lib.archive.seal import BAG, BagSummary, Place, into_chain, recover, write_guides
from runbook_lib.archive.signing import Signer
from runbook_lib.archive.succession import RENEWAL
from runbook_lib.archive.timestamp_authority import TimestampAuthority
from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.reports.runrecord import who
from runbook_lib.reports.scan import Scanner
from runbook_lib.result import Status


@dataclass(frozen=True)
class EntryDraft:
    """An entry that is being made while the archive's lock is held."""

    archive: Path
    folder: Path
    work: BagSummary
    started: Started
    environ: Mapping[str, str]

    def seal(
        self,
        facts: Mapping[str, Any],
        *,
        files: Mapping[str, bytes] | None = None,
        kept: Mapping[str, bytes] | None = None,
        tags: Mapping[str, bytes] | None = None,
        neighbours: Mapping[str, str] | None = None,
        first: Signer | None = None,
        successor: str = "",
    ) -> Place:
        """Append it to the chain, signed by the archive's signer.

        Args:
            facts: the content of `data/<job>.json`, in addition to run, time, user and host.
            files, kept, tags, neighbours: as `bag.fill` and `seal.into_chain` take them.
            first: signs if the archive has no signer yet.
            successor: the signer from the next bag on, if it changes.

        Raises:
            RunbookError: SIGNER_SHUT if the archive has a signer that cannot sign, because an entry is never unsigned;
                SECRET_IN_ARTEFACT if the entry holds a secret.
        """
        before = chain.find_head(self.archive).next_signer
        try:
            signer = first if before == chain.NONE else signing.load_signer(self.archive, before, self.environ)
        except RunbookError as error:
            raise RunbookError(Reason.SIGNER_SHUT, error.what, remedy=error.remedy) from None
        record = {"run": self.started.run, "at": iso(self.work.at), **self.started.who.model_dump(), **facts}
        own = {f"{self.work.job}.json": json.dumps(record, indent=2).encode() + b"\n"} | dict(files or {})
        scanner = Scanner(signing.references(self.archive), self.environ)
        fill(self.folder / BAG, self.work, self.started.run, own, scanner=scanner, kept=kept, tags=tags)
        return into_chain(
            self.archive,
            self.folder,
            self.work,
            environ=self.environ,
            signer=signer,
            successor=successor,
            neighbours=neighbours,
        )


@contextmanager
def begun(archive: Path, job: str, *, at: datetime, environ: Mapping[str, str]) -> Iterator[EntryDraft]:
    """Hold the archive's lock while an entry is made. If the process is killed, the next run seals its start record.

    Raises:
        RunbookError: DISK_FULL or ARCHIVE_FAILED.
    """
    started = Started(run=str(uuid.uuid4()), job=job, at=at, notebook="", sha256="", who=who())
    work = BagSummary(job, at, Status.DONE.value, expected=1, produced=1)
    with staging(archive, started) as folder, archive_errors(archive), chain.archive_lock(archive):
        write_guides(archive)
        recover(archive)
        yield EntryDraft(archive, folder, work, started, environ)


def begin_signing(archive: Path, signer: Signer, *, at: datetime, environ: Mapping[str, str]) -> Place:
    """Make `signer` sign from now on: seals a bag of the job `signer` that holds its certificate.

    The previous signer signs that bag; the first signer of an archive signs its own.

    Raises:
        RunbookError: SIGNER_SHUT if the previous signer cannot sign; DISK_FULL or ARCHIVE_FAILED.
    """
    with begun(archive, SIGNER, at=at, environ=environ) as entry:
        before = chain.find_head(archive).next_signer
        files = {
            "certificate.pem": (archive / CERTS / f"{signer.fingerprint}.pem").read_bytes(),
            "roots.pem": (archive / CERTS / ROOTS).read_bytes(),
        }
        facts = {"before": before, "from_now_on": signer.fingerprint}
        place = entry.seal(facts, files=files, first=signer, successor=signer.fingerprint)
        signing.close_request(archive, signer)
    return stamped(archive, place)


def begin_stamping(archive: Path, source: TimestampAuthority, *, at: datetime, environ: Mapping[str, str]) -> Place:
    """Make `source` time-stamp every bag from now on: seals a bag of the job `authority` that holds its roots.

    Raises:
        RunbookError: SIGNER_SHUT; DISK_FULL or ARCHIVE_FAILED.
    """
    with begun(archive, AUTHORITY, at=at, environ=environ) as entry:
        roots = {f"{CERTS}/{TSA_ROOTS}": disk.sha256(source.roots)}
        place = entry.seal({"url": source.url}, files={TSA_ROOTS: source.roots}, neighbours=roots)
        timestamp_authority.set_authority(archive, source)
    return stamped(archive, place)


def restamp(archive: Path, *, at: datetime, environ: Mapping[str, str]) -> Place:
    """Put a new time stamp over the whole chain: seals a bag of the job `restamp` that holds it.

    It is over the digest of the last bag, by the authority chosen now, and renews every time stamp that the chain
    names.

    Raises:
        RunbookError: BAD_PARAMETER without an authority or a bag; NOT_STAMPED if no time stamp arrives, and then
            nothing is sealed; SIGNER_SHUT; DISK_FULL or ARCHIVE_FAILED.
    """
    source = timestamp_authority.required(archive)
    if chain.find_head(archive) == chain.GENESIS:
        raise RunbookError(Reason.BAD_PARAMETER, f"{archive} contains no bag.", title="The archive is empty")
    with begun(archive, RESTAMP, at=at, environ=environ) as entry:
        head = chain.find_head(archive)
        try:  # under the lock, so that this bag is still the last when the entry is sealed
            token = timestamp_authority.token(source, disk.read_file(archive / head.bag / chain.TAGS))
        except RunbookError as error:
            remedy = "Nothing was sealed. Repeat the command later."
            raise RunbookError(error.reason, error.what, remedy=remedy, title="No time stamp was renewed") from None
        facts = {"url": source.url, "number": head.sequence, "digest": head.digest}
        place = entry.seal(facts, files={RENEWAL.removeprefix("data/"): token})
    return stamped(archive, place)


def stamped(archive: Path, place: Place) -> Place:
    """Time-stamp an entry, once the archive's lock is released."""
    return replace(place, unstamped=timestamps.after(archive, place.folder))
