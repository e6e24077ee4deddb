"""BagIt bags (RFC 8493): built in a staging folder, sealed into the chain, and only then renamed into place.

The `bagit` library checks every bag first. It does not write them: its `make_bag` changes the process's working
directory, which threads share, and writes version 0.97, the draft before the RFC.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import bound, chain, interrupted, signing, timestamps
from runbook_lib.archive.chain import STAGING
from runbook_lib.archive.seal import BAG, SIGNATURE, BagSummary, Place, into_chain, recover, write_guides
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError, no_room
from runbook_lib.reports import clicked_session
from runbook_lib.reports.clicked_session import SESSION
from runbook_lib.reports.runrecord import RunRecord, Started
from runbook_lib.reports.scan import Scanner
from runbook_lib.result import Status

__all__ = ["BagSummary", "Place", "Started", "archive_errors", "fill", "put", "staging", "summary_of"]

_LOG = logging.getLogger(__name__)

AGENT = "digicert-one-runbooks"

JOB = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""The form of a job's name, which becomes part of a folder's name."""

GROUP = "Bag-Group-Identifier"  # RFC 8493, section 2.2.2

_UNSEALED = "unsealed"
"""In a staging folder that stays when its process ends, because another writer held the archive's lock too long."""

PAYLOAD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@contextmanager
def archive_errors(archive: Path) -> Iterator[None]:
    """Turn a file system error into DISK_FULL or ARCHIVE_FAILED."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise RunbookError(
                Reason.DISK_FULL,
                f"The disk of the archive {archive} is full.",
                remedy="Free space on it, then run again. This run is not in the archive.",
            ) from error
        raise RunbookError(
            Reason.ARCHIVE_FAILED, f"Cannot write to the archive {archive}: {error.strerror or error}."
        ) from error


@contextmanager
def staging(archive: Path, started: Started, *, wait: float = chain.PATIENCE) -> Iterator[Path]:
    """A private folder (0700) on the archive's file system, removed afterwards.

    It proves that the archive can be written before anything runs. If this process is killed, the next run seals the
    run's start record.

    Args:
        wait: most seconds to wait for another writer.

    Raises:
        RunbookError: BUSY; ARCHIVE_FAILED or DISK_FULL.
    """
    with ExitStack() as alive:
        with archive_errors(archive):
            (archive / STAGING).mkdir(parents=True, exist_ok=True)
            if not os.access(archive, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "permission denied")
            with chain.archive_lock(archive, wait):
                folder = Path(tempfile.mkdtemp(dir=archive / STAGING))
                alive.callback(_clear, folder)
                alive.enter_context(interrupted.announced(folder, started))
            # a full disk often has room for a name but not for a byte
            disk.write_file(folder / "probe", b"\0" * 65536)
            (folder / "probe").unlink()
        yield folder


def _clear(folder: Path) -> None:
    # a clicked session that could not be sealed is sealed by the next run
    if not (folder / _UNSEALED).exists() and not (folder / SESSION).exists():
        shutil.rmtree(folder, ignore_errors=True)


def put(
    archive: Path,
    folder: Path,
    work: BagSummary,
    *,
    run: str,
    files: Mapping[str, bytes | Path],
    environ: Mapping[str, str] | None = None,
    wait: float = chain.PATIENCE,
) -> Place:
    """Write a bag, `<archive>/YYYY/MM/DD/<utc>-<job>`, and append it to the archive's chain, signed if it has a signer.

    Killed runs that left a staging folder are sealed first, each as a bag.

    Args:
        folder: the run's staging folder.
        work: the bag's job and date, and how the run ended.
        run: the run's identifier, a UUID.
        files: the payload: path below `data/` (letters, digits, `.`, `_`, `-` and `/`), content. A Path is a file on
            the disk, best the archive's: it is linked, not changed and not read into memory.
        environ: resolves the reference to the signer's passphrase; None: this process's environment.
        wait: most seconds to wait for another writer.

    Returns:
        The bag's place. If the signer's key cannot be opened, the bag is still archived and chained, and `unsigned` is
        the error (NOT_SIGNED). If no time stamp arrived, `unstamped` is the error (NOT_STAMPED).

    Raises:
        RunbookError: DISK_FULL or ARCHIVE_FAILED: the run is not in the archive. BUSY: the next run seals the run's
            start record.
    """
    environ = os.environ if environ is None else environ
    with archive_errors(archive):
        # the caller has searched the files: a worker's secrets may be out of reach here, and a batch has many files
        fill(folder / BAG, work, run, files, scanner=None)
        with ExitStack() as held:
            try:
                held.enter_context(chain.archive_lock(archive, wait))
            except RunbookError:
                (folder / _UNSEALED).touch()
                raise
            write_guides(archive)
            recover(archive)
            for left, started in interrupted.left_over(archive / STAGING):
                # a left-over that cannot be sealed now waits for the next run: this run's evidence comes first
                with suppress(OSError, RunbookError):
                    _seal_left_over(archive, left, started, work.at, environ)
            place = into_chain(archive, folder, work, environ=environ)
    _LOG.info("Run %s is sealed in %s", run, place.folder)
    return replace(place, unstamped=timestamps.after(archive, place.folder))


def _seal_left_over(
    archive: Path, left: Path, started: Started | None, found: datetime, environ: Mapping[str, str]
) -> None:
    if started is not None:
        references = signing.references(archive)
        scanner = Scanner(references, environ)
        started = interrupted.without_secrets(started, scanner)
        shutil.rmtree(left / BAG, ignore_errors=True)
        (left / SIGNATURE).unlink(missing_ok=True)
        if started.mode == "interactive":
            session = clicked_session.produce_left_over(started, left, environ=environ, keep_out=references)
            if session is not None:
                work = summary_of(session.record)
                # `produce_left_over` has searched them
                fill(left / BAG, work, started.run, session.files, scanner=None)
                into_chain(archive, left, work, environ=environ)
        else:
            killed = BagSummary(started.job, started.at, Status.INTERRUPTED.value, expected=1, produced=0)
            fill(left / BAG, killed, started.run, interrupted.interrupted_files(started, found), scanner=scanner)
            into_chain(archive, left, killed, environ=environ)
    shutil.rmtree(left, ignore_errors=True)


def summary_of(record: RunRecord) -> BagSummary:
    """What the chain records of one run."""
    done = record.status is Status.DONE
    return BagSummary(record.job, record.started, record.status.value, expected=1, produced=int(done))


def fill(
    bag: Path,
    work: BagSummary,
    run: str,
    files: Mapping[str, bytes | Path],
    *,
    scanner: Scanner | None,
    kept: Mapping[str, bytes] | None = None,
    tags: Mapping[str, bytes] | None = None,
) -> None:
    """Write a bag, except what `into_chain` adds. Every bag is made here.

    Args:
        files: new files, below `data/`.
        scanner: searches `files`, `tags` and the bag's names for secrets. None if the caller has done so: only
            `artefacts.make_artefacts` and `fleet.run_batch` do, where the secrets of a run are known.
        kept: further files below `data/`, from sealed bags: they were searched when those were sealed.
        tags: files next to `data/`.

    Raises:
        RunbookError: SECRET_IN_ARTEFACT: nothing has been written. ARCHIVE_FAILED.
    """
    if scanner is not None:
        _refuse_secrets(scanner, {**files, **(tags or {}), "bag-info.txt": f"{work.job}\n{work.group}".encode()})
    files = {**files, **(kept or {})}
    odd = [name for name in files if not PAYLOAD.fullmatch(name) or ".." in name.split("/")]
    if odd:
        raise RunbookError(Reason.ARCHIVE_FAILED, f"The file name {odd[0]!r} is not allowed in a bag.")
    manifest, size = "", 0
    for name, content in sorted(files.items()):
        place = bag / "data" / name
        disk.link(content, place) if isinstance(content, Path) else disk.write_file(place, content)
        manifest += f"{_sha256_of(place)}  data/{name}\n"
        size += place.stat().st_size
    for name, content in (tags or {}).items():
        disk.write_file(bag / name, content)
    info = {
        "Bag-Software-Agent": AGENT,
        "Bagging-Date": f"{work.at:%Y-%m-%d}",
        "External-Description": f"One run of the job {work.job}",
        "External-Identifier": f"urn:uuid:{run}",
        "Payload-Oxum": f"{size}.{len(files)}",
    }
    info[bound.FORMAT] = "2"
    if work.group:
        info[GROUP] = f"urn:uuid:{work.group}"
    disk.write_file(bag / "bagit.txt", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    disk.write_file(bag / "bag-info.txt", "".join(f"{key}: {value}\n" for key, value in info.items()).encode())
    disk.write_file(bag / "manifest-sha256.txt", manifest.encode())


def _refuse_secrets(scanner: Scanner, files: Mapping[str, bytes | Path]) -> None:
    """Raise SECRET_IN_ARTEFACT if a file holds a secret: what is sealed stays for good."""
    for name, content in files.items():
        for found in scanner.in_file(name, disk.read_file(content) if isinstance(content, Path) else content):
            raise RunbookError(Reason.SECRET_IN_ARTEFACT, f"Found: {found}.", remedy="Remove the secret from the text.")


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
