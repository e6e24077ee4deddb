"""Both engines leave the same notebook: outputs, counts, states, metadata. `docs/engine.md` says where they do not."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.reports.public_notebooks import FEW, STORIES
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
            [sys.executable, "-m", "tests.reports.both", engine, str(written), str(folder)],
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


def _told(nb: nbformat.NotebookNode) -> str:
    """What the notebook says, as text, without what changes from run to run."""
    cells = []
    for cell in nb.cells:
        about = cell.metadata.get("papermill", {})
        cells.append(
            {
                "source": cell.source,
                "count": cell.get("execution_count"),
                "status": [about.get("status"), about.get("exception")],
                "times": sorted(cell.metadata.get("execution", {})),
                "outputs": _merged(cell.get("outputs", [])),
            }
        )
    widgets = nb.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    whole = {
        "ended": nb.metadata.ended,
        "language": nb.metadata.get("language_info"),
        "widgets": sorted(
            _plain(json.dumps([one["model_name"], one["state"]], sort_keys=True)) for one in widgets.values()
        ),
        "cells": cells,
    }
    lines = _plain(json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False)).splitlines()
    # how deep a recursion comes depends on what called the cell
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line != before)


def _without_order(told: str) -> str:
    return "\n".join(sorted(line.rstrip(",") for line in told.splitlines()))


def _plain(text: str) -> str:
    for pattern, word in _VARIES.items():
        text = re.sub(pattern, word, text)
    return text


def _merged(outputs: list[Any]) -> list[Any]:
    """The outputs with each stream's text in one piece: where it is cut is a matter of time."""
    found: list[Any] = []
    for one in outputs:
        before = next(
            (
                other
                for other in found
                if other["output_type"] == "stream" == one["output_type"] and other["name"] == one["name"]
            ),
            None,
        )
        if before is not None and found[-1]["output_type"] == "stream":
            before["text"] += one["text"]
        else:
            found.append(json.loads(json.dumps(one)))
    return found


@pytest.mark.parametrize("number", range(len(TOLD)), ids=list(TOLD))
def test_both_engines_leave_the_same_notebook(executed: dict[str, Path], number: int) -> None:
    theirs, ours = (
        _told(nbformat.read(executed[engine] / f"{number}.ipynb", as_version=4)) for engine in ("papermill", "runbook")
    )
    if TOLD_NAMES[number] in RACES and theirs != ours:
        theirs, ours = _without_order(theirs), _without_order(ours)
    difference = "\n".join(
        difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "papermill", "runbook", "", "", 2)
    )
    assert not difference, difference[:3000]


def test_the_comparison_sees_a_difference(executed: dict[str, Path]) -> None:
    nb = nbformat.read(executed["runbook"] / "0.ipynb", as_version=4)
    before = _told(nb)
    nb.cells[0].execution_count = 99
    assert _told(nb) != before
