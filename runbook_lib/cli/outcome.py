"""Runs one notebook from the command line, and reports its outcome and its bag."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.catalogue import Exit
from runbook_lib.cli.informing import inform_about, waiting_notices
from runbook_lib.cli.streams import Unwritten, hang_up
from runbook_lib.cli.terminal import err, show_error
from runbook_lib.errors import RunbookError
from runbook_lib.notebooks import NOTEBOOKS, find_notebook, imported_by
from runbook_lib.words import certificates_need_action

if TYPE_CHECKING:
    from runbook_lib.notices.notices_file import Notices
    from runbook_lib.reports.outcome import RunOutcome

PROGRESS = {"nothing due": Exit.NOTHING_DUE, "progressed": Exit.PROGRESSED, "waiting": Exit.WAITING}
"""The exit codes of --exit-detail for a rotation's progress; "finished" is 0."""


def run_one(
    notebook: str,
    given: Mapping[str, Any],
    *,
    archive: Path,
    cell_timeout: int = 600,
    deadline: int = 3600,
    fail_on: str = "",
    exit_detail: bool = False,
    environ: Mapping[str, str] | None = None,
    after: Notices | None = None,
) -> Exit:
    """Run a notebook, report how it ended, and print the path of its bag last.

    Args:
        notebook: a short name or a path.
        given: its parameters.
        environ: the environment of the run, in place of this process's.
        after: what to send and write once the run is archived.

    Raises:
        RunbookError: as `run_notebook`.
    """
    from runbook_lib.clock import SystemClock
    from runbook_lib.engine.kernels import Kernels

    path, job = find_notebook(notebook)
    if path.stem in NOTEBOOKS.values():
        given = {"mode": "headless", **given}
    err(f"{job}: running {path.name}. Archive: {archive}")
    # the kernel server imports what the notebook needs while this process imports what the run needs
    with Kernels(preload=imported_by(path)) if sys.platform == "linux" else nullcontext() as kernels:
        from runbook_lib.runner import run_notebook

        if kernels is not None:
            import runbook_lib.job_process  # noqa: F401 - the run process is forked from this one
        outcome = run_notebook(
            path,
            given,
            job=job,
            archive=archive,
            clock=SystemClock(),
            cell_timeout=cell_timeout,
            deadline=deadline,
            environ=environ,
            kernels=kernels,
            notices=waiting_notices(archive) if after is not None else "",
        )
    return report(job, outcome, fail_on=fail_on, exit_detail=exit_detail, after=after)


def report(
    job: str, outcome: RunOutcome, *, fail_on: str, exit_detail: bool = False, after: Notices | None = None
) -> Exit:
    """Report how a run ended, print the path of its bag, and return the exit code."""
    for problem in (outcome.error, outcome.unsigned, outcome.unstamped):
        if problem is not None:
            show_error(RunbookError.from_dict(problem))
    code = outcome.exit
    if code is Exit.DONE and fail_on == "due" and outcome.needs_action:
        code = Exit.DUE
    if code is Exit.DONE and exit_detail:
        code = PROGRESS.get(outcome.progress, code)
    summary = f"{job}: {outcome.status.value}" + (f", {outcome.progress}" if outcome.progress else "")
    if outcome.needs_action:
        summary += f", {certificates_need_action(outcome.needs_action)}"
    err(summary)
    if after is not None:
        inform_about(outcome.bag, after)
    _print_place(outcome.bag)
    return code


def _print_place(bag: Path) -> None:
    """Print the bag's path. A closed (`| true`, `>&-`) or full standard output does not change how the run ended."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{bag}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        hang_up()
    except Unwritten as error:
        hang_up()
        err(f"Cannot write to standard output: {error}. The bag is {bag}")
