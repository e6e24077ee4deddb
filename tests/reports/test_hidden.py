"""A secret hidden in a run reaches neither the archive nor the terminal, and the run reports it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import SystemClock
from runbook_lib.runner import RunOutcome, Status, run_notebook
from tests.reports import reading
from tests.reports.hidden import CHILD, PLACES, PREPARE, SECRET, VARIABLE

Run = Callable[..., RunOutcome]
RUNBOOK = Path(sys.executable).with_name("runbook")

GIVEN: dict[str, dict[str, Any]] = {
    "a parameter's value": {"note": SECRET},
    "a parameter's name": {SECRET: 1},
    "a key of a parameter": {"note": {SECRET: 1}},
    "a key deep in a parameter": {"note": [{"a": [{f"x {SECRET}": None}]}]},
    "a name behind a scheme": {"note": f"file:/nowhere/{SECRET}"},
}


def _is_nowhere(secret: str, archive: Path, said: str) -> None:
    assert reading.holds(archive, secret) == []
    assert secret not in said
    assert secret.replace('"', '\\"') not in said


ENGINES_DIFFER = ("standard error", "a traceback", "output and error by turns", "a kernel that dies")
"""`tests/fleet/test_hidden.py` tests the other places."""


@pytest.mark.parametrize("place", ENGINES_DIFFER)
def test_where_a_run_hides_it_it_is_withheld(run: Run, archive: Path, place: str, capfd: Any) -> None:
    given = {"api_key": f"env:{VARIABLE}"}
    outcome = run(PREPARE, PLACES[place], given=given, parameters='api_key = ""', env={VARIABLE: SECRET})
    assert (outcome.status, outcome.exit) == (Status.WITHHELD, Exit.UNEXPECTED)
    _is_nowhere(SECRET, archive, "".join(capfd.readouterr()))


def test_what_a_child_wrote_past_the_kernel_is_archived_nowhere(run: Run, archive: Path) -> None:
    source = f"{PREPARE}\nsubprocess.run({CHILD}, check=True)\nos.kill(os.getpid(), 9)"
    outcome = run(source, given={"api_key": f"env:{VARIABLE}"}, parameters='api_key = ""', env={VARIABLE: SECRET})
    assert outcome.exit == Exit.UNEXPECTED
    assert reading.holds(archive, SECRET) == []


@pytest.mark.parametrize("place", GIVEN)
def test_where_a_parameter_hides_it_it_is_withheld(
    write_notebook: Callable[..., Path], archive: Path, place: str, capfd: Any
) -> None:
    given = {"api_key": f"env:{VARIABLE}", **GIVEN[place]}
    notebook = write_notebook("1", parameters='api_key = ""\nnote = ""')
    environ = {**os.environ, VARIABLE: SECRET}
    outcome = run_notebook(notebook, given, job="demo", archive=archive, clock=SystemClock(), environ=environ)
    assert outcome.status in (Status.WITHHELD, Status.REFUSED)
    assert outcome.exit != Exit.DONE
    _is_nowhere(SECRET, archive, f"{outcome.error}" + "".join(capfd.readouterr()))


def test_a_run_that_hides_none_is_done(run: Run, archive: Path) -> None:
    given = {"api_key": f"env:{VARIABLE}"}
    outcome = run(PREPARE, "print(secret[::-1])", given=given, parameters='api_key = ""', env={VARIABLE: SECRET})
    assert outcome.status is Status.DONE


def test_the_command_says_withheld_and_not_what(write_notebook: Callable[..., Path], archive: Path) -> None:
    notebook = write_notebook(PREPARE, PLACES["a traceback"], parameters='api_key = ""')
    command: list[str | Path] = [RUNBOOK, "run", notebook, "--archive", archive, "-p", "api_key", f"env:{VARIABLE}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, VARIABLE: SECRET})
    assert done.returncode == Exit.UNEXPECTED
    assert "withheld" in done.stderr
    _is_nowhere(SECRET, archive, done.stdout + done.stderr)


# --- what plain papermill left ----------------------------------------------------------------------------------------


def _by_papermill(notebook: Path, **environ: str) -> Path:
    """The notebook as plain papermill leaves it, outputs and all."""
    left = notebook.with_name("left.ipynb")
    command: list[str | Path] = [sys.executable, "-m", "papermill", notebook, left, "-p", "note", SECRET]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environ})
    assert SECRET in str(nbformat.read(left, as_version=4))
    return left


def _run(notebook: Path, archive: Path, **given: str) -> RunOutcome:
    environ = {**os.environ, VARIABLE: SECRET}
    return run_notebook(notebook, given, job="demo", archive=archive, clock=SystemClock(), environ=environ)


def test_outputs_of_an_earlier_execution_are_not_archived(write_notebook: Callable[..., Path], archive: Path) -> None:
    notebook = write_notebook("print(note)", parameters='api_key = ""\nnote = ""')
    left = _by_papermill(notebook)
    outcome = _run(left, archive, api_key=f"env:{VARIABLE}", note="harmless")
    assert outcome.status is Status.DONE
    assert reading.holds(archive, SECRET) == []


def test_what_papermill_wrote_into_the_source_is_withheld(write_notebook: Callable[..., Path], archive: Path) -> None:
    left = _by_papermill(write_notebook("1", parameters='api_key = "env:CANARY"\nnote = ""'))
    assert _run(left, archive).status is Status.WITHHELD
    assert reading.holds(archive, SECRET) == []


def test_a_plain_value_that_papermill_wrote_is_refused(write_notebook: Callable[..., Path], archive: Path) -> None:
    """This run has no reference to the secret; the name of the parameter reveals it."""
    left = _by_papermill(write_notebook("1", parameters='api_key = ""\nnote = ""'))
    nb = nbformat.read(left, as_version=4)
    for cell in nb.cells:
        cell.source = cell.source.replace("note =", "api_key =")
    nbformat.write(nb, left)
    outcome = run_notebook(left, {}, job="demo", archive=archive, clock=SystemClock())
    assert outcome.status is Status.REFUSED
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.SECRET_AS_VALUE
    assert reading.holds(archive, SECRET) == []
