"""Runs a notebook and makes the files of its bag, whatever becomes of the run. Where they go is the caller's.

read → refuse what must not run → execute → judge → correct → scan and render
"""

from __future__ import annotations

import hashlib
import keyword
import os
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import nbformat
from nbformat import NotebookNode
from pydantic_core import to_jsonable_python

from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock
from runbook_lib.errors import RunbookError
from runbook_lib.reports import annotate, artefacts, scan
from runbook_lib.reports.execute import Plan
from runbook_lib.reports.outcome import Judgement, Status, judge, refused
from runbook_lib.reports.runrecord import (
    Cells,
    Commit,
    NotebookFile,
    RunRecord,
    Scan,
    SecretSource,
    Step,
    git_commit,
    lock_sha256,
    software,
    told,
    who,
)
from runbook_lib.reports.supervise import End, Interruptions, supervise

_LOG_ADDS_NOTHING = ("PapermillExecutionError", "CellTimeoutError", "DeadKernelError", "KeyboardInterrupt")
"""Ways papermill ends that the notebook itself tells better."""


@dataclass(frozen=True)
class Source:
    """A notebook file as it was read: many runs may use one.

    Args:
        name: the file's name.
        content: its bytes, not yet looked into.
        git: the commit it belonged to at that moment.
    """

    name: str
    content: bytes = field(repr=False)
    git: Commit | None

    @classmethod
    def read(cls, path: Path) -> Source:
        """Raises RunbookError: UNKNOWN_NOTEBOOK."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RunbookError(Reason.UNKNOWN_NOTEBOOK, f"{path} cannot be read: {error.strerror}.") from None
        return cls(path.name, content, git_commit(path))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Job:
    """What is to run.

    Args:
        source: the notebook.
        name: of the job, as run.json gives it.
        parameters: for the cell tagged `parameters`; JSON-like values, secrets only as references.
        cell_timeout: seconds for one cell.
        deadline: seconds for the whole run.
        environ: the environment of the run, in place of this process's. `env:` references are resolved in it.
        keep_out: further references, whose secrets must not be archived: the signer's passphrase.
        run: the run's identifier, a UUID.
    """

    source: Source
    name: str
    parameters: Mapping[str, Any]
    cell_timeout: int = 600
    deadline: int = 3600
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    keep_out: tuple[str, ...] = ()
    run: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True)
class Produced:
    """What a run leaves, searched for secrets: its record, and the files below `data/` of its bag by name."""

    record: RunRecord
    files: dict[str, bytes] = field(repr=False)


def produce(job: Job, *, folder: Path, clock: Clock, interruptions: Interruptions | None = None) -> Produced:
    """Execute a notebook in a process of its own and make the files that tell of it.

    Args:
        folder: private to this run. The kernel runs in the caller's working directory, as under plain papermill.
        clock: dates the run.
        interruptions: signals that the caller collects; at the first one the run is ended.

    Returns:
        The record and the files, for every run: also a failed, killed, interrupted or refused one.
    """
    environ = dict(os.environ if job.environ is None else job.environ)
    given = _as_json(job.parameters)
    started, ticks = clock.now(), time.monotonic()
    nb, problem = _open(job.source)
    defaults = scan.default_parameters(nb)
    defaults = None if defaults is None else _as_json(defaults)
    references = scan.references_in({"given": given, "defaults": defaults, "": job.keep_out})
    scanner = scan.Scanner(references, environ)
    refusal = problem or _refusal(job.parameters, defaults)
    if refusal is not None:
        for name, value in scan.plain_secrets([defaults or {}, given]):
            scanner.add(f"the plain value of {name}", value)
        log = ""
        judgement = refused(refusal, nb)
    else:
        plan = Plan(
            notebook=folder / "in.ipynb",
            output=folder / "out.ipynb",
            parameters=given,
            cell_timeout=job.cell_timeout,
            ending=folder / "ending.json",
        )
        plan.notebook.write_bytes(job.source.content)
        end = supervise(
            plan,
            run=job.run,
            folder=folder,
            deadline=job.deadline,
            environ=environ,
            interruptions=interruptions or Interruptions(),
        )
        # as papermill left it, or as it was where papermill never came to save one
        nb = _read(plan.output.read_bytes()) if plan.output.exists() else nb
        annotate.drop_papermill_markers(nb)
        judgement = judge(nb, end, cell_timeout=job.cell_timeout, deadline=job.deadline)
        log = _useful_log(judgement, end)
        scanner.look_up()  # a secret that the run itself wrote exists only now
    annotate.correct(nb, judgement, run=job.run, notebook=job.source.name)
    record = RunRecord(
        run=job.run,
        job=job.name,
        status=judgement.status,
        verdict=judgement.verdict,
        exit=judgement.exit,
        needs_action=judgement.needs_action,
        progress=judgement.finish.progress if judgement.finish else "",
        error=judgement.error,
        started=started,
        finished=clock.now(),
        duration=round(time.monotonic() - ticks, 3),
        clock=clock.source,
        fault_seed=environ.get("DIGICERT_ONE_FAULT_SEED", ""),
        notebook=NotebookFile(name=job.source.name, sha256=job.source.sha256, git=job.source.git),
        parameters=given,
        unknown_parameters=tuple(sorted(set(given) - set(defaults or {}))),
        defaults=None if defaults is None else {name: one for name, one in defaults.items() if name not in given},
        secrets=SecretSource.among({**(defaults or {}), **given}),
        **told(judgement),
        who=who(),
        software=software(),
        lock_sha256=lock_sha256(),
        records=bool(judgement.records),
        cells=Cells.of(judgement.cells),
        steps=tuple(map(Step.of, judgement.steps)),
        next=judgement.finish.next if judgement.finish else (),
        tables=(),
        scan=Scan(),
    )
    return Produced(*artefacts.make(nb, record, judgement.steps, log, scanner))


def _open(source: Source) -> tuple[NotebookNode, RunbookError | None]:
    """The notebook, without what an earlier execution left; or an empty one and what kept it from being read."""
    try:
        nb = _read(source.content)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        problem = RunbookError(
            Reason.UNREADABLE_FILE,
            f"{source.name} is no notebook: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}",
            remedy="Restore the notebook: `git status` and `git restore` if it is one of this project's.",
        )
        return nbformat.v4.new_notebook(), problem
    annotate.clear(nb)
    return nb, None


def _read(content: bytes) -> NotebookNode:
    with warnings.catch_warnings():
        # older notebooks have no cell ids: nbformat gives them some, and says so each time
        warnings.simplefilter("ignore", nbformat.warnings.MissingIDFieldWarning)
        nb: NotebookNode = nbformat.reads(content.decode("utf-8"), as_version=4)
    nbformat.validate(nb)
    return nb


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON can hold them; what has no form there becomes text."""
    plain: dict[str, Any] = to_jsonable_python(dict(values), fallback=str, bytes_mode="base64")
    return cast("dict[str, Any]", _printable(plain))


def _printable(value: Any) -> Any:
    # a word on the command line may be bytes that are no UTF-8; Python holds them as halves of surrogate pairs
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(name): _printable(one) for name, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, list) else value


def _refusal(given: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> RunbookError | None:
    """Why a notebook must not run with these parameters."""
    plain = sorted({name for name, _ in scan.plain_secrets([defaults or {}, given])})
    if plain:
        names = ", ".join(f"`{name}`" for name in plain)
        return RunbookError(Reason.SECRET_AS_VALUE, f"A plain value stands where a reference is due: {names}.")
    # papermill writes a name into the notebook as code, whatever it is
    odd = [name for name in given if not name.isidentifier() or keyword.iskeyword(name)]
    if odd:
        return RunbookError(Reason.BAD_PARAMETER, f"{', '.join(map(repr, odd))} cannot be a parameter's name.")
    unreadable = [name for name, value in given.items() if _printable([value]) != [value]]
    if unreadable:
        return RunbookError(Reason.BAD_PARAMETER, f"{', '.join(map(repr, unreadable))} holds text that is no UTF-8.")
    if given and defaults is None:
        return RunbookError(
            Reason.UNKNOWN_PARAMETER,
            "The notebook has no cell tagged `parameters`, so it takes none.",
            remedy="Tag the cell with the defaults `parameters`, or run it without parameters.",
        )
    return None


def _useful_log(judgement: Judgement, end: End) -> str:
    known = end.ending is not None and end.ending.exception in _LOG_ADDS_NOTHING
    return "" if judgement.status is Status.DONE or known else end.log.strip()
