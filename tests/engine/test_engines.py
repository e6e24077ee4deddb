"""Both engines leave the same notebook: outputs, counts, states, metadata. `docs/engine.md` says where they do not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill  # noqa: F401 - it loads the engine
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.engine.kernel_manager import forkable
from tests.engine.public_notebooks import FEW, STORIES
from tests.engine.sameness import difference, told
from tests.soak import SOAK

TOLD = {name: STORIES[name] for name in (STORIES if SOAK else FEW)}

TOLD_NAMES = list(TOLD)

RACES = ("subprocesses", "magics", "shell cells", "file descriptors", "multiprocessing", "threads")
"""Where something is printed beside the cell: whether it comes before the cell's output is a race in both engines."""

_VARIES = {
    r"0x[0-9a-f]{6,}": "ADDRESS",
    r"/tmp/ipykernel_\d+/\d+\.py": "CELL",
    r"[0-9a-f]{32}": "ID",
    r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b": "ID",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?": "TIME",
    r"Thread-\d+": "THREAD",
    r"\(pid=\d+\)|process \d+": "PROCESS",
}


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of executed notebooks, by engine."""
    written = tmp_path_factory.mktemp("notebooks")
    for number, (name, cells) in enumerate(TOLD.items()):
        nb = new_notebook(cells=[_cell(source, f"c{n}") for n, source in enumerate(cells)])
        nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
        nb.metadata.story = name
        nbformat.write(nb, written / f"{number}.ipynb")
    found = {}
    here = tmp_path_factory.mktemp("here")  # they write files
    for engine in ("papermill", "runbook"):
        folder = found[engine] = tmp_path_factory.mktemp(engine)
        shutil.rmtree(here)
        here.mkdir()
        subprocess.run(
            [sys.executable, "-m", "tests.engine.both", engine, str(written), str(folder)],
            check=True,
            cwd=here,
            env=_environment(),
            timeout=1500,
            stderr=subprocess.DEVNULL,
        )
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def _cell(source: str, name: str) -> nbformat.NotebookNode:
    cell: nbformat.NotebookNode = new_code_cell(source, id=name)
    if tag := re.search(r"# tag: (\S+)", source):
        cell.metadata.tags = [tag[1]]
    return cell


def _told(path: Path) -> str:
    lines = told(nbformat.read(path, as_version=4), _plain).splitlines()
    # how deep a recursion comes depends on what called the cell
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line != before)


def _plain(text: str) -> str:
    for pattern, word in _VARIES.items():
        text = re.sub(pattern, word, text)
    return text


def _without_order(text: str) -> str:
    return "\n".join(sorted(line.rstrip(",") for line in text.splitlines()))


@pytest.mark.parametrize("number", range(len(TOLD)), ids=list(TOLD))
def test_both_engines_leave_the_same_notebook(executed: dict[str, Path], number: int) -> None:
    theirs, ours = (_told(executed[engine] / f"{number}.ipynb") for engine in ("papermill", "runbook"))
    if TOLD_NAMES[number] in RACES and theirs != ours:
        theirs, ours = _without_order(theirs), _without_order(ours)
    assert not difference(theirs, ours)


def test_the_comparison_sees_a_difference(executed: dict[str, Path], tmp_path: Path) -> None:
    nb = nbformat.read(executed["runbook"] / "0.ipynb", as_version=4)
    nb.cells[0].execution_count = 99
    nbformat.write(nb, tmp_path / "other.ipynb")
    assert difference(_told(executed["runbook"] / "0.ipynb"), _told(tmp_path / "other.ipynb"))


KERNELS = {
    "ours": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "another interpreter": ["/usr/bin/python9", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "another language": ["/usr/bin/R", "--args", "{connection_file}"],
}


@pytest.mark.parametrize(
    ("asked", "kernel", "engine"),
    [
        ("python3", None, "runbook"),
        ("mine", "ours", "runbook"),
        ("Mine", "ours", "runbook"),  # Jupyter's names know no case
        ("mine", "another interpreter", "papermill"),
        ("mine", "another language", "papermill"),
        ("mine", None, "papermill"),
        ("../mine", "ours", "papermill"),  # a name comes with the notebook; it is no path
    ],
)
def test_a_kernel_is_forked_only_for_what_this_python_would_run(
    asked: str, kernel: str | None, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for folder in ("kernels/mine", "mine") if kernel else ():
        assert kernel
        (tmp_path / folder).mkdir(parents=True)
        spec = {"argv": KERNELS[kernel], "display_name": "mine", "language": "python"}
        (tmp_path / folder / "kernel.json").write_text(json.dumps(spec))
    assert forkable({"kernelspec": {"name": asked}}) == (engine == "runbook")


def test_finding_a_kernel_does_not_import_ipython() -> None:
    program = (
        "import sys; from runbook_lib.engine.kernel_manager import forkable; "
        "found = forkable({}); sys.exit(f'{found} {sorted(n for n in sys.modules if n == \"IPython\")}')"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert said.stderr.strip() == "True []"
    twin = program.replace("import sys;", "import sys, IPython;")
    said = subprocess.run([sys.executable, "-c", twin], capture_output=True, text=True, timeout=60)
    assert said.stderr.strip() == "True ['IPython']"
