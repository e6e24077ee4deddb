"""Runs a notebook headlessly and archives it, whatever becomes of it.

load → refuse what must not run → execute → judge → correct → scan and render → bag → seal into the chain
"""

from __future__ import annotations

import keyword
import os
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from pydantic_core import to_jsonable_python

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import Clock
from runbook_lib.errors import RunbookError
from runbook_lib.reports import annotate, artefacts, bag, scan, signing
from runbook_lib.reports.execute import Plan
from runbook_lib.reports.outcome import Judgement, RunOutcome, Status, judge, refused
from runbook_lib.reports.runrecord import Cells, NotebookFile, RunRecord, Scan, Step, git_commit, software, who
from runbook_lib.reports.supervise import End, Interruptions, supervise

__all__ = ["RunOutcome", "Status", "run_notebook"]

_LOG_ADDS_NOTHING = ("PapermillExecutionError", "CellTimeoutError", "DeadKernelError", "KeyboardInterrupt")
"""Ways papermill ends that the notebook itself tells better."""


def run_notebook(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    job: str,
    archive: Path,
    clock: Clock,
    cell_timeout: int = 600,
    deadline: int = 3600,
    environ: Mapping[str, str] | None = None,
) -> RunOutcome:
    """Execute a notebook in a process of its own and put a bag of what happened into the archive.

    Args:
        notebook: the .ipynb file. Its kernel runs in the caller's working directory, as under plain papermill.
        parameters: for the cell tagged `parameters`; JSON-like values, secrets only as references.
        job: names the bag: lower-case letters, digits and dashes.
        archive: the archive's root; made where it is missing.
        clock: names and dates the bag.
        cell_timeout: seconds for one cell.
        deadline: seconds for the whole run.
        environ: the environment of the run, in place of this process's. `env:` references are resolved in it.

    Returns:
        The outcome, for every run that is in the archive: also a failed, killed, interrupted or refused one.

    Raises:
        RunbookError: BAD_PARAMETER for a `job` that is no name; UNKNOWN_NOTEBOOK; ARCHIVE_FAILED or DISK_FULL where
            the archive cannot be written, if possible before anything runs.
    """
    if not bag.JOB.fullmatch(job):
        raise RunbookError(Reason.BAD_PARAMETER, f"{job!r} names no job: use lower-case letters, digits and dashes.")
    environ = dict(os.environ if environ is None else environ)
    given: dict[str, Any] = to_jsonable_python(dict(parameters), fallback=str)
    source = _load(notebook)
    run, started, ticks = str(uuid.uuid4()), clock.now(), time.monotonic()
    digest = bag.sha256(source.content)
    told = bag.Started(run=run, job=job, at=started, notebook=source.name, sha256=digest, who=who())
    with Interruptions().collected() as interruptions, bag.staging(archive, told) as folder:
        defaults = scan.default_parameters(source.nb)
        references = scan.references_in({"given": given, "defaults": defaults, "": signing.references(archive)})
        scanner = scan.Scanner(references, environ)
        refusal = source.problem or _refusal(given, defaults)
        if refusal is not None:
            for name, value in scan.plain_secrets([defaults or {}, given]):
                scanner.add(f"the plain value of {name}", value)
            nb, log = source.nb, ""
            judgement = refused(refusal, nb)
        else:
            plan = Plan(
                notebook=folder / "in.ipynb",
                output=folder / "out.ipynb",
                parameters=given,
                cell_timeout=cell_timeout,
                ending=folder / "ending.json",
            )
            with bag.archive_errors(archive):
                plan.notebook.write_bytes(source.content)
                end = supervise(
                    plan, run=run, folder=folder, deadline=deadline, environ=environ, interruptions=interruptions
                )
            nb = _executed(plan.output, source)
            judgement = judge(nb, end, cell_timeout=cell_timeout, deadline=deadline)
            log = _useful_log(judgement, end)
            scanner.look_up()  # a secret that the run itself wrote exists only now
        annotate.correct(nb, judgement, run=run, notebook=source.name)
        record = RunRecord(
            run=run,
            job=job,
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
            notebook=NotebookFile(name=source.name, sha256=digest, git=git_commit(notebook)),
            parameters=given,
            unknown_parameters=tuple(sorted(set(given) - set(defaults or {}))),
            who=told.who,
            software=software(),
            records=bool(judgement.records),
            cells=Cells.of(judgement.cells),
            steps=tuple(map(Step.of, judgement.steps)),
            next=judgement.finish.next if judgement.finish else (),
            tables=(),
            scan=Scan(),
        )
        record, files = artefacts.make(nb, record, judgement.steps, log, scanner)
        produced = 1 if record.status is Status.DONE else 0
        work = bag.Work(job, started, record.status.value, expected=1, produced=produced)
        place = bag.put(archive, folder, work, run=run, files=files, environ=environ)
    return RunOutcome(
        status=record.status,
        # a run that is done and whose evidence is not signed is not the success that was asked for
        exit=Exit(record.exit) or (place.unsigned.exit if place.unsigned else Exit.DONE),
        bag=place.folder,
        error=record.error,
        verdict=record.verdict,
        needs_action=record.needs_action,
        progress=record.progress,
        unsigned=place.unsigned.as_dict() if place.unsigned else None,
    )


@dataclass(frozen=True)
class _Source:
    """The notebook as it was given. `nb` is an empty notebook where `problem` kept it from being read."""

    name: str
    content: bytes
    nb: NotebookNode
    problem: RunbookError | None


def _load(path: Path) -> _Source:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunbookError(Reason.UNKNOWN_NOTEBOOK, f"{path} cannot be read: {error.strerror}.") from None
    try:
        nb = _read(content)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        problem = RunbookError(
            Reason.UNREADABLE_FILE,
            f"{path.name} is no notebook: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}",
            remedy="Restore the notebook: `git status` and `git restore` if it is one of this project's.",
        )
        return _Source(path.name, content, nbformat.v4.new_notebook(), problem)
    annotate.clear(nb)
    return _Source(path.name, content, nb, None)


def _read(content: bytes) -> NotebookNode:
    with warnings.catch_warnings():
        # older notebooks have no cell ids: nbformat gives them some, and says so each time
        warnings.simplefilter("ignore", nbformat.warnings.MissingIDFieldWarning)
        nb: NotebookNode = nbformat.reads(content.decode("utf-8"), as_version=4)
    nbformat.validate(nb)
    return nb


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
    if given and defaults is None:
        return RunbookError(
            Reason.UNKNOWN_PARAMETER,
            "The notebook has no cell tagged `parameters`, so it takes none.",
            remedy="Tag the cell with the defaults `parameters`, or run it without parameters.",
        )
    return None


def _executed(output: Path, source: _Source) -> NotebookNode:
    """The notebook as papermill left it, or as it was where papermill never came to save one."""
    nb = _read(output.read_bytes()) if output.exists() else source.nb
    annotate.drop_papermill_markers(nb)
    return nb


def _useful_log(judgement: Judgement, end: End) -> str:
    known = end.ending is not None and end.ending.exception in _LOG_ADDS_NOTHING
    return "" if judgement.status is Status.DONE or known else end.log.strip()
