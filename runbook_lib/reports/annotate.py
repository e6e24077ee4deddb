"""Corrects an executed notebook before it is archived: true statuses, and a banner if the run did not succeed."""

from __future__ import annotations

import re
from typing import Any

import nbformat
from nbformat import NotebookNode

from runbook_lib.reports.outcome import CellState, Judgement, code_cells
from runbook_lib.result import Status
from runbook_lib.visible import visible
from runbook_lib.words import quantity

BANNER_TAG = "runbook-banner"
PAPERMILL_ERROR_TAG = "papermill-error-cell-tag"


def drop_papermill_markers(nb: NotebookNode) -> None:
    """Remove the cells that papermill adds around an error; our banner replaces them."""
    nb.cells = [cell for cell in nb.cells if PAPERMILL_ERROR_TAG not in cell.metadata.get("tags", [])]


def clear(nb: NotebookNode) -> None:
    """Remove the outputs of an earlier execution: a run that executes nothing must not show them."""
    for cell in code_cells(nb):
        cell.outputs = []
        cell.execution_count = None
        cell.metadata.pop("execution", None)
    nb.metadata.pop("widgets", None)


def correct(nb: NotebookNode, judgement: Judgement, *, run: str, notebook: str) -> None:
    """Replace papermill's statuses by the true ones and its absolute paths by names; add a banner if not done.

    Args:
        run: the run's identifier.
        notebook: the name of the notebook that ran.
    """
    for cell, state in zip(code_cells(nb), judgement.cells, strict=True):
        times = cell.metadata.get("papermill", {})
        bad = state not in (CellState.EXECUTED, CellState.SKIPPED, CellState.NEVER_RAN, CellState.UNKNOWN)
        cell.metadata["papermill"] = {
            "start_time": times.get("start_time"),
            # for a cell in progress, papermill writes the time at which it gave up
            "end_time": times.get("end_time"),
            "duration": times.get("duration"),
            "exception": bad,
            "status": state.value,
        }
    for cell in nb.cells:
        if cell.cell_type != "code":
            cell.metadata.pop("papermill", None)
    whole = nb.metadata.setdefault("papermill", {})
    whole.update(input_path=notebook, output_path="run.ipynb", exception=judgement.status is not Status.DONE)
    nb.metadata["runbook"] = {"run": run, "status": judgement.status.value}
    if judgement.status is not Status.DONE:
        nb.cells.insert(0, banner(judgement))


def banner(judgement: Judgement) -> NotebookNode:
    """A Markdown cell that says what happened and what to do."""
    lines = [f"**This run did not succeed: {judgement.status.value}.**"]
    error: dict[str, Any] | None = judgement.error
    if error:
        lines += [
            f"**{_plain(error['title'])}** ({_plain(error['reason'])})",
            _plain(error["what"]),
            f"*What it means:* {_plain(error['means'])}",
            f"*What to do:* {_plain(error['remedy'])}",
        ]
    elif judgement.verdict is not None:
        lines.append(f"The notebook finished with the verdict *{_plain(judgement.verdict.value)}*.")
    cells = quantity(len(judgement.cells), "code cell")
    never = judgement.cells.count(CellState.NEVER_RAN)
    if never:
        lines.append(f"{never} of {cells} never ran.")
    unknown = judgement.cells.count(CellState.UNKNOWN)
    if unknown:
        lines.append(f"{unknown} of {cells} may have run; this is unknown.")
    cell: NotebookNode = nbformat.v4.new_markdown_cell("\n>\n".join(f"> {line}" for line in lines), id=BANNER_TAG)
    cell.metadata["tags"] = [BANNER_TAG]
    return cell


def _plain(text: str) -> str:
    """Escape text from elsewhere so that Markdown shows it literally (CommonMark 2.4)."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~<>&$])", r"\\\1", visible(text))
