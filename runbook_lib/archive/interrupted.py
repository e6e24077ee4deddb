"""A run that ended without a word: its staging folder is left over, and the next run seals what it tells.

Each staging folder holds `started.json` and a lock that lives as long as its run. A folder whose lock is free and in
whose name no process runs any more belongs to a run that was killed, or whose machine went down.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from runbook_lib import disk
from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.reports import bare
from runbook_lib.reports.runrecord import WITHHELD, RunRecord, Started, Who
from runbook_lib.reports.scan import Scanner
from runbook_lib.reports.supervise import still_running
from runbook_lib.result import Status

STARTED, ALIVE = "started.json", "alive"


@contextmanager
def announced(folder: Path, started: Started) -> Iterator[None]:
    """Say in a staging folder that a run has started, and that it is alive for as long as the block runs."""
    descriptor = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        disk.try_lock(descriptor)  # the folder is private: nobody else can have it
        disk.write_file(folder / STARTED, started.model_dump_json().encode())
        yield
    finally:
        os.close(descriptor)


def sealed(folder: Path) -> None:
    """The run of this staging folder is in the archive: it is no left-over, whatever happens now."""
    (folder / STARTED).unlink(missing_ok=True)


def left_over(staging: Path) -> Iterator[tuple[Path, Started | None]]:
    """The staging folders that nobody uses any more, oldest start first; None where nothing had begun in one.

    Called by the holder of the archive's lock: it is also held while a staging folder is made.
    """
    found = [(folder, _read(folder)) for folder in staging.iterdir() if folder.is_dir() and not _alive(folder)]
    found.sort(key=lambda one: (one[1].at.isoformat() if one[1] else "", one[0].name))
    for folder, started in found:
        if started is None or not still_running(started.run):
            yield folder, started


def without_secrets(started: Started, scanner: Scanner) -> Started:
    """It, or the least of it where it holds a secret: an older version asked less of a job's or a notebook's name."""
    if not scanner.labels_in(started.model_dump_json()):
        return started
    return Started(
        run=started.run,
        job=WITHHELD,
        at=started.at,
        notebook=WITHHELD,
        sha256=started.sha256,
        who=Who(user=WITHHELD, host=WITHHELD),
    )


def record(started: Started, found: datetime) -> RunRecord:
    """run.json of a run that was killed.

    Args:
        found: when the run that found it started: the last moment at which it can have been alive is not known.
    """
    what = (
        f"The process that ran it was killed, or its machine went down. It had started at {iso(started.at)}; a run "
        f"that started at {iso(found)} found what it left. Neither how far it came is known nor its parameters."
    )
    return RunRecord.of(
        started,
        status=Status.INTERRUPTED,
        error=RunbookError(Reason.INTERRUPTED, what),
        finished=max(started.at, found),
        clock="of the run that found it",
        engine=None,
        software={},
    )


def interrupted_files(started: Started, found: datetime) -> dict[str, bytes]:
    """The payload of its bag: run.json and report.html. What its notebook held was never searched: it goes."""
    return bare.bare_files(record(started, found))


def _alive(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / ALIVE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not disk.try_lock(descriptor)
    finally:
        os.close(descriptor)


def _read(folder: Path) -> Started | None:
    try:
        return Started.model_validate_json(disk.read_file(folder / STARTED))
    except (OSError, ValidationError):
        return None
