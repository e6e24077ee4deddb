"""Interrupted runs: a killed run leaves a staging folder, and the next run seals its start record.

Each staging folder holds `started.json` and a lock that lasts as long as its run. If the lock is free and no process of
that run is left, the run was killed or its machine went down.
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
    """Record in a staging folder that a run has started, and that it is alive while the block runs."""
    descriptor = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        disk.try_lock(descriptor)  # the folder is private: nobody else can have it
        disk.write_file(folder / STARTED, started.model_dump_json().encode())
        yield
    finally:
        os.close(descriptor)


def sealed(folder: Path) -> None:
    """Record that this staging folder's run is in the archive, so that it is not taken for a left-over."""
    (folder / STARTED).unlink(missing_ok=True)


def left_over(staging: Path) -> Iterator[tuple[Path, Started | None]]:
    """The staging folders of ended processes, oldest start first, each with its start record; None without one.

    The caller holds the archive's lock, which is also held while a staging folder is made.
    """
    found = [(folder, _read(folder)) for folder in staging.iterdir() if folder.is_dir() and not _alive(folder)]
    found.sort(key=lambda pair: (pair[1].at.isoformat() if pair[1] else "", pair[0].name))
    for folder, started in found:
        if started is None or not still_running(started.run):
            yield folder, started


def without_secrets(started: Started, scanner: Scanner) -> Started:
    """The start record; if it holds a secret, without its names. An older version allowed more in a name."""
    if not scanner.labels_in(started.model_dump_json()):
        return started
    return Started(
        run=started.run,
        job=WITHHELD,
        at=started.at,
        notebook=WITHHELD,
        sha256=started.sha256,
        who=Who(user=WITHHELD, host=WITHHELD),
        mode=started.mode,
    )


def record(started: Started, found: datetime) -> RunRecord:
    """run.json of a run that was killed.

    Args:
        found: the start of the run that found it, in place of its unknown end.
    """
    what = (
        f"The process was killed, or its machine went down. It had started at {iso(started.at)}; a run that started at "
        f"{iso(found)} found what it left. Its progress and its parameters are unknown."
    )
    return RunRecord.of(
        started,
        status=Status.INTERRUPTED,
        error=RunbookError(Reason.INTERRUPTED, what),
        finished=max(started.at, found),
        clock="clock of the run that found it",
        engine=None,
        software={},
    )


def interrupted_files(started: Started, found: datetime) -> dict[str, bytes]:
    """The payload of its bag: run.json and report.html. The notebook is left out, because it was never searched."""
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
