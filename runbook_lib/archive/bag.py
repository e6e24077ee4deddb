"""BagIt bags (RFC 8493): built aside, complete, sealed into the chain, and only then renamed to where they belong.

The `bagit` library checks every bag before it is put in place. It does not write them: its `make_bag` changes the
process's working directory, which threads share, and writes version 0.97, the draft before the RFC.
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
from runbook_lib.reports.runrecord import Started
from runbook_lib.reports.scan import Scanner
from runbook_lib.result import Status

__all__ = ["BagSummary", "Place", "Started", "archive_errors", "fill", "put", "staging"]

_LOG = logging.getLogger(__name__)

AGENT = "digicert-one-runbooks"

JOB = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""What a job may be called: it becomes part of a folder's name."""

GROUP = "Bag-Group-Identifier"  # RFC 8493, section 2.2.2

_UNSEALED = "unsealed"
"""In a staging folder that stays when its process ends: another writer had the archive in hand for too long."""

PAYLOAD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@contextmanager
def archive_errors(archive: Path) -> Iterator[None]:
    """Turn what the file system says into DISK_FULL or ARCHIVE_FAILED."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            raise RunbookError(
                Reason.DISK_FULL,
                f"The disk of the archive {archive} is full.",
                remedy="Free space on it, then run again. What ran is not in the archive.",
            ) from error
        raise RunbookError(
            Reason.ARCHIVE_FAILED, f"The archive {archive} cannot be written: {error.strerror or error}."
        ) from error


@contextmanager
def staging(archive: Path, started: Started, *, wait: float = chain.PATIENCE) -> Iterator[Path]:
    """A private folder (0700) on the archive's file system, gone afterwards.

    Making it shows that the archive can be written before anything runs. If this process is killed, what it says of
    the run is sealed by the next one.

    Args:
        wait: seconds at most for another writer.

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
            # a full disk often has room for a name and none for a byte
            disk.write_file(folder / "probe", b"\0" * 65536)
            (folder / "probe").unlink()
        yield folder


def _clear(folder: Path) -> None:
    if not (folder / _UNSEALED).exists():
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

    Runs that were killed before they could do so come first, as bags of their own.

    Args:
        folder: the run's staging folder.
        work: names and dates the bag, and says how the run ended.
        run: the run's identifier, a UUID.
        files: the payload: path below `data/` (letters, digits, `.`, `_`, `-` and `/`), content. A Path is a file that
            is on the disk, best the archive's: it is linked, and neither changed nor read into memory.
        environ: what the reference to the signer's passphrase is resolved in, in place of this process's environment.
        wait: seconds at most for another writer.

    Returns:
        Where the bag is. Where the signer's key cannot be opened, it is in the archive and in the chain all the same,
        and `unsigned` is the error (NOT_SIGNED). `unstamped` is it where a time stamp did not come (NOT_STAMPED).

    Raises:
        RunbookError: DISK_FULL or ARCHIVE_FAILED; then the run is not in the archive. BUSY; then the next run seals
            that it ran.
    """
    environ = os.environ if environ is None else environ
    with archive_errors(archive):
        # whoever ran it has searched it: a worker's secrets may be out of reach here, and a batch's files are many
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
                # a left-over that cannot be sealed now stays for the next run: this one's evidence comes first
                with suppress(OSError, RunbookError):
                    _seal_left_over(archive, left, started, work.at, environ)
            place = into_chain(archive, folder, work, environ=environ)
    _LOG.info("Run %s is sealed in %s", run, place.folder)
    return replace(place, unstamped=timestamps.after(archive, place.folder))


def _seal_left_over(
    archive: Path, left: Path, started: Started | None, found: datetime, environ: Mapping[str, str]
) -> None:
    if started is not None:
        scanner = Scanner(signing.references(archive), environ)
        started = interrupted.without_secrets(started, scanner)
        killed = BagSummary(started.job, started.at, Status.INTERRUPTED.value, expected=1, produced=0)
        shutil.rmtree(left / BAG, ignore_errors=True)
        (left / SIGNATURE).unlink(missing_ok=True)
        fill(left / BAG, killed, started.run, interrupted.interrupted_files(started, found), scanner=scanner)
        into_chain(archive, left, killed, environ=environ)
    shutil.rmtree(left, ignore_errors=True)


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
    """Write a bag up to what `into_chain` adds. Every bag passes here.

    Args:
        files: what is new, below `data/`.
        scanner: searches `files`, `tags` and what the bag is called. None where that was done already, as only
            `artefacts.make_artefacts` and `fleet.run_batch` do, where the secrets of a run are known.
        kept: files below `data/` too, of bags that were sealed before: they were searched then.
        tags: files that lie beside `data/`, and not in it.

    Raises:
        RunbookError: SECRET_IN_ARTEFACT; nothing has been written. ARCHIVE_FAILED.
    """
    if scanner is not None:
        _refuse_secrets(scanner, {**files, **(tags or {}), "bag-info.txt": f"{work.job}\n{work.group}".encode()})
    files = {**files, **(kept or {})}
    odd = [name for name in files if not PAYLOAD.fullmatch(name) or ".." in name.split("/")]
    if odd:
        raise RunbookError(Reason.ARCHIVE_FAILED, f"{odd[0]!r} is no name that every tool reads alike.")
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
    """What somebody wrote into an entry, or an older version into a staging folder, stays for good."""
    for name, content in files.items():
        for found in scanner.in_file(name, disk.read_file(content) if isinstance(content, Path) else content):
            raise RunbookError(Reason.SECRET_IN_ARTEFACT, f"Found: {found}.", remedy="Say it without the secret.")


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
