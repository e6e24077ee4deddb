"""Runs a notebook and makes the files of its bag, however the run ends. The caller stores them.

`execute_and_record`: open → refuse → execute → judge → record, a function each.
"""

from __future__ import annotations

import keyword
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import nbformat
from nbformat import NotebookNode
from pydantic_core import to_jsonable_python

from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock
from runbook_lib.errors import RunbookError
from runbook_lib.looks import MIN_LENGTH
from runbook_lib.reports import annotate, artefacts, bare, notebook_reader, scan
from runbook_lib.reports.execute import ExecutionPlan
from runbook_lib.reports.job import Job, Produced, RunStart, Source
from runbook_lib.reports.outcome import Judgement, judge, judge_refusal
from runbook_lib.reports.runrecord import Cells, Click, Engine, RunRecord, RunStep, SecretSource, target_and_seen
from runbook_lib.reports.supervise import End, Interruptions, supervise
from runbook_lib.result import Status

__all__ = ["Job", "Produced", "Source", "produce"]

_LOG_ADDS_NOTHING = ("PapermillExecutionError", "CellTimeoutError", "DeadKernelError", "KeyboardInterrupt")
"""After these exceptions the notebook says more than papermill's log."""


def produce(job: Job, *, folder: Path, clock: Clock, interruptions: Interruptions | None = None) -> Produced:
    """Execute a notebook with papermill and a new kernel, and make the record and the files.

    Args:
        folder: private to this run. The kernel runs in the caller's working directory, as with plain papermill.
        clock: dates the run.
        interruptions: signals that the caller collects; the first one ends the run.

    Returns:
        The record and the files, even for a failed, killed, interrupted or refused run.
    """
    signals, begun = interruptions or Interruptions(), RunStart.now(clock)
    return execute_and_record(
        job, lambda plan: execute_supervised(job, plan, folder, signals), folder=folder, clock=clock, begun=begun
    )


def execute_supervised(job: Job, plan: ExecutionPlan, folder: Path, interruptions: Interruptions) -> End:
    """Execute the plan with a new kernel."""
    environ = os.environ if job.environ is None else job.environ
    return supervise(
        plan,
        run=job.run,
        folder=folder,
        deadline=job.deadline,
        environ=environ,
        keep_out=job.keep_out,
        interruptions=interruptions,
    )


def execute_and_record(
    job: Job,
    execute: Callable[[ExecutionPlan], End],
    *,
    folder: Path,
    clock: Clock,
    begun: RunStart,
    engine: Engine = "papermill",
) -> Produced:
    """Execute a notebook unless it is refused, and make the record and the files.

    Args:
        execute: executes the plan, and returns how that ended.
        engine: the engine of `execute`, for the record.

    Raises:
        What `execute` raises. Every other failure goes into the record: a notebook is never executed twice.
    """
    end: End | None = None
    executed = False
    try:
        opened = open_job(job)
        refusal = opened.problem or _refusal(opened)
    except Exception as error:  # noqa: BLE001
        return _unexpected(job, error, begun, clock, executed=False)
    if refusal is None:
        end, executed = execute(_plan(opened, folder)), True
    try:
        opened = opened if refusal is None else _without_secrets(opened)
        judged = _judge(opened, refusal, end, folder)
        return make_record(opened, judged, folder=folder, clock=clock, begun=begun, engine=engine)
    except Exception as error:  # noqa: BLE001
        return _unexpected(job, error, begun, clock, executed=executed, engine=engine)


@dataclass(frozen=True)
class Opened:
    """The run as prepared.

    Args:
        nb: the notebook without outputs; empty if it cannot be read.
        problem: why it cannot be read.
        mended: what was repaired in it.
        given: the parameters as JSON values.
        defaults: the notebook's own values; None if it takes no parameters.
        earlier: parameters that an earlier papermill run wrote into it; they apply again if none are given.
        scanner: searches for what must not be archived.
    """

    job: Job
    nb: NotebookNode
    problem: RunbookError | None
    mended: tuple[str, ...]
    given: dict[str, Any]
    defaults: dict[str, Any] | None
    earlier: dict[str, Any]
    scanner: scan.Scanner


@dataclass(frozen=True)
class Judged:
    """The run as it ended: the notebook as archived, and papermill's log if it adds anything."""

    nb: NotebookNode
    judgement: Judgement
    log: str


@dataclass(frozen=True)
class Clicks:
    """What a person pressed, and what else the bag then holds."""

    made: tuple[Click, ...]
    artefacts: artefacts.More


def open_job(job: Job) -> Opened:
    """Read the notebook and the parameters, and resolve the secrets that must not be archived."""
    problem, mended = None, tuple[str, ...]()
    try:
        nb, mended = notebook_reader.read_notebook(job.source.content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, nbformat.ValidationError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        problem = RunbookError(
            Reason.UNREADABLE_FILE,
            f"{job.source.name} is not a notebook: {why}",
            remedy="Restore the notebook, with `git restore` if it belongs to this project.",
        )
        nb = nbformat.v4.new_notebook()
    annotate.clear(nb)
    given, defaults = _as_json(job.parameters), scan.default_parameters(nb)
    defaults = None if defaults is None else _as_json(defaults)
    earlier = _as_json(scan.assigned(nb, "injected-parameters") or {})
    references = scan.references_in({"given": given, "defaults": [defaults, earlier], "": job.keep_out})
    environ = dict(os.environ if job.environ is None else job.environ)
    return Opened(job, nb, problem, mended, given, defaults, earlier, scan.Scanner(references, environ))


def _plan(opened: Opened, folder: Path) -> ExecutionPlan:
    """Write the notebook into the run's folder, and make papermill's plan."""
    plan = ExecutionPlan(
        notebook=folder / "in.ipynb",
        output=folder / "out.ipynb",
        parameters=opened.given,
        cell_timeout=opened.job.cell_timeout,
        ending=folder / "ending.json",
    )
    repaired = nbformat.writes(opened.nb).encode("utf-8", "surrogatepass") if opened.mended else None
    plan.notebook.write_bytes(repaired or opened.job.source.content)
    return plan


def _without_secrets(opened: Opened) -> Opened:
    """A refused notebook without the plain secrets for which it was refused."""
    nb, given, defaults = opened.nb, opened.given, opened.defaults
    for name, value in scan.plain_secrets([defaults or {}, opened.earlier, given], defaults or {}):
        opened.scanner.add(f"the plain value of {name}", value)
        # too short to be searched for, so the parameter is left out
        if len(value) < MIN_LENGTH:
            nb = nbformat.v4.new_notebook()
            given = {key: item for key, item in given.items() if key not in (name, value)}
            defaults = {key: item for key, item in (defaults or {}).items() if key not in (name, value)}
    return replace(opened, nb=nb, given=given, defaults=defaults)


def _judge(opened: Opened, refusal: RunbookError | None, end: End | None, folder: Path) -> Judged:
    """Judge the run, and annotate the notebook."""
    job, nb, log = opened.job, opened.nb, ""
    if end is None:
        assert refusal is not None  # noqa: S101 - otherwise it was executed
        judgement = judge_refusal(refusal, nb)
    else:
        output = folder / "out.ipynb"
        # as papermill saved it, or unchanged if papermill never saved it
        nb = notebook_reader.read_notebook(output.read_bytes(), executed=True)[0] if output.exists() else nb
        annotate.drop_papermill_markers(nb)
        judgement = judge(nb, end, cell_timeout=job.cell_timeout, deadline=job.deadline)
        log = _useful_log(judgement, end)
        opened.scanner.look_up()  # the run may have written a secret
    annotate.correct(nb, judgement, run=job.run, notebook=job.source.name)
    return Judged(nb, judgement, log)


def make_record(
    opened: Opened,
    judged: Judged,
    *,
    folder: Path,
    clock: Clock,
    begun: RunStart,
    engine: Engine | None,
    clicks: Clicks | None = None,
) -> Produced:
    """Make run.json, the report and the tables.

    Args:
        clicks: what was pressed, if a person ran the notebook.
    """
    job, given, defaults, judgement = opened.job, opened.given, opened.defaults, judged.judgement
    record = RunRecord.of(
        job.started(begun.at),
        account=job.account,
        status=judgement.status,
        verdict=judgement.verdict,
        exit=judgement.exit,
        needs_action=judgement.needs_action,
        progress=judgement.finish.progress if judgement.finish else "",
        error=judgement.error,
        finished=clock.now(),
        duration=round(time.monotonic() - begun.ticks, 3),
        clock=clock.source,
        engine=engine,
        parameters=given,
        unknown_parameters=tuple(sorted(set(given) - set(defaults or {}))),
        defaults=None if defaults is None else {name: item for name, item in defaults.items() if name not in given},
        secrets=SecretSource.among({**(defaults or {}), **given}),
        **target_and_seen(judgement),
        records=bool(judgement.records),
        cells=Cells.of(judgement.cells),
        steps=tuple(map(RunStep.of, judgement.steps)),
        next=judgement.finish.next if judgement.finish else (),
        notices=opened.job.notices,
        mended=opened.mended,
    )
    if clicks is not None:
        record = record.model_copy(update={"clicks": clicks.made})
    more = clicks.artefacts if clicks is not None else artefacts.More()
    return Produced(
        *artefacts.make_artefacts(judged.nb, record, judgement.steps, judged.log, opened.scanner, folder, more)
    )


def _unexpected(
    job: Job, error: Exception, begun: RunStart, clock: Clock, *, executed: bool, engine: Engine | None = None
) -> Produced:
    return bare.failed_unexpectedly(
        job, error, started=begun.at, finished=clock.now(), clock=clock.source, executed=executed, engine=engine
    )


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON; a value that JSON cannot express becomes text."""
    plain: dict[str, Any] = to_jsonable_python(dict(values), fallback=str, bytes_mode="base64")
    return cast("dict[str, Any]", _printable(plain))


def _printable(value: Any) -> Any:
    # bytes on the command line that are not UTF-8 are halves of surrogate pairs in Python
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(name): _printable(item) for name, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _refusal(opened: Opened) -> RunbookError | None:
    """Why a notebook must not run with these parameters."""
    given, defaults = opened.job.parameters, opened.defaults
    plain = {name for name, _ in scan.plain_secrets([defaults or {}, opened.earlier, given], defaults or {})}
    if scan.IN_A_NAME in plain:
        return RunbookError(
            Reason.SECRET_AS_VALUE,
            "A parameter's name is, or looks like, a secret. It is not shown here.",
            remedy="Give the parameter's name first, then where the secret is: -p api_key env:NAME.",
        )
    if plain:
        names = ", ".join(f"`{name}`" for name in sorted(plain))
        return RunbookError(Reason.SECRET_AS_VALUE, f"A plain value instead of a reference to a secret: {names}.")
    # papermill writes any name into the notebook as code
    bad = [name for name in given if not name.isidentifier() or keyword.iskeyword(name)]
    if bad:
        return RunbookError(Reason.BAD_PARAMETER, f"{', '.join(map(repr, bad))} cannot be a parameter's name.")
    unreadable = [name for name, value in given.items() if _printable([value]) != [value]]
    if unreadable:
        return RunbookError(Reason.BAD_PARAMETER, f"Not UTF-8 text: the value of {', '.join(map(repr, unreadable))}.")
    if given and defaults is None:
        return RunbookError(
            Reason.UNKNOWN_PARAMETER,
            "The notebook takes no parameters: no cell is tagged `parameters`.",
            remedy="Run it without parameters, or add the tag `parameters` to the cell with the defaults.",
        )
    if opened.job.refuse is not None and defaults is not None:
        environ = os.environ if opened.job.environ is None else opened.job.environ
        injected = opened.given or opened.earlier
        # one file serves several notebooks: what this one does not take says nothing about it
        return opened.job.refuse({name: injected.get(name, value) for name, value in defaults.items()}, environ)
    return None


def _useful_log(judgement: Judgement, end: End) -> str:
    known = end.ending is not None and end.ending.exception in _LOG_ADDS_NOTHING
    return "" if judgement.status is Status.DONE or known else end.log.strip()
