"""Small notebooks of our own, and runs of them with real kernels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from runbook_lib.clock import SystemClock
from runbook_lib.reports.runrecord import Engine
from runbook_lib.runner import RunOutcome, run_notebook
from tests.archive.bags import bare_path

RECORDS = """
from datetime import UTC, datetime
from IPython.display import display
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.result import *
now = datetime.now(UTC)
def emit(record):
    display({"text/html": f"<p>{record.record}</p>", "text/plain": "-", MIME: record.model_dump(mode="json")}, raw=True)
def step(slug, result=None, error=None):
    emit(StepRecord(procedure="demo", step=slug, title=slug.title(), kind=Kind.CHECK, started=now, finished=now,
                    result=result, error=error.as_dict() if error else None))
def finish(verdict, needs_action=0):
    emit(FinishRecord(procedure="demo", at=now, verdict=verdict, steps=(), needs_action=needs_action))
"""
"""A cell with which a notebook emits records as ours do."""

CELL_TIMEOUT = 60


@pytest.fixture
def write_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Writes a notebook: a title, the parameters' cell (None: no such cell), and a code cell for each source."""

    def write(*sources: str, parameters: str | None = "p = 1", kernel: str = "python3", name: str = "nb.ipynb") -> Path:
        cells = [new_markdown_cell("# A small notebook")]
        if parameters is not None:
            cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        cells += [new_code_cell(source) for source in sources]
        nb = new_notebook(cells=cells)
        nb.metadata.kernelspec = {"name": kernel, "language": "python", "display_name": kernel}
        nbformat.write(nb, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH that holds what verify.sh needs, and nothing else: no Python, nothing of ours."""
    return bare_path(tmp_path_factory.mktemp("tools") / "bin")


@pytest.fixture(params=[pytest.param("papermill", marks=pytest.mark.soak), "runbook"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """What executes `run`'s notebooks: `make soak` holds every test that takes `run` for both engines."""
    found: Engine = request.param
    return found


@pytest.fixture
def run(write_notebook: Callable[..., Path], archive: Path, engine: Engine) -> Callable[..., RunOutcome]:
    """Writes a notebook of these sources and runs it into `archive`."""

    def go(
        *sources: str,
        given: dict[str, Any] | None = None,
        parameters: str | None = "p = 1",
        env: dict[str, str] | None = None,
        kernel: str = "python3",
        cell_timeout: int = CELL_TIMEOUT,
        deadline: int = 3600,
    ) -> RunOutcome:
        notebook = write_notebook(*sources, parameters=parameters, kernel=kernel)
        return run_notebook(
            notebook,
            given or {},
            job="demo",
            archive=archive,
            clock=SystemClock(),
            environ={**os.environ, **(env or {})},
            cell_timeout=cell_timeout,
            deadline=deadline,
            engine=engine,
        )

    return go
