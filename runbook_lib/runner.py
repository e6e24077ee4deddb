"""Runs a notebook headlessly and archives it, however it ends.

read → stage → produce → bag → seal into the chain
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from runbook_lib import given
from runbook_lib.archive import bag, signing
from runbook_lib.archive.expectation import ticket_refusal
from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock
from runbook_lib.engine.kernels import Kernels
from runbook_lib.errors import RunbookError
from runbook_lib.job_server import JobServer
from runbook_lib.reports import bare
from runbook_lib.reports.job import Job, Produced, Source
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.reports.runrecord import Engine
from runbook_lib.reports.scan import references_in, refuse_names
from runbook_lib.reports.supervise import Interruptions
from runbook_lib.result import Status

__all__ = ["RunOutcome", "Status", "run_notebook"]

_LOG = logging.getLogger(__name__)

SEAL_SECONDS = 10.0
"""How long a finished run waits at least for another writer, however little of its deadline is left."""


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
    engine: Engine | None = None,
    kernels: Kernels | None = None,
    notices: str = "",
) -> RunOutcome:
    """Execute a notebook in a separate process and archive a bag of what happened.

    Args:
        notebook: the .ipynb file. Its kernel runs in the caller's working directory, as under plain papermill.
        parameters: for the cell tagged `parameters`; JSON-like values, secrets only as references.
        job: names the bag: lower-case letters, digits and dashes.
        archive: the archive's root; created if missing.
        clock: names and dates the bag.
        cell_timeout: seconds for one cell.
        deadline: seconds for the whole run.
        environ: the environment of the run, in place of this process's. `env:` references are resolved in it.
        engine: "papermill" to start a kernel for the run; by default what suits the notebook.
        kernels: a server to fork kernels from. The run is then executed in a fork of this process, which must have a
            single thread.
        notices: messages of earlier runs that wait, for the report.

    Returns:
        The outcome of every archived run, including a failed, killed, interrupted or refused one.

    Raises:
        RunbookError: BAD_PARAMETER for an invalid `job`; UNKNOWN_NOTEBOOK; ARCHIVE_FAILED or DISK_FULL if the archive
            cannot be written, if possible before anything runs; BUSY if another writer holds the archive until the
            deadline or until a signal.
    """
    if not bag.JOB.fullmatch(job):
        raise RunbookError(
            Reason.BAD_PARAMETER, f"{job!r} is not a job's name: use lower-case letters, digits and dashes."
        )
    # a notebook that reads the archive reads the one that its run goes into
    environ = {**(os.environ if environ is None else environ), given.ARCHIVE_VARIABLE: str(archive.absolute())}
    until = time.monotonic() + deadline
    todo = Job(
        source=Source.read(notebook),
        name=job,
        parameters=parameters,
        cell_timeout=cell_timeout,
        deadline=deadline,
        environ=environ,
        keep_out=signing.references(archive),
        engine=engine,
        notices=notices,
        refuse=partial(ticket_refusal, archive.absolute()),
    )
    refuse_names((job, notebook.name), references_in(parameters), environ)
    begun = todo.started(clock.now())
    _LOG.info("Run %s of the job %s begins: %s, SHA-256 %s", todo.run, job, notebook.name, todo.source.sha256)
    with Interruptions().collected() as interruptions, bag.staging(archive, begun, wait=deadline) as folder:
        with bag.archive_errors(archive):
            try:
                produced = _produced(todo, folder, clock, interruptions, kernels)
            except OSError:
                raise
            except Exception as error:  # it is archived
                if isinstance(error, RunbookError) and error.reason not in (Reason.UNEXPECTED, Reason.ENGINE_FAILED):
                    raise
                now = clock.now()
                produced = bare.failed_unexpectedly(
                    todo, error, started=begun.at, finished=now, clock=clock.source, executed=False
                )
        record = produced.record
        _LOG.info("Run %s is %s after %.1f s; %d files", todo.run, record.status, record.duration, len(produced.files))
        wait = max(until - time.monotonic(), SEAL_SECONDS)
        place = bag.put(
            archive, folder, bag.summary_of(record), run=todo.run, files=produced.files, environ=environ, wait=wait
        )
    return RunOutcome.of(record, place.folder, unsigned=place.unsigned, unstamped=place.unstamped)


def _produced(job: Job, folder: Path, clock: Clock, interruptions: Interruptions, kernels: Kernels | None) -> Produced:
    if sys.platform == "linux" and job.engine != "papermill":
        with JobServer(folder, kernels=kernels) as server:
            return server.run(job, clock=clock, interruptions=interruptions, folder=folder)
    from runbook_lib.reports.produce import produce  # slow to import; otherwise the server imports it

    return produce(job, folder=folder, clock=clock, interruptions=interruptions)
