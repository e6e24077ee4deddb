"""How a run process of the fork engine performs a job: execute, judge, search for secrets, render."""

from __future__ import annotations

import json
import os
import signal

import runbook_lib.archive.ticket_policy  # noqa: F401 - a batch's jobs name it, and no fork should import it again
from runbook_lib.engine.kernel_manager import forkable
from runbook_lib.engine.processes import in_background, write_to
from runbook_lib.engine.task_context import TaskContext
from runbook_lib.interruptions import Interruptions
from runbook_lib.job_server import JobTask
from runbook_lib.reports import html
from runbook_lib.reports.execute import Ending, ExecutionPlan, execute
from runbook_lib.reports.job import Produced
from runbook_lib.reports.produce import execute_and_record, execute_supervised
from runbook_lib.reports.runrecord import Engine
from runbook_lib.reports.supervise import End, environment


def execute_job(task: JobTask, context: TaskContext) -> Produced:
    """Perform one run."""
    job = task.job
    forks = job.engine != "papermill" and _forkable(job.source.content)
    write_to(task.folder / "papermill.log")

    def executed(plan: ExecutionPlan) -> End:
        try:
            if task.end is not None:
                return task.end
            return _in_a_fork(task, plan, context) if forks else _in_a_process(task, plan, context)
        finally:
            context.executed()

    engine: Engine = "runbook" if forks else "papermill"
    return execute_and_record(job, executed, folder=task.folder, clock=task.clock, begun=task.begun, engine=engine)


def _forkable(notebook: bytes) -> bool:
    try:
        return forkable(json.loads(notebook)["metadata"])
    except (ValueError, KeyError, TypeError, AttributeError):  # the step that reads the notebook reports the error
        return False


def _in_a_process(task: JobTask, plan: ExecutionPlan, context: TaskContext) -> End:
    """Execute with stock papermill, which starts a kernel."""
    interruptions = Interruptions()
    interruptions.signals = context.signals
    return execute_supervised(task.job, plan, task.folder, interruptions)


def _in_a_fork(task: JobTask, plan: ExecutionPlan, context: TaskContext) -> End:
    """Execute in a forked kernel."""
    job, private = task.job, task.folder / "private"
    private.mkdir(mode=0o700, exist_ok=True)  # an earlier attempt that got no kernel may have made it
    given = os.environ if job.environ is None else job.environ
    environ = environment(given, job.run, private, task.folder, job.keep_out)
    log = task.folder / "papermill.log"
    kernel = context.kernel(cwd=task.cwd, environ=environ, log=log)
    compiling = in_background(html.exporter)  # prepares the page while the kernel works
    try:
        with context.interruptible(job.deadline):
            ending = execute(plan, engine_name="runbook", kernel=kernel)
    except BaseException as error:  # noqa: BLE001 - it goes into the record
        ending = Ending(exception=type(error).__name__, message=str(error))
    finally:
        kernel.shutdown_kernel()
        compiling.join()
    first = context.signals[0] if context.signals else None
    late = first is signal.SIGALRM
    text = log.read_text(encoding="utf-8", errors="replace")
    return End(ending, 0, late, None if late else first, text)
