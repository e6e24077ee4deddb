"""Standard streams that are full, closed or not read cost no command its result, and no error is a bare traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbook_lib import cli
from runbook_lib.catalogue import Exit
from runbook_lib.cli.root import run_words

RUNBOOK = f"{sys.executable} -m runbook_lib.cli"
FULL = Path("/dev/full")

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    nb = new_notebook(cells=[new_code_cell("import pathlib; pathlib.Path('ran').write_text('x')")])
    nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(nb, tmp_path / "nb.ipynb")
    return tmp_path / "nb.ipynb"


def _shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    environ = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "streams",
    [
        *("2>/dev/full", ">/dev/full", ">/dev/full 2>&1", "2>&-", ">&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"),
        *("| true", "2>&1 | true"),
    ],
)
def test_a_run_is_sealed_whatever_becomes_of_its_streams(notebook: Path, streams: str) -> None:
    said = _shell(f"{RUNBOOK} run nb.ipynb --archive a {streams}", notebook.parent)
    assert "Traceback" not in said.stderr
    assert "Exception ignored" not in said.stderr
    assert said.returncode == 0
    assert (notebook.parent / "ran").exists()
    assert len(list(notebook.parent.glob("a/*/*/*/*-nb"))) == 1


@pytest.mark.parametrize("words", ["--help", "run --help", "archive head a"])
def test_a_command_whose_answer_cannot_be_written_says_so(notebook: Path, words: str) -> None:
    assert _shell(f"{RUNBOOK} run nb.ipynb --archive a", notebook.parent).returncode == 0
    said = _shell(f"{RUNBOOK} {words} >/dev/full", notebook.parent)
    assert (said.returncode, said.stderr) == (1, "Cannot write to standard output: No space left on device.\n")
    assert _shell(f"{RUNBOOK} {words} | head -1", notebook.parent).stderr == ""


@pytest.mark.parametrize("archive", ["''", "nb.ipynb", "nb.ipynb/a", "/dev/full", "/dev/null/a", "/proc/a"])
def test_an_archive_that_cannot_be_written_is_refused_before_anything_runs(notebook: Path, archive: str) -> None:
    said = _shell(f"{RUNBOOK} run nb.ipynb --archive {archive}", notebook.parent)
    assert said.returncode in (1, 2)
    assert "Traceback" not in said.stderr
    assert said.stderr
    assert not (notebook.parent / "ran").exists()


def test_an_error_that_nobody_expects_is_told_by_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runbook_lib.cli import outcome

    def fail(*_: object, **__: object) -> None:
        raise KeyError("a secret value")

    monkeypatch.setattr(outcome, "run_one", fail)
    assert run_words(["run", "inventory"]) == Exit.UNEXPECTED
    told = capsys.readouterr().err
    assert "[unexpected]" in told
    assert "KeyError at runbook_lib/cli/run.py:" in told
    assert "a secret value" not in told
    assert run_words(["-v", "run", "inventory"]) == Exit.UNEXPECTED
    told = capsys.readouterr().err
    assert "in fail" in told
    assert "a secret value" not in told


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5, 1.0, 2.0])
def test_ctrl_c_at_any_moment_is_no_traceback(notebook: Path, seconds: float) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    program = [sys.executable, "-m", "runbook_lib.cli", "run", "nb.ipynb", "--archive", "a"]
    with subprocess.Popen(program, cwd=notebook.parent, env=environ, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "running nb.ipynb" in running.stderr.readline()
        time.sleep(seconds)
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=60)[1]
    assert "Traceback" not in told
    assert running.returncode in (0, 1)
    if running.returncode == 0 or (notebook.parent / "ran").exists():
        assert len(list(notebook.parent.glob("a/*/*/*/*-nb"))) == 1


def test_ctrl_c_while_a_string_is_executed_ends_with_its_exit_code(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "papermill.py").write_text("exec('raise KeyboardInterrupt')")  # what a run imports
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(cli.__file__).parents[2])])}
    program = [sys.executable, "-m", "runbook_lib.cli", "run", "nb.ipynb", "--archive", "a"]
    done = subprocess.run(program, cwd=notebook.parent, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "Interrupted." in done.stderr) == (1, True), done.stderr
