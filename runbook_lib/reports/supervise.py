"""Runs the child process of a run, and ends it: at the deadline, on Ctrl-C, and without processes left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import ValidationError

from runbook_lib import programs, tables
from runbook_lib.interruptions import Interruptions as Interruptions
from runbook_lib.reports.execute import Ending, ExecutionPlan

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""How long an interrupted papermill may take to stop its kernel and save the notebook."""

RUN_MARK = "RUNBOOK_RUN"
"""Environment variable that every process of a run inherits. It identifies them, orphans included."""


@dataclass(frozen=True)
class End:
    """How the child ended.

    Args:
        ending: what papermill reported; None if it was killed before it could.
        returncode: of the process, as in subprocess: negative for a signal.
        deadline: the run's deadline passed.
        interrupted: the signal that ended the run, if any.
        log: what papermill and the kernel wrote to stdout and stderr.
    """

    ending: Ending | None
    returncode: int
    deadline: bool
    interrupted: signal.Signals | None
    log: str


def supervise(
    plan: ExecutionPlan,
    *,
    run: str,
    folder: Path,
    deadline: int,
    environ: Mapping[str, str],
    keep_out: Collection[str] = (),
    interruptions: Interruptions,
) -> End:
    """Execute the plan in a child process with its own session; return when none of its processes runs any more.

    Args:
        run: the run's identifier.
        folder: private to this run, on the archive's file system.
        deadline: seconds for the whole run. At the deadline or the first signal, papermill is interrupted and saves
            the notebook; after GRACE_SECONDS or a second signal, everything is killed.
        environ: the child's environment.
        keep_out: references to secrets that the run must not have.
    """
    plan_file, log_file = folder / "plan.json", folder / "papermill.log"
    plan_file.write_text(plan.model_dump_json(), encoding="utf-8")
    # Unix socket paths have at most about 104 characters: too short for a folder below the archive
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) < 30 else "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="runbook-", dir=short) as private, log_file.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "runbook_lib.reports.execute", str(plan_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(environ, run, Path(private), folder, keep_out),
            start_new_session=True,
        )
        try:
            late, signalled = _wait(child, time.monotonic() + deadline, interruptions)
        finally:
            _end_processes(run)
            child.wait()
    try:
        ending = Ending.model_validate_json(plan.ending.read_bytes())
    except (FileNotFoundError, ValidationError):  # killed before it could write, or the disk is full
        ending = None
    text = log_file.read_text(encoding="utf-8", errors="replace")
    return End(ending, child.returncode, late, signalled, text)


def environment(
    environ: Mapping[str, str], run: str, private: Path, folder: Path, keep_out: Collection[str]
) -> dict[str, str]:
    """The environment of a run's processes: the caller's `environ`, the mark, `private` instead of the user's folders,
    and the run's `folder` for sidecar tables. Without what `keep_out` refers to: the notebook does not sign its bag.
    """
    withheld = {text.removeprefix("env:") for text in keep_out if text.startswith("env:")}
    withheld |= {programs.ARCHIVE_PASSPHRASE, "PYTHONDONTWRITEBYTECODE"}
    env = {name: value for name, value in environ.items() if name not in withheld}
    env[RUN_MARK] = run
    env[tables.FOLDER_VARIABLE] = str(folder.absolute() / tables.FOLDER)
    env["JUPYTER_RUNTIME_DIR"] = str(private / "r")
    # keeps the user's IPython start-up files and history out of the report
    env["IPYTHONDIR"] = str(private / "ipython")
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no warning about frozen modules; papermill's command line sets it too
    return env


def _wait(
    child: subprocess.Popen[bytes], until: float, interruptions: Interruptions
) -> tuple[bool, signal.Signals | None]:
    """Wait for the child; return whether the deadline passed, and the signal that ended the run."""
    while child.poll() is None:
        late = time.monotonic() >= until
        if late or interruptions.signals:
            signalled = interruptions.signals[0] if interruptions.signals else None
            _stop(child, interruptions)
            return late and signalled is None, signalled
        time.sleep(POLL_SECONDS)
    return False, None


def _stop(child: subprocess.Popen[bytes], interruptions: Interruptions) -> None:
    seen = len(interruptions.signals)
    give_up = time.monotonic() + GRACE_SECONDS
    child.send_signal(signal.SIGINT)
    while child.poll() is None and time.monotonic() < give_up and len(interruptions.signals) <= max(seen, 1):
        time.sleep(POLL_SECONDS)


def still_running(run: str) -> bool:
    """Whether a process of a run is still alive on this machine."""
    return any(_belongs(process, run) for process in psutil.process_iter())


def _end_processes(run: str) -> None:
    """Kill every process with the run's mark: papermill, the kernel, and what they started."""
    for _ in range(50):  # a process can start another meanwhile
        alive = [process for process in psutil.process_iter() if _belongs(process, run)]
        if not alive:
            return
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, timeout=2)


def _belongs(process: psutil.Process, run: str) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return process.environ().get(RUN_MARK) == run and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False
