"""The engine without the rest of the project, as any papermill user uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

import runbook_lib

PACKAGE = Path(runbook_lib.__file__).parent
NEEDED = ("__init__.py", "errors.py", "catalogue.py", "descendants.py", "programs.py")

PROGRAM = """
import runbook_lib, sys
from papermill.exceptions import PapermillExecutionError
from runbook_lib.engine.notebook_call import NotebookCall
from runbook_lib.engine.forkserver import ForkServer

def executed(name, **options):
    arguments = {"input_path": f"{name}.ipynb", "output_path": f"{name}.out.ipynb", "parameters": {"p": 5}}
    arguments |= {path: f"{sys.argv[1]}/{arguments[path]}" for path in ("input_path", "output_path")}
    return server.perform(NotebookCall(arguments, **options))

if __name__ == "__main__":
    with ForkServer(preload=["colorsys"]) as server:
        assert executed("good") is None
        for name, options in (("bad", {}), ("slow", {"seconds": 1})):
            try:
                executed(name, **options)
            except (PapermillExecutionError, InterruptedError) as error:
                print(type(error).__name__)
"""


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python that finds the engine, and nothing of ours but what it may import."""
    (tmp_path / "alone/runbook_lib").mkdir(parents=True)
    for name in NEEDED:
        shutil.copy(PACKAGE / name, tmp_path / "alone/runbook_lib")
    shutil.copytree(PACKAGE / "engine", tmp_path / "alone/runbook_lib/engine")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "alone")}


def _printed(path: Path) -> list[str]:
    nb = nbformat.read(path, as_version=4)
    return [output.text for cell in nb.cells for output in cell.get("outputs", []) if "text" in output]


def test_a_fork_server_needs_none_of_our_reports(
    alone: dict[str, str], tmp_path: Path, write_notebook: Callable[..., Path]
) -> None:
    write_notebook("import sys; print(p, 'colorsys' in sys.modules)", name="good.ipynb")
    write_notebook("print('so far')", "1 / 0", "print('never')", name="bad.ipynb")
    write_notebook("print('so far', flush=True)", "import time; time.sleep(60)", name="slow.ipynb")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=tmp_path,
        env=alone,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.stdout) == ("", "PapermillExecutionError\nInterruptedError\n")
    assert _printed(tmp_path / "good.out.ipynb") == ["5 True\n"]
    assert _printed(tmp_path / "bad.out.ipynb") == _printed(tmp_path / "slow.out.ipynb") == ["so far\n"]


def test_papermill_finds_the_engine(alone: dict[str, str], tmp_path: Path, write_notebook: Callable[..., Path]) -> None:
    notebook = write_notebook("print(p)")
    command: list[str | Path] = [
        Path(sys.executable).with_name("papermill"),
        "--engine",
        "runbook",
        notebook,
        tmp_path / "out.ipynb",
    ]
    subprocess.run([*command, "-p", "p", "7"], cwd=tmp_path, env=alone, check=True, capture_output=True, timeout=60)
    assert _printed(tmp_path / "out.ipynb") == ["7\n"]
