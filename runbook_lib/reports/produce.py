"""Runs a notebook and makes the files of its bag, whatever becomes of the run. Where they go is the caller's.

read → refuse what must not run → execute → judge → correct → scan and render
"""

from __future__ import annotations

import keyword
import os
import time
import warnings
from collections.abc import Callable, Mapping
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
from runbook_lib.reports.job import Begun, Job, Produced, Source
from runbook_lib.reports.outcome import Judgement, Status, judge, refused
from runbook_lib.reports.runrecord import (
    Cells,
    Engine,
    RunRecord,
    Scan,
    SecretSource,
    Step,
    lock_sha256,
    software,
    told,
    who,
)
from runbook_lib.reports.supervise import End, Interruptions, supervise

__all__ = ["Job", "Produced", "Source", "produce"]

_LOG_ADDS_NOTHING = ("PapermillExecutionError", "CellTimeoutError", "DeadKernelError", "KeyboardInterrupt")
"""Ways papermill ends that the notebook itself tells better."""


def produce(job: Job, *, folder: Path, clock: Clock, interruptions: Interruptions | None = None) -> Produced:
    """Execute a notebook by papermill with a kernel of its own, and make the files that tell of it.

    Args:
        folder: private to this run. The kernel runs in the caller's working directory, as under plain papermill.
        clock: dates the run.
        interruptions: signals that the caller collects; at the first one the run is ended.

    Returns:
        The record and the files, for every run: also a failed, killed, interrupted or refused one.
    """
    signals, begun = interruptions or Interruptions(), Begun.now(clock)
    return tell(job, lambda plan: started(job, plan, folder, signals), folder=folder, clock=clock, begun=begun)


def started(job: Job, plan: Plan, folder: Path, interruptions: Interruptions) -> End:
    """Execute with a kernel that is started for it."""
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


def tell(
    job: Job,
    execute: Callable[[Plan], End],
    *,
    folder: Path,
    clock: Clock,
    begun: Begun,
    engine: Engine = "papermill",
) -> Produced:
    """Have a notebook executed, unless it must not be, and make the files that tell of it.

    Args:
        execute: runs what papermill is to do, and says how that ended.
        engine: what `execute` executes with, for the record.
    """
    environ = dict(os.environ if job.environ is None else job.environ)
    given = _as_json(job.parameters)
    nb, problem = _open(job.source)
    defaults = scan.default_parameters(nb)
    defaults = None if defaults is None else _as_json(defaults)
    references = scan.references_in({"given": given, "defaults": defaults, "": job.keep_out})
    scanner = scan.Scanner(references, environ)
    refusal = problem or _refusal(job.parameters, defaults)
    if refusal is not None:
        for name, value in scan.plain_secrets([defaults or {}, given], defaults or {}):
            scanner.add(f"the plain value of {name}", value)
            # too short to be searched for: it is kept out by not being told
            if len(value) < scan.MIN_LENGTH:
                nb = nbformat.v4.new_notebook()
                given = {one: told for one, told in given.items() if one not in (name, value)}
                defaults = {one: told for one, told in (defaults or {}).items() if one not in (name, value)}
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
        end = execute(plan)
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
        account=job.account,
        status=judgement.status,
        verdict=judgement.verdict,
        exit=judgement.exit,
        needs_action=judgement.needs_action,
        progress=judgement.finish.progress if judgement.finish else "",
        error=judgement.error,
        started=begun.at,
        finished=clock.now(),
        duration=round(time.monotonic() - begun.ticks, 3),
        clock=clock.source,
        fault_seed=environ.get("DIGICERT_ONE_FAULT_SEED", ""),
        engine=engine,
        notebook=job.source.file,
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
    return Produced(*artefacts.make(nb, record, judgement.steps, log, scanner, folder))


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
    plain = {name for name, _ in scan.plain_secrets([defaults or {}, given], defaults or {})}
    if scan.IN_A_NAME in plain:
        return RunbookError(
            Reason.SECRET_AS_VALUE,
            "A parameter's name is, or looks like, a secret. It is not repeated here.",
            remedy="Write the parameter's name first and the reference to the secret second: -p api_key env:NAME.",
        )
    if plain:
        names = ", ".join(f"`{name}`" for name in sorted(plain))
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
