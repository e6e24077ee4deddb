"""The notebook in the bag of a clicked session: what each step showed, and the cells that the person added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import nbformat
from nbformat import NotebookNode

from runbook_lib.notebooks import NOTEBOOK_FOLDER
from runbook_lib.reports.clicked_session import ClickedSession, step_record
from runbook_lib.reports.outcome import CellState, code_cells
from runbook_lib.session_messages import Bundle, Ran

ADDED = "added-by-user"
"""The tag of a cell that the shipped notebook does not have."""

_GIVEN = "injected-parameters"


def session_notebook(
    session: ClickedSession, nb: NotebookNode, given: dict[str, Any]
) -> tuple[NotebookNode, tuple[CellState, ...]]:
    """Fill in what a session showed.

    Args:
        nb: the notebook as it was at Start, without outputs. It is changed.
        given: the parameters that differ from its own.

    Returns:
        The notebook, and the state of each code cell.
    """
    _mark_added(nb, session.begun.notebook)
    for cell in nb.cells:
        cell.metadata.setdefault("tags", [])  # as papermill does when it loads a notebook
    nb.metadata.setdefault("papermill", NotebookNode())
    if given:
        from papermill.parameterize import parameterize_notebook

        nb = parameterize_notebook(nb, given)
    places = _Places(nb)
    for ran in session.ran:
        places.ran(ran)
    places.show(session.begun.cell, session.begun.shown)
    for step in session.begun.steps:
        ended = [message for message in session.ended if message.step == step.slug]
        if ended:
            failed = step_record(ended[-1]).error is not None
            state = CellState.FAILED if failed else CellState.EXECUTED
            places.show(ended[-1].cell, [message.shown for message in ended], state)
    if session.ended and session.ended[-1].last_cell:
        places.show(session.ended[-1].last_cell, [session.ended[-1].summary])
    return nb, tuple(places.state(cell) for cell in code_cells(nb))


def _mark_added(nb: NotebookNode, name: str) -> None:
    """Mark the cells of the file that the shipped notebook of this name does not have."""
    path = NOTEBOOK_FOLDER / f"{name}.ipynb"
    if not path.is_file():
        return
    shipped = {cell.source for cell in nbformat.read(path, as_version=4).cells}
    for cell in nb.cells:
        if cell.source not in shipped and "parameters" not in cell.metadata.get("tags", []):
            _tag(cell)


def _tag(cell: NotebookNode) -> None:
    cell.metadata["tags"] = [*cell.metadata.get("tags", []), ADDED]


class _Places:
    """Finds a cell by its source, and adds the ones that the file does not have."""

    def __init__(self, nb: NotebookNode) -> None:
        self._nb = nb
        self._known: dict[str, NotebookNode] = {}
        for cell in code_cells(nb):
            self._known.setdefault(cell.source.strip(), cell)
        first = [cell for cell in nb.cells if {"parameters", _GIVEN} & set(cell.metadata.get("tags", []))]
        self._after: NotebookNode | None = first[-1] if first else None
        self._states: dict[str, CellState] = {}

    def ran(self, ran: Ran) -> None:
        """Put the outputs of a run below its cell. A cell that the file does not have is added for each of its runs."""
        cell = self._known.get(ran.source.strip())
        if cell is None:
            cell = self._add(ran.source)
        # a button and the sentence next to it are no result
        kept = [output for output in ran.outputs if not ran.ours or output["output_type"] in ("stream", "error")]
        cell.outputs, cell.execution_count = [nbformat.from_dict(output) for output in kept], ran.number
        self._after = cell
        if any(output.output_type == "error" for output in cell.outputs):
            self._states[cell.id] = CellState.FAILED
        elif not ran.ours:
            self._states[cell.id] = CellState.EXECUTED

    def show(self, source: str, bundles: Iterable[Bundle], state: CellState = CellState.EXECUTED) -> None:
        """Put what a step showed below its cell, in place of its button."""
        cell = self._known.get(source.strip())
        if cell is None:
            cell = self._known[source.strip()] = self._add(source)
        cell.outputs += [nbformat.v4.new_output("display_data", data=dict(bundle)) for bundle in bundles]
        self._states[cell.id] = state

    def _add(self, source: str) -> NotebookNode:
        cell: NotebookNode = nbformat.v4.new_code_cell(source)
        _tag(cell)
        places = [number for number, other in enumerate(self._nb.cells, 1) if other is self._after]
        self._nb.cells.insert(places[0] if places else len(self._nb.cells), cell)
        self._after = cell
        return cell

    def state(self, cell: NotebookNode) -> CellState:
        """What became of a code cell. The injected cell says what the form set; it did not run."""
        if not cell.source.strip() or _GIVEN in cell.metadata.get("tags", []):
            return CellState.SKIPPED
        return self._states.get(cell.id, CellState.NEVER_RAN)
