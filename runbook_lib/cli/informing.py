"""What `runbook run` and `runbook batch` do besides the run: messages, metrics, calendar and heartbeat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.catalogue import Exit
from runbook_lib.cli.terminal import err
from runbook_lib.errors import RunbookError

if TYPE_CHECKING:
    from runbook_lib.notices.notices_file import Notices

_PATIENCE = 30.0


def after_runs(archive: Path, notices: Path | None, metrics: Path | None, calendar: Path | None) -> Notices | None:
    """What the options or the archive's policy ask for after a run; None for nothing.

    Raises:
        RunbookError: as `read_notices`. A faulty file is refused before anything runs.
    """
    if (notices, metrics, calendar) == (None, None, None) and not (archive / ".notices").is_dir():
        return None  # the usual case, and nothing is imported for it
    from runbook_lib.notices.after_run import wanted

    return wanted(archive, notices, metrics, calendar)


def waiting_notices(archive: Path) -> str:
    """A sentence for the report about messages of earlier runs that wait; empty if none do."""
    from runbook_lib.notices.after_run import waiting

    return waiting(archive)


def inform_about(bag: Path, notices: Notices) -> None:
    """Send and write what a sealed bag calls for, and report it on standard error."""
    from runbook_lib.notices.after_run import inform

    found = inform(bag, notices)
    for problem in found.problems:
        err(f"Notices: {problem}", alarm=True)
    if str(found):
        err(f"Notices: {found}.")


def with_heartbeat(notices: Notices, job: str, run: Callable[[], Exit]) -> Exit:
    """Run something between two pings, if the notices file names a heartbeat for the job."""
    reference = notices.heartbeat.get(job)
    if reference is None:
        return run()
    # in another process: this one may be forked for the run, and must not hold the URL
    starting = [sys.executable, "-m", "runbook_lib.notices.heartbeat", reference]
    try:
        done = subprocess.run(starting, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        _say(done.stdout.strip())
    except (OSError, subprocess.TimeoutExpired) as error:
        _say(f"The heartbeat of {reference} was not sent: {type(error).__name__}.")
    code = Exit.UNEXPECTED
    try:
        code = run()
        return code
    except RunbookError as error:
        code = error.exit
        raise
    finally:
        from runbook_lib.notices.heartbeat import ping

        _say(ping(reference, code))


def _say(problem: str) -> None:
    if problem:
        err(f"Notices: {problem}", alarm=True)
