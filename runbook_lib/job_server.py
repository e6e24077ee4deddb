"""The caller's side of jobs in the fork engine. Light to import: the processes import what executes a job."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runbook_lib.clock import Clock
from runbook_lib.engine.forkserver import ForkServer, Killed
from runbook_lib.engine.kernels import Kernels
from runbook_lib.interruptions import Interruptions
from runbook_lib.reports import bare
from runbook_lib.reports.job import Job, Produced, RunStart
from runbook_lib.reports.supervise import End


@dataclass(frozen=True)
class JobTask:
    """A job for a run process.

    Args:
        folder: private to the run.
        cwd: where the kernel runs.
        end: how an earlier process of this run ended. Then nothing is executed; what that left is recorded.
    """

    job: Job
    folder: Path
    cwd: Path
    clock: Clock
    begun: RunStart
    end: End | None = None


class JobServer(ForkServer):
    """A fork server for jobs. Every job gets a record, even if its processes are killed.

        with JobServer(preload=["runbook_lib.widgets"]) as server:
            produced = server.run(job, clock=SystemClock())

    Args:
        folder: private; each run has a folder in it while it lasts. Its content is not searched for secrets.
    """

    def __init__(
        self, folder: Path | None = None, *, preload: Sequence[str] = (), kernels: Kernels | None = None
    ) -> None:
        super().__init__(folder, preload=preload, kernels=kernels, function="runbook_lib.job_process:execute_job")

    def run(
        self, job: Job, *, clock: Clock, interruptions: Interruptions | None = None, folder: Path | None = None
    ) -> Produced:
        """Execute a notebook and make the files of its bag.

        Args:
            clock: dates the run; it is sent to the process that runs it.
            interruptions: signals that the caller collects; the first one ends the run.
            folder: private, for the run's files, in place of the server's folder.

        Returns:
            The record and the files of every run, including a failed, killed, interrupted or refused one.

        Raises:
            RunbookError: ENGINE_FAILED if no process can be forked.
            OSError: the private folder cannot be written.
        """
        if job.environ is None:
            job = replace(job, environ=dict(os.environ))
        # absolute: the processes work in another folder
        folder = Path(tempfile.mkdtemp(dir=folder.absolute() if folder else self.folder))
        task = JobTask(job, folder, Path.cwd(), clock, RunStart.now(clock))
        signals = interruptions.signals if interruptions else ()
        try:
            answer: Produced | Killed = self.perform(task, seconds=job.deadline, signals=signals)
            if isinstance(answer, Killed):  # another process records what it left
                end = End(None, answer.returncode, answer.deadline, answer.interrupted, "")
                answer = self.perform(replace(task, end=end), seconds=job.deadline)
            if isinstance(answer, Killed):  # that was killed too, so there is no third attempt
                problem = self.failed(f"The process of the run ended twice, last with {answer.returncode}.")
                now = clock.now()
                return bare.failed_unexpectedly(
                    job, problem, started=task.begun.at, finished=now, clock=clock.source, executed=True
                )
            return answer
        finally:
            shutil.rmtree(folder, ignore_errors=True)
