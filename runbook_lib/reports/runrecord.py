"""run.json: what a machine reads of a run. Times are UTC, durations seconds, digests SHA-256 in hexadecimal."""

from __future__ import annotations

import getpass
import platform
import socket
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from runbook_lib.reports.outcome import CellState, Status
from runbook_lib.result import Kind, StepRecord, Verdict

SCHEMA_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Commit(_Frozen):
    """The git commit that a notebook belongs to; `dirty` if a tracked file of that work tree differs from it."""

    commit: str
    dirty: bool


class NotebookFile(_Frozen):
    """The notebook as it was before the run."""

    name: str
    sha256: str
    git: Commit | None


class Who(_Frozen):
    """Who ran it, and where."""

    user: str
    host: str


class Step(_Frozen):
    """A step as its record tells it."""

    slug: str
    title: str
    kind: Kind
    tutorial: str
    started: datetime
    finished: datetime
    verdict: Verdict
    headline: str
    needs_action: int
    error: dict[str, Any] | None
    reason: str = ""  # of the error; or why the step could not find out what it should have

    @classmethod
    def of(cls, record: StepRecord) -> Step:
        return cls(
            slug=record.step,
            title=record.title,
            kind=record.kind,
            tutorial=record.tutorial,
            started=record.started,
            finished=record.finished,
            verdict=record.verdict,
            headline=record.result.headline if record.result else (record.error or {}).get("what", ""),
            needs_action=record.result.needs_action if record.result else 0,
            error=record.error,
            reason=record.result.reason if record.result else (record.error or {}).get("reason", ""),
        )


class TableFile(_Frozen):
    """A table written as CSV. `rows` does not count the header."""

    file: str
    title: str
    rows: int
    sha256: str


class Cells(_Frozen):
    """How many code cells ended how, and the state of each, in order."""

    executed: int
    failed: int
    stopped: int  # timed out, killed or interrupted
    skipped: int
    never_ran: int
    states: tuple[CellState, ...]

    @classmethod
    def of(cls, states: tuple[CellState, ...]) -> Cells:
        return cls(
            executed=states.count(CellState.EXECUTED),
            failed=states.count(CellState.FAILED),
            stopped=sum(map(states.count, (CellState.TIMED_OUT, CellState.KILLED, CellState.INTERRUPTED))),
            skipped=states.count(CellState.SKIPPED),
            never_ran=states.count(CellState.NEVER_RAN),
            states=states,
        )


class Found(_Frozen):
    """Where a secret was found; `what` is its reference, never itself."""

    file: str
    where: str
    what: str


class Scan(_Frozen):
    """What was searched for, what could not be and why, what was found, and the files withheld for it."""

    searched: tuple[str, ...] = ()
    not_searched: dict[str, str] = {}
    patterns: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    withheld: tuple[str, ...] = ()


class RunRecord(_Frozen):
    """The whole of run.json.

    `records` tells whether the notebook states its own steps and verdict; a foreign notebook does not, and counts as
    done when every code cell was executed. `parameters` are those given; the `unknown_parameters` among them have no
    default in the notebook: one file of parameters may serve several notebooks, so it is the notebook that refuses a
    misspelt one. `duration` is measured apart from the clock, which may stand still.
    """

    schema_version: Literal[1] = 1
    run: str
    job: str
    status: Status
    verdict: Verdict | None
    exit: int
    needs_action: int
    progress: str
    error: dict[str, Any] | None
    started: datetime
    finished: datetime
    duration: float
    clock: str
    fault_seed: str  # of the sandbox's faults, where they are on: a run in training is no evidence of the real thing
    engine: Literal["papermill"] = "papermill"
    notebook: NotebookFile
    parameters: dict[str, Any]
    unknown_parameters: tuple[str, ...]
    who: Who
    software: dict[str, str]
    records: bool
    cells: Cells
    steps: tuple[Step, ...]
    next: tuple[str, ...]
    tables: tuple[TableFile, ...]
    scan: Scan


def who() -> Who:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        user = "unknown"
    return Who(user=user, host=socket.gethostname())


def software() -> dict[str, str]:
    """Versions of what made the report."""
    packages = ("digicert-one-runbooks", "papermill", "nbclient", "ipykernel", "nbconvert")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
    }


def git_commit(file: Path) -> Commit | None:
    """The commit of the work tree that a file is in; None where there is none, or no git."""
    folder = file.resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return Commit(commit=commit, dirty=bool(changes))


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
