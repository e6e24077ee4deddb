"""What really happened in a run: read from the notebook and the child's end, never from papermill's own statuses.

After a cell timeout or a killed kernel, papermill 2.7 calls every cell "completed", even cells that never ran; after
`sys.exit(0)` it raises nothing. Reliable, as measured, are a cell's start time, present once papermill reached it, and
the kernel's reply (`execute.note_reply`), present once the kernel answered and the outputs arrived. The reply says
whether the cell failed; not every failure leaves an output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from runbook_lib.catalogue import CATALOGUE, Exit, Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports.execute import REPLY, NotSaved
from runbook_lib.reports.supervise import End
from runbook_lib.result import MIME, FinishRecord, ParametersRecord, Result, Status, StepRecord, Verdict, read_record
from runbook_lib.words import quantity

if TYPE_CHECKING:  # slow to import, and the caller of a run reads no notebook
    from nbformat import NotebookNode

    from runbook_lib.reports.runrecord import RunRecord

AnyRecord = ParametersRecord | StepRecord | FinishRecord


@dataclass(frozen=True)
class RunOutcome:
    """What the caller of a run gets.

    Args:
        status: how the run ended.
        exit: its exit code; the caller applies `--fail-on due`, using `needs_action`.
        bag: the run's bag in the archive.
        error: `RunbookError.as_dict()`; None if the status is done.
        verdict: the notebook's verdict; None if it ended well and states none.
        needs_action: how many certificates need action.
        progress: how far this run brought a procedure of many runs; empty for other procedures.
        unsigned: why the bag is not signed although the archive has a signer; `RunbookError.as_dict()`.
        unstamped: why it has no time stamp. A time stamp can follow later, so the exit code does not change.
    """

    status: Status
    exit: Exit
    bag: Path
    error: dict[str, Any] | None
    verdict: Verdict | None
    needs_action: int
    progress: str
    unsigned: dict[str, Any] | None = None
    unstamped: dict[str, Any] | None = None

    @classmethod
    def of(
        cls, record: RunRecord, bag: Path, *, unsigned: RunbookError | None, unstamped: RunbookError | None
    ) -> RunOutcome:
        """Combine a run's record and its bag. A run that is done but not signed is no success."""
        return cls(
            status=record.status,
            exit=Exit(record.exit) or (unsigned.exit if unsigned else Exit.DONE),
            bag=bag,
            error=record.error,
            verdict=record.verdict,
            needs_action=record.needs_action,
            progress=record.progress,
            unsigned=unsigned.as_dict() if unsigned else None,
            unstamped=unstamped.as_dict() if unstamped else None,
        )


class CellState(StrEnum):
    """What became of a code cell."""

    EXECUTED = "executed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    KILLED = "killed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"  # empty, or tagged skip-execution
    NEVER_RAN = "never ran"
    UNKNOWN = "unknown"  # the executing process ended before it could save


@dataclass(frozen=True)
class Judgement:
    """The true status of a run.

    Args:
        cells: the state of each code cell, in order.
        records: the records of the notebook's steps, in order; empty for a notebook that is not ours.
    """

    status: Status
    exit: Exit
    error: dict[str, Any] | None
    verdict: Verdict | None
    needs_action: int
    cells: tuple[CellState, ...]
    records: tuple[AnyRecord, ...]

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        return tuple(record for record in self.records if isinstance(record, StepRecord))

    @property
    def finish(self) -> FinishRecord | None:
        return next((record for record in reversed(self.records) if isinstance(record, FinishRecord)), None)


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def read_records(nb: NotebookNode) -> tuple[AnyRecord, ...]:
    """The records among the outputs, in order. Other outputs are ignored."""
    found: list[AnyRecord] = []
    for cell in code_cells(nb):
        for output in cell.outputs:
            data = output.get("data", {}).get(MIME)
            if data is not None:
                try:
                    found.append(read_record(data))
                except (ValidationError, RecursionError):
                    continue
    return tuple(found)


def judge(nb: NotebookNode, end: End, *, cell_timeout: int, deadline: int) -> Judgement:
    """Decide the true status of an executed notebook. Times are in seconds."""
    records = read_records(nb)
    status, error = _what_stopped_it(nb, end, records, cell_timeout, deadline)
    in_flight = {
        Status.TIMED_OUT: CellState.TIMED_OUT,
        Status.KILLED: CellState.KILLED,
        Status.INTERRUPTED: CellState.INTERRUPTED,
    }.get(status, CellState.UNKNOWN)  # papermill failed on something the kernel sent
    unreached = CellState.NEVER_RAN
    if _not_saved(end):  # a cell that ran at the last save may have ended since
        in_flight = unreached = CellState.UNKNOWN
    elif end.ending is None:  # killed before it could save
        unreached = CellState.UNKNOWN
    cells = tuple(_state(cell, in_flight, unreached) for cell in code_cells(nb))
    finish = next((record for record in reversed(records) if isinstance(record, FinishRecord)), None)
    exit_code = Exit(error["exit"]) if error else Exit.DONE
    if status is Status.DONE and records:
        if finish is None or CellState.NEVER_RAN in cells:
            status, error = Status.FAILED, _error(Reason.NOTEBOOK_STOPPED_EARLY, "The notebook did not finish.")
            exit_code = Exit.UNEXPECTED
        elif finish.verdict in (Verdict.FAILED, Verdict.UNCHECKED):
            status, error = Status.FAILED, recorded_error(records) or not_proven(records)
            exit_code = Exit(error["exit"])
    elif status is Status.DONE and CellState.NEVER_RAN in cells:
        status, exit_code = Status.FAILED, Exit.UNEXPECTED
        never = quantity(cells.count(CellState.NEVER_RAN), "code cell")
        error = _error(Reason.NOTEBOOK_STOPPED_EARLY, f"{never} never ran.")
    return Judgement(
        status=status,
        exit=exit_code,
        error=error,
        verdict=verdict_of(status, finish),
        needs_action=finish.needs_action if finish else 0,
        cells=cells,
        records=records,
    )


def judge_refusal(error: RunbookError, nb: NotebookNode) -> Judgement:
    """Nothing was executed."""
    cells = (CellState.NEVER_RAN,) * len(code_cells(nb))
    return Judgement(Status.REFUSED, error.exit, error.as_dict(), Verdict.UNCHECKED, 0, cells, ())


def verdict_of(status: Status, finish: FinishRecord | None) -> Verdict | None:
    if status is Status.DONE:
        return finish.verdict if finish else None
    if finish is not None and finish.verdict in (Verdict.FAILED, Verdict.UNCHECKED):
        return finish.verdict
    return Verdict.FAILED


def _what_stopped_it(
    nb: NotebookNode, end: End, records: tuple[AnyRecord, ...], cell_timeout: int, deadline: int
) -> tuple[Status, dict[str, Any] | None]:
    where = _in_flight_name(nb)
    if end.interrupted is not None:
        return Status.INTERRUPTED, _error(Reason.INTERRUPTED, f"{end.interrupted.name} arrived {where}.")
    if end.deadline:
        return Status.TIMED_OUT, _error(Reason.RUN_DEADLINE, f"The run was stopped after {deadline} s, {where}.")
    if end.ending is None or end.returncode < 0:
        how = f"by signal {-end.returncode}" if end.returncode < 0 else f"with exit code {end.returncode}"
        return Status.KILLED, _error(Reason.KERNEL_DIED, f"The process running the notebook ended {how}, {where}.")
    if _not_saved(end):
        what = f"The notebook could not be saved while it ran: {end.ending.message}. The last saved state is shown."
        return Status.FAILED, _error(Reason.NOT_SAVED, what)
    if end.ending.exception == "CellTimeoutError":
        if any(_reached(cell) and not _answered(cell) and _replied(cell) for cell in code_cells(nb)):
            what = f"The kernel answered, but not all its outputs arrived, {where}."
            return Status.TIMED_OUT, _error(Reason.CELL_TIMEOUT, what)
        return Status.TIMED_OUT, _error(Reason.CELL_TIMEOUT, f"No answer within {cell_timeout} s, {where}.")
    if end.ending.exception == "DeadKernelError":
        return Status.KILLED, _error(Reason.KERNEL_DIED, f"The kernel died {where}.")
    failed = _first_failure(nb)
    if failed is not None:
        return Status.FAILED, recorded_error(records) or _cell_error(*failed)
    if end.ending.exception and not any(_reached(cell) for cell in code_cells(nb)):
        what = f"{end.ending.exception}: {end.ending.message.strip()[:300]}"
        return Status.FAILED, _error(Reason.KERNEL_NOT_STARTED, what)
    # papermill raises for every error output, even in a cell that is tagged to fail
    if end.ending.exception and not (end.ending.exception == "PapermillExecutionError" and _expected_to_fail(nb)):
        what = f"papermill failed {where}: {end.ending.exception}: {end.ending.message.strip()[:300]}"
        return Status.FAILED, _error(Reason.NOTEBOOK_ERROR, what)
    return Status.DONE, None


def _not_saved(end: End) -> bool:
    """Whether the run ended because the notebook could not be saved."""
    return end.ending is not None and end.ending.exception == NotSaved.__name__


def _error(reason: Reason, what: str) -> dict[str, Any]:
    return RunbookError(reason, what).as_dict()


def recorded_error(records: tuple[AnyRecord, ...]) -> dict[str, Any] | None:
    """The first error that a step or the parameters recorded."""
    return next((r.error for r in records if not isinstance(r, FinishRecord) and r.error), None)


def not_proven(records: tuple[AnyRecord, ...]) -> dict[str, Any]:
    """The error of a run whose verdict is bad although no step raised one. Its title names the cause."""
    bad = [
        (step.title, step.result)
        for step in records
        if isinstance(step, StepRecord) and step.result and step.verdict in (Verdict.FAILED, Verdict.UNCHECKED)
    ]
    results = [result for _, result in bad]
    known = next((result for result in results if result.reason in set(Reason)), None)
    failed = next((result for result in results if result.verdict is Verdict.FAILED), None)
    cause = known or failed or next(iter(results), None)
    what = " ".join(_shortcoming(title, result, result is cause) for title, result in bad[:2]) or "No step says why."
    remedy = next((result.next[0] for _, result in bad if result.next), None)
    title = cause.headline.removesuffix(".") if cause else None
    title = CATALOGUE[Reason(known.reason)].title if known else title
    return RunbookError(Reason.NOT_PROVEN, what, remedy=remedy, title=title).as_dict()


def _shortcoming(step: str, result: Result, in_title: bool) -> str:
    """What a step did not show, without its headline if that is the title."""
    if not in_title or result.reason in set(Reason):
        return f"“{step}”: {result.headline}"
    return f"“{step}” {'failed' if result.verdict is Verdict.FAILED else 'could not be checked'}."


def _cell_error(number: int, failure: _Failure) -> dict[str, Any]:
    if failure.ename == "SystemExit":
        return _error(Reason.NOTEBOOK_STOPPED_EARLY, f"Code cell {number} called sys.exit({failure.evalue}).")
    if failure.ename == "RunbookError" and failure.traceback:
        title = re.search(r"\[(\w+)\]\s*$", failure.traceback[0])
        if title and title[1] in set(Reason):
            return _error(Reason(title[1]), failure.evalue.partition("\nWhat it means:")[0])
    cause = f"A notebook cell failed with {failure.ename}" if failure.ename.isidentifier() else None
    what = f"Code cell {number}: {failure.ename}: {failure.evalue[:300]}"
    return RunbookError(Reason.NOTEBOOK_ERROR, what, title=cause).as_dict()


def _reached(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("papermill", {}).get("start_time"))


def _reply(cell: NotebookNode) -> Mapping[str, str]:
    """The kernel's reply for a cell: `status`, and for an error `ename` and `evalue`. Empty without a reply."""
    reply: Mapping[str, str] = cell.metadata.get("papermill", {}).get(REPLY) or {}
    return reply


def _answered(cell: NotebookNode) -> bool:
    return bool(_reply(cell))


def _replied(cell: NotebookNode) -> bool:
    """Whether the kernel answered, with or without its outputs."""
    return "shell.execute_reply" in cell.metadata.get("execution", {})


def _tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def _state(
    cell: NotebookNode, in_flight: CellState = CellState.KILLED, unreached: CellState = CellState.NEVER_RAN
) -> CellState:
    """What became of a cell. The caller says what to call a cell that did not end, and one that was not reached."""
    if not cell.source.strip() or _tagged(cell, "skip-execution"):
        return CellState.SKIPPED
    if not _reached(cell):
        return unreached
    if not _answered(cell):
        return in_flight
    return CellState.FAILED if _failure(cell) is not None else CellState.EXECUTED


@dataclass(frozen=True)
class _Failure:
    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()


def _failure(cell: NotebookNode) -> _Failure | None:
    """How a cell failed that the kernel answered; None if it did not fail.

    An error output counts even if the reply is "ok": papermill raises for it (`showtraceback()`).
    """
    reply = _reply(cell)
    failed = reply.get("status", "ok") != "ok" or cell.metadata.get("papermill", {}).get("exception") is True
    if _tagged(cell, "raises-exception") and reply.get("status") in ("ok", "error"):
        return None
    shown = next((output for output in cell.outputs if output.output_type == "error"), None)
    if shown is not None:
        return _Failure(str(shown.ename), str(shown.evalue), tuple(map(str, shown.get("traceback", ()))))
    if not failed:
        return None
    if reply.get("status") == "aborted":
        return _Failure("aborted", "the kernel did not execute the cell")
    return _Failure(reply.get("ename") or "Error", reply.get("evalue", ""))


def _expected_to_fail(nb: NotebookNode) -> bool:
    """Whether a cell failed that is tagged to fail."""
    return any(
        _tagged(cell, "raises-exception") and any(output.output_type == "error" for output in cell.outputs)
        for cell in code_cells(nb)
    )


def _first_failure(nb: NotebookNode) -> tuple[int, _Failure] | None:
    for number, cell in enumerate(code_cells(nb), 1):
        failure = _failure(cell) if _answered(cell) else None
        if failure is not None:
            return number, failure
    return None


def _in_flight_name(nb: NotebookNode) -> str:
    cells = code_cells(nb)
    for number, cell in enumerate(cells, 1):
        if _state(cell) is CellState.KILLED:
            return f"in code cell {number} of {len(cells)}"
    return "between two cells" if any(map(_reached, cells)) else "before the first cell"
