"""What becomes of a run: the bag tells the truth, whatever papermill's metadata say."""

from __future__ import annotations

import html
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import FixedClock, SystemClock, parse_utc
from runbook_lib.errors import RunbookError
from runbook_lib.reports.runrecord import Engine
from runbook_lib.result import Verdict
from runbook_lib.runner import RunOutcome, Status, run_notebook
from tests.archive.killing import KILLS_PAPERMILL
from tests.notebook_runs import RECORDS
from tests.reports import reading

Run = Callable[..., RunOutcome]


def _states(outcome: RunOutcome) -> list[str]:
    return list(reading.record(outcome.bag)["cells"]["states"])


def _tells(outcome: RunOutcome, words: str) -> None:
    """The record, the notebook and the page all say it."""
    error = reading.record(outcome.bag)["error"]
    assert words in error["what"]
    top = reading.notebook(outcome.bag).cells[0]
    assert "runbook-banner" in top.metadata.tags
    assert words in top.source.replace("\\", "")
    page = html.unescape(reading.page(outcome.bag))
    assert words in page
    assert error["title"] in page


def test_a_run_that_reaches_its_end_is_done(run: Run, tmp_path: Path) -> None:
    outcome = run(
        RECORDS,
        "",
        'step("look", Result(verdict=Verdict.OK, headline="All well", tables=('
        'Table(name="seen", title="Seen", columns=("name", "state"), rows=(("=1+1", "ok"), ("b,\\"c\\"", "due"))),)))',
        "finish(Verdict.ATTENTION, needs_action=2)",
        given={"p": 5},
        env={"IPYTHONDIR": str(tmp_path / "not-used")},
    )
    assert (outcome.status, outcome.exit, outcome.error) == (Status.DONE, Exit.DONE, None)
    assert (outcome.verdict, outcome.needs_action) == (Verdict.ATTENTION, 2)
    record = reading.record(outcome.bag)
    assert record["records"] is True
    assert record["parameters"] == {"p": 5}
    assert record["cells"]["states"] == ["executed", "executed", "executed", "skipped", "executed", "executed"]
    assert [step["headline"] for step in record["steps"]] == ["All well"]
    assert record["tables"][0]["file"] == "tables/seen.csv"
    table = (outcome.bag / "data/tables/seen.csv").read_bytes()
    assert table == b'name,state\r\n\'=1+1,ok\r\n"b,""c""",due\r\n'
    nb = reading.notebook(outcome.bag)
    assert nb.cells[0].source == "# A small notebook"  # no banner
    assert nb.metadata.papermill.input_path == "nb.ipynb"
    everything = "".join(path.read_text() for path in (outcome.bag / "data").rglob("*") if path.is_file())
    assert "TCP" not in everything
    assert str(tmp_path) not in everything
    assert not (tmp_path / "not-used").exists()
    assert not list((tmp_path / "archive/.staging").iterdir())


def test_a_foreign_notebook_is_done_when_every_cell_was_executed(run: Run) -> None:
    outcome = run("print('hello')", "1 + 1", given={"p": 2, "misspelt": 3})
    assert (outcome.status, outcome.exit, outcome.verdict) == (Status.DONE, Exit.DONE, None)
    record = reading.record(outcome.bag)
    assert record["records"] is False
    assert record["unknown_parameters"] == ["misspelt"]
    assert "misspelt" in reading.page(outcome.bag)


def test_a_run_without_its_finish_record_did_not_reach_its_end(run: Run) -> None:
    outcome = run(RECORDS, 'step("look", Result(verdict=Verdict.OK, headline="All well"))')
    assert (outcome.status, outcome.exit) == (Status.FAILED, Exit.UNEXPECTED)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.NOTEBOOK_STOPPED_EARLY


def test_an_error_that_a_step_recorded_decides_the_exit_code(run: Run) -> None:
    outcome = run(
        RECORDS,
        'problem = RunbookError(Reason.OUTCOME_UNKNOWN, "No answer to the POST.")\nstep("ask", error=problem)\n'
        "raise problem",
        "finish(Verdict.OK)",
    )
    assert (outcome.status, outcome.exit, outcome.verdict) == (Status.FAILED, Exit.OUTCOME_UNKNOWN, Verdict.FAILED)
    assert _states(outcome)[-2:] == ["failed", "never ran"]
    _tells(outcome, "No answer to the POST.")


def test_a_failed_verdict_fails_a_run_that_reached_its_end(run: Run) -> None:
    outcome = run(
        RECORDS,
        'step("look", Result(verdict=Verdict.UNCHECKED, headline="Nobody answered.", next=("Ask again.",)))',
        "finish(Verdict.UNCHECKED)",
    )
    assert (outcome.status, outcome.exit, outcome.verdict) == (Status.FAILED, Exit.CHECK_FAILED, Verdict.UNCHECKED)
    assert "unchecked" in reading.page(outcome.bag)
    assert outcome.error is not None
    assert (outcome.error["reason"], outcome.error["remedy"]) == (Reason.NOT_PROVEN, "Ask again.")
    assert outcome.error["title"] == "Nobody answered"
    _tells(outcome, "“Look” could not be checked.")


def test_the_title_of_a_failed_run_is_the_cause_that_its_first_failed_step_names(run: Run) -> None:
    outcome = run(
        RECORDS,
        'step("look", Result(verdict=Verdict.UNCHECKED, headline="Not looked at."))',
        'step("ask", Result(verdict=Verdict.FAILED, headline="HTTP 401.", reason=Reason.API_KEY_REFUSED))',
        "finish(Verdict.FAILED)",
    )
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.NOT_PROVEN
    assert outcome.error["title"] == "DigiCert ONE refused the API key"
    _tells(outcome, "“Look”: Not looked at. “Ask”: HTTP 401.")


def test_our_error_outside_a_step_keeps_its_reason(run: Run) -> None:
    outcome = run(RECORDS, 'raise RunbookError(Reason.UNREACHABLE, "Nobody at port 1.")')
    assert (outcome.status, outcome.exit) == (Status.FAILED, Exit.CHECK_FAILED)
    _tells(outcome, "Nobody at port 1.")


def test_an_unknown_error_is_shown_and_what_came_after_never_ran(run: Run) -> None:
    outcome = run("1/0", "print('after')")
    assert (outcome.status, outcome.exit) == (Status.FAILED, Exit.UNEXPECTED)
    assert _states(outcome) == ["executed", "failed", "never ran"]
    _tells(outcome, "ZeroDivisionError: division by zero")
    assert outcome.error is not None
    assert outcome.error["title"] == "A notebook cell failed with ZeroDivisionError"
    assert [
        cell.metadata.papermill.status for cell in reading.notebook(outcome.bag).cells if cell.cell_type == "code"
    ] == [
        "executed",
        "failed",
        "never ran",
    ]
    assert "papermill-error" not in reading.page(outcome.bag)


def test_an_error_that_the_notebook_expects_is_no_failure(write_notebook: Callable[..., Path], archive: Path) -> None:
    import nbformat

    path = write_notebook("1/0", "print('after')")
    nb = nbformat.read(path, as_version=4)
    nb.cells[2].metadata.tags = ["raises-exception"]
    nbformat.write(nb, path)
    outcome = run_notebook(path, {}, job="demo", archive=archive, clock=SystemClock())
    assert (outcome.status, outcome.exit) == (Status.DONE, Exit.DONE)
    assert _states(outcome) == ["executed", "executed", "executed"]


def test_sys_exit_is_a_failure_even_with_zero(run: Run) -> None:
    outcome = run("import sys; sys.exit(0)", "print('after')")
    assert (outcome.status, outcome.exit) == (Status.FAILED, Exit.UNEXPECTED)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.NOTEBOOK_STOPPED_EARLY
    assert _states(outcome) == ["executed", "failed", "never ran"]
    _tells(outcome, "sys.exit(0)")


def test_a_cell_that_takes_too_long_is_stopped(run: Run) -> None:
    outcome = run("import time; print('began', flush=True); time.sleep(60)", "print('after')", cell_timeout=2)
    assert (outcome.status, outcome.exit) == (Status.TIMED_OUT, Exit.UNEXPECTED)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.CELL_TIMEOUT
    assert _states(outcome) == ["executed", "timed out", "never ran"]
    _tells(outcome, "No answer within 2 s, in code cell 2 of 3.")
    assert "began" in reading.page(outcome.bag)


def test_a_killed_kernel_is_told_from_a_finished_cell(run: Run) -> None:
    outcome = run("import os; print('began', flush=True); os.kill(os.getpid(), 9)", "print('after')")
    assert (outcome.status, outcome.exit) == (Status.KILLED, Exit.UNEXPECTED)
    assert _states(outcome) == ["executed", "killed", "never ran"]
    _tells(outcome, "The kernel died in code cell 2 of 3.")


def test_a_killed_papermill_is_told_too(run: Run) -> None:
    outcome = run(KILLS_PAPERMILL)
    assert (outcome.status, outcome.exit) == (Status.KILLED, Exit.UNEXPECTED)
    assert "ended by signal 9" in reading.record(outcome.bag)["error"]["what"]


def test_the_deadline_ends_the_whole_run_and_all_it_started(run: Run, engine: Engine, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    deadline = 25 if engine == "papermill" else 8  # a kernel that is started needs some seconds to come to the cell
    outcome = run(
        "import subprocess\n"
        f"open({str(pid_file)!r}, 'w').write(str(subprocess.Popen(['sleep', '300'], start_new_session=True).pid))",
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(100)",
        "print('after')",
        deadline=deadline,
    )
    assert (outcome.status, outcome.exit) == (Status.TIMED_OUT, Exit.UNEXPECTED)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.RUN_DEADLINE
    assert _states(outcome) == ["executed", "executed", "timed out", "never ran"]
    _tells(outcome, f"The run was stopped after {deadline} s, in code cell 3 of 4.")
    pid = int(pid_file.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


PROGRAM = """
import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
import sys; from pathlib import Path; from runbook_lib.clock import SystemClock
from runbook_lib.reports.runrecord import Engine
from runbook_lib.runner import run_notebook
o = run_notebook(Path(sys.argv[1]), {}, job='demo', archive=Path(sys.argv[2]), clock=SystemClock())
print(o.status.value, int(o.exit), o.bag, sep='\\n')
"""


@pytest.fixture
def in_its_cell(
    write_notebook: Callable[..., Path], archive: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A runner in a process of its own, whose notebook is in the middle of a cell; and the kernel's process id."""
    began = tmp_path / "began"
    notebook = write_notebook(
        "import os, time; print('so far', flush=True)\n"
        f"with open({str(began)!r}, 'w') as f: f.write(str(os.getpid()))\ntime.sleep(100)",
        "print('after')",
    )
    command = [sys.executable, "-c", PROGRAM, str(notebook), str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        until = time.monotonic() + 60
        while not (began.exists() and began.read_text()) and time.monotonic() < until:
            time.sleep(0.1)
        yield runner, int(began.read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_and_it_is_archived_all_the_same(
    in_its_cell: tuple[subprocess.Popen[str], int], number: signal.Signals
) -> None:
    runner, kernel = in_its_cell
    runner.send_signal(number)
    status, code, bag = runner.communicate(timeout=200)[0].splitlines()
    assert (runner.returncode, status, code) == (0, "interrupted", "1")
    record = reading.record(Path(bag))
    assert record["error"]["what"] == f"{number.name} arrived in code cell 2 of 3."
    assert record["cells"]["states"] == ["executed", "interrupted", "never ran"]
    assert "The run was interrupted" in reading.page(Path(bag))
    assert "so far" in reading.notebook(Path(bag)).cells[3].outputs[0].text
    assert not psutil.pid_exists(kernel)


def test_two_runs_in_one_folder_at_once_do_not_meet(
    write_notebook: Callable[..., Path], archive: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    notebook = write_notebook("import time; time.sleep(3)")
    command = [sys.executable, "-c", PROGRAM, str(notebook), str(archive)]
    running = [subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.communicate(timeout=60)[0].split()[0] for one in running] == ["done", "done"]
    assert len(list(archive.glob("*/*/*/*-demo*"))) == 2
    assert not list(here.iterdir())  # no socket is left, nor was one there


def test_a_killed_runner_leaves_nothing_running(in_its_cell: tuple[subprocess.Popen[str], int], archive: Path) -> None:
    runner, kernel = in_its_cell
    running = psutil.Process(kernel)
    papermill = running.parent()
    assert papermill is not None
    runner.kill()
    assert psutil.wait_procs([papermill, running], timeout=30)[1] == []
    assert not list(archive.glob("2*"))  # and no bag that would be half true


def test_a_kernel_that_is_not_there_is_said_to_be_missing(run: Run) -> None:
    outcome = run("print('never')", kernel="no-such-kernel")
    assert (outcome.status, outcome.exit) == (Status.FAILED, Exit.UNEXPECTED)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.KERNEL_NOT_STARTED
    assert _states(outcome) == ["never ran", "never ran"]
    _tells(outcome, "No such kernel named no-such-kernel")
    assert "NoSuchKernel" in (outcome.bag / "data/papermill.log").read_text()


@pytest.mark.parametrize("content", [b"{not json", b"[]", b"{}", b'{"nbformat": 4, "cells": 3}', b"\xff\xfe", b""])
def test_a_broken_notebook_is_refused_and_the_refusal_archived(tmp_path: Path, archive: Path, content: bytes) -> None:
    (tmp_path / "broken.ipynb").write_bytes(content)
    outcome = run_notebook(tmp_path / "broken.ipynb", {}, job="demo", archive=archive, clock=SystemClock())
    assert outcome.status is Status.REFUSED
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.UNREADABLE_FILE
    assert "broken.ipynb" in reading.page(outcome.bag)


def test_parameters_for_a_notebook_that_takes_none_are_refused(run: Run, tmp_path: Path) -> None:
    outcome = run(f"open({str(tmp_path / 'ran')!r}, 'w')", parameters=None, given={"q": 1})
    assert (outcome.status, outcome.exit) == (Status.REFUSED, Exit.USAGE)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.UNKNOWN_PARAMETER
    assert _states(outcome) == ["never ran"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["2020-01-01", "p = 1; print('done by a name') #", "import", ""])
def test_the_name_of_a_parameter_is_no_code(run: Run, name: str) -> None:
    outcome = run("print('ran')", given={name: 1})
    assert (outcome.status, outcome.exit) == (Status.REFUSED, Exit.USAGE)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.BAD_PARAMETER


def test_a_notebook_that_does_not_exist_is_no_run(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(RunbookError) as caught:
        run_notebook(tmp_path / "none.ipynb", {}, job="demo", archive=archive, clock=SystemClock())
    assert caught.value.reason is Reason.UNKNOWN_NOTEBOOK
    assert not archive.exists()


@pytest.mark.parametrize("job", ["", "../x", "a b", "A", "-a", "a" * 64])
def test_a_job_that_could_be_a_path_is_refused(tmp_path: Path, archive: Path, job: str) -> None:
    with pytest.raises(RunbookError) as caught:
        run_notebook(tmp_path / "none.ipynb", {}, job=job, archive=archive, clock=SystemClock())
    assert caught.value.reason is Reason.BAD_PARAMETER


def test_outputs_of_an_earlier_execution_are_no_evidence(write_notebook: Callable[..., Path], archive: Path) -> None:
    import nbformat
    from nbformat.v4 import new_output

    path = write_notebook("print('x')")
    nb = nbformat.read(path, as_version=4)
    nb.cells[2].outputs = [new_output("stream", name="stdout", text="all well, years ago")]
    nbformat.write(nb, path)
    at = FixedClock(parse_utc("2026-11-23T14:15:00Z"))
    outcome = run_notebook(path, {"password": "plain"}, job="demo", archive=archive, clock=at)
    assert outcome.status is Status.REFUSED
    assert "years ago" not in (outcome.bag / "data/run.ipynb").read_text()
    assert outcome.bag == archive / "2026/11/23/20261123T141500Z-demo"


def test_nothing_runs_when_the_archive_cannot_be_written(write_notebook: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notebook = write_notebook(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(RunbookError) as caught:
        run_notebook(notebook, {}, job="demo", archive=tmp_path / "file/archive", clock=SystemClock())
    assert caught.value.reason is Reason.ARCHIVE_FAILED
    assert caught.value.exit is Exit.UNEXPECTED
    assert not (tmp_path / "ran").exists()
