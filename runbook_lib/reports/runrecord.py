"""run.json, the machine-readable record of a run, and its JSON Schema."""

from __future__ import annotations

import ast
import getpass
import inspect
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from runbook_lib import result
from runbook_lib.catalogue import Exit
from runbook_lib.errors import RunbookError
from runbook_lib.reports.change_note import change_note
from runbook_lib.reports.outcome import CellState, Judgement
from runbook_lib.reports.software import software
from runbook_lib.result import Kind, ParametersRecord, Seen, Status, StepRecord, Target, Verdict
from runbook_lib.secrets import SecretRef, is_reference

SCHEMA_VERSION = 1
WITHHELD = "withheld"
"""Replaces a value that contains a secret."""

Engine = Literal["papermill", "runbook"]
"""What executed the cells: a kernel started by stock papermill, or the fork engine, `papermill --engine runbook`."""
"""Fields are only added, and readers must work without the added ones: every run.json of a version fits the newest
schema of that version. To change or remove a field, start a new version."""

SCHEMA = Path(__file__).with_name("templates") / "run.schema.json"
"""The published schema; `python -m runbook_lib.reports.runrecord` prints its content."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Commit(_Frozen):
    """The git commit of a notebook; `dirty` if a tracked file in its work tree differs from the commit."""

    commit: str
    dirty: bool


class NotebookFile(_Frozen):
    """The notebook before the run."""

    name: str
    sha256: str
    git: Commit | None
    git_unknown: str = ""
    """Why the commit is unknown: git was not asked, or gave no answer. Empty if known, and outside a work tree."""


class SecretSource(_Frozen):
    """Where a secret is to come from; never the secret itself."""

    parameter: str
    """The parameter with the reference; `a.0.b` is b of the first item of the list a."""
    kind: Literal["env", "file", "keyring", "prompt"]
    reference: str

    @classmethod
    def among(cls, parameters: Mapping[str, Any]) -> tuple[SecretSource, ...]:
        """Every reference among the parameters' values, nested ones included."""
        found = ((name, SecretRef.parse(text)) for name, text in _leaves("", parameters) if is_reference(text))
        return tuple(cls(parameter=name, kind=ref.scheme, reference=str(ref)) for name, ref in found)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield name, value
    else:
        for key, inner in items:
            yield from _leaves(f"{name}.{key}" if name else str(key), inner)


class Who(_Frozen):
    """Who ran it, and where."""

    user: str
    host: str


class RunStep(_Frozen):
    """A step of the run."""

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
    reason: str = ""  # of the error; or why the step could not check what it should
    retry_after: float | None = None
    """Seconds that a server asked to wait before the next request; null if none did."""

    @classmethod
    def of(cls, record: StepRecord) -> RunStep:
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
            retry_after=record.result.retry_after if record.result else (record.error or {}).get("retry_after"),
        )


class TableFile(_Frozen):
    """A table written as CSV."""

    file: str
    title: str
    rows: int
    """Without the header."""
    sha256: str
    unchecked: int | None = None
    """How many rows are unchecked by their column `state` or `verdict`; null if not counted."""


class Click(_Frozen):
    """A press of a step's button."""

    at: datetime
    """When it was recorded, before the step began."""
    step: str
    """The slug of the step."""
    title: str
    kind: Kind
    verdict: Verdict | None
    """Null if the outcome is unknown: the session ended before the step did."""
    headline: str = ""
    asked: bool = True
    """Whether the chosen action includes the step; if not, it does nothing."""
    without_evidence: bool = False
    """The person agreed to go on although no archive could be written at that moment."""


class Cells(_Frozen):
    """How many code cells ended in which way, and the state of each, in order."""

    executed: int
    failed: int
    stopped: int  # timed out, killed or interrupted
    skipped: int
    never_ran: int
    states: tuple[CellState, ...]
    unknown: int = 0
    """It is unknown whether these ran: the executing process ended, or could not save the notebook."""

    @classmethod
    def of(cls, states: tuple[CellState, ...]) -> Cells:
        return cls(
            executed=states.count(CellState.EXECUTED),
            failed=states.count(CellState.FAILED),
            stopped=sum(map(states.count, (CellState.TIMED_OUT, CellState.KILLED, CellState.INTERRUPTED))),
            skipped=states.count(CellState.SKIPPED),
            never_ran=states.count(CellState.NEVER_RAN),
            states=states,
            unknown=states.count(CellState.UNKNOWN),
        )


class Found(_Frozen):
    """Where a secret was found; `what` is its reference, never the secret."""

    file: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.what} in {self.file}" + (f", {self.where}" if self.where else "")


class Scan(_Frozen):
    """What was searched for, what could not be searched for and why, what was found, and the withheld files."""

    searched: tuple[str, ...] = ()
    not_searched: dict[str, str] = {}
    patterns: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    withheld: tuple[str, ...] = ()


class Started(BaseModel):
    """What is known when a run starts. `at` is UTC; `sha256`, `git` and `git_unknown` are the notebook's.

    The parameters are missing: they are searched for secrets only after the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    job: str = Field(pattern="^[a-z0-9-]+$")
    at: AwareDatetime
    notebook: str
    sha256: str
    who: Who
    git: Commit | None = None
    git_unknown: str = ""
    lock_sha256: str | None = None
    fault_seed: str = ""
    mode: Literal["headless", "interactive"] = "headless"


class RunRecord(_Frozen):
    """The content of run.json. Times are UTC, durations are in seconds, digests are SHA-256 in hexadecimal.

    Unknown is null: the run was killed, or the notebook does not report it.
    """

    schema_version: Literal[1] = 1
    run: str
    """A UUID, as in bag-info.txt."""
    job: str
    account: str = ""
    """The account in the fleet file for which a batch ran it; empty outside a batch."""
    status: Status
    verdict: Verdict | None
    """The notebook's verdict; null if it ended well and states none."""
    exit: int
    """Exit code of `runbook run`, before `--fail-on` and `--exit-detail`."""
    needs_action: int
    """How many certificates need action."""
    progress: str
    """How far this run brought a procedure of many runs; empty for other procedures."""
    error: dict[str, Any] | None
    """What went wrong: reason, title, what happened, what it means, remedy; null if the status is done."""
    started: datetime
    finished: datetime
    duration: float
    """Seconds, measured by a monotonic clock: `clock` can stand still or be set."""
    clock: str
    """Where the time comes from."""
    fault_seed: str
    """Seed of the sandbox's faults, if they are on: a training run is no evidence."""
    engine: Engine | None = "papermill"
    """Null for a run that was killed, and for a clicked session."""
    mode: Literal["headless", "interactive"] = "headless"
    """Interactive if a person pressed the buttons. Then `steps` has each press that ended, in order of time."""
    clicks: tuple[Click, ...] = ()
    """Each press of a step's button in a clicked session."""
    notebook: NotebookFile
    parameters: dict[str, Any]
    """The given parameters. A secret is a reference."""
    unknown_parameters: tuple[str, ...]
    """Given parameters without a default in the notebook. One parameter file can serve several notebooks, so the
    notebook itself refuses a misspelt name."""
    defaults: dict[str, Any] | None = None
    """The notebook's values of the parameters that were not given; null for a value that is not a literal. Null as a
    whole if the notebook takes no parameters or could not be read."""
    ticket: str | None = None
    """The ticket that the run's changes belong to; empty if none was given. Null if the notebook takes none or the run
    was killed. A batch lists those of its accounts."""
    change_reason: str | None = None
    """Why the change is made; empty and null as for `ticket`."""
    approved_by: str | None = None
    """Who approved the change; empty and null as for `ticket`."""
    secrets: tuple[SecretSource, ...] | None = None
    """Where the secrets among the parameters are to come from."""
    target: Target | None = None
    """The DigiCert ONE that the parameters name; null if the notebook named none or did not get that far."""
    seen: Seen | None = None
    """Whom and what all steps talked to; null if the notebook does not report it."""
    who: Who
    software: dict[str, str]
    """Versions of what made the report."""
    lock_sha256: str | None = None
    """SHA-256 of requirements.lock, from which the software was installed; null if it could not be read."""
    records: bool
    """Whether the notebook reports its steps and verdict. A notebook that does not is done when every code cell was
    executed."""
    cells: Cells
    steps: tuple[RunStep, ...]
    next: tuple[str, ...]
    """What to do now, one sentence each."""
    tables: tuple[TableFile, ...]
    scan: Scan
    notices: str = ""
    """Which messages of earlier runs had not been sent when this one began; empty if none waited."""
    mended: tuple[str, ...] = ()
    """What was repaired in the notebook for this run, since its format requires it. The digest is of the unrepaired
    file."""
    not_drawn: dict[str, str] = {}
    """What the report does not show, and why. The record, the tables and the notebook do not depend on it."""

    @classmethod
    def of(
        cls, started: Started, *, status: Status, error: RunbookError | dict[str, Any] | None, **known: Any
    ) -> RunRecord:
        """The record of a run: what was known at its start, how it ended, and what else is known."""
        error = error.as_dict() if isinstance(error, RunbookError) else error
        unless_known: dict[str, Any] = {
            "verdict": Verdict.FAILED,
            "exit": error["exit"] if error else Exit.DONE,
            "needs_action": 0,
            "progress": "",
            "duration": 0.0,
            "parameters": {},
            "unknown_parameters": (),
            "software": software(),
            "records": False,
            "cells": Cells.of(()),
            "steps": (),
            "next": (),
            "tables": (),
            "scan": Scan(),
        }
        note = change_note({**(known.get("defaults") or {}), **known.get("parameters", {})})
        at_start = {
            "run": started.run,
            "job": started.job,
            "started": started.at,
            "fault_seed": started.fault_seed,
            "notebook": NotebookFile(
                name=started.notebook, sha256=started.sha256, git=started.git, git_unknown=started.git_unknown
            ),
            "who": started.who,
            "lock_sha256": started.lock_sha256,
            "mode": started.mode,
        }
        return cls(**{**unless_known, **at_start, **note, "status": status, "error": error, **known})


def json_schema() -> str:
    """The JSON Schema (2020-12) of run.json, as text. A test compares SCHEMA with it."""
    made = RunRecord.model_json_schema()
    for name, model in {"RunRecord": made, **made["$defs"]}.items():
        for field, described in model.get("properties", {}).items():
            if text := _docstrings().get((name, field)):
                model["properties"][field] = dict(sorted({**described, "description": text}.items()))
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:digicert-one-runbooks:run:{SCHEMA_VERSION}",
    }
    return json.dumps(head | made, indent=1, ensure_ascii=False) + "\n"


@cache
def _docstrings() -> dict[tuple[str, str], str]:
    """The docstrings below the models' fields; pydantic's `use_attribute_docstrings` reads them at every import."""
    found = {}
    for file in (Path(__file__), Path(result.__file__)):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for model in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            for field, below in pairwise(model.body):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[model.name, name] = inspect.cleandoc(text)
    return found


def target_and_seen(judgement: Judgement) -> dict[str, Any]:
    """The fields `target` and `seen`, from the notebook's records."""
    named = (record.target for record in reversed(judgement.records) if isinstance(record, ParametersRecord))
    steps = judgement.steps
    return {"target": next(named, None), "seen": Seen.together(step.seen for step in steps) if steps else None}


def who() -> Who:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # some containers have a user id without a name
        user = "unknown"
    user = os.environ.get("JUPYTERHUB_USER") or user  # all users of a hub may share one user of the system
    return Who(user=user, host=socket.gethostname())


if __name__ == "__main__":
    sys.stdout.write(json_schema())
