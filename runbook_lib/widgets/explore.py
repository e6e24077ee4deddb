"""The last part of a notebook: a table to sort, filter, search and save. Only a person at a notebook sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ipywidgets
import pandas as pd
from itables.widget import ITable

from runbook_lib.procedures.procedure import Procedure
from runbook_lib.schema import texts
from runbook_lib.tables import csv_bytes, tables_folder
from runbook_lib.visible import visible
from runbook_lib.widgets import panels
from runbook_lib.widgets.data_frames import Tables
from runbook_lib.widgets.outputs import Area, show, show_widget
from runbook_lib.widgets.workbook import write_workbook
from runbook_lib.words import quantity

w: Any = ipywidgets  # it has no types

_NOT_YET = "The table “{}” does not exist yet. Run the steps above, then run this cell again."


def explore(procedure: Procedure[Any] | None, name: str) -> pd.DataFrame | None:
    """Show a table of the steps that have run: a grid, and a button for each kind of file.

    Returns:
        the table; None, with a sentence in its place, if no step has made it.
    """
    tables = Tables(procedure)
    if procedure is None or name not in tables:
        show(panels.note(_NOT_YET.format(name), waits=True))
        return None
    frame = tables[name]
    show_widget(grid(frame))
    _Savers(frame, name, procedure)
    return frame.copy()  # what a person does to it must not change what the buttons save


def grid(frame: pd.DataFrame) -> Any:
    """A grid in which a person sorts, filters each column and searches. It needs no network.

    A saved notebook does not hold its rows: they are in a widget. Categories are sorted by severity.
    """
    columns, few = texts(frame), []
    for number, column in enumerate(frame.columns):
        if isinstance(frame[column].dtype, pd.CategoricalDtype):
            columns[column] = frame[column]
        if isinstance(frame[column].dtype, pd.CategoricalDtype | pd.BooleanDtype):
            few.append(number)  # few values: a list of them is the better filter
    return ITable(
        pd.DataFrame(columns),
        maxBytes=0,  # all rows, however many
        layout={"topStart": "info", "topEnd": "search", "bottomStart": "pageLength", "bottomEnd": "paging"},
        columnControl=["searchDropdown"],
        columnDefs=[{"targets": few, "columnControl": [["searchList"]]}],
        text_in_header_can_be_selected=False,  # a click on it sorts
        scrollX=True,
    )


class _Savers:
    """The buttons that write a table into files."""

    def __init__(self, frame: pd.DataFrame, name: str, procedure: Procedure[Any]) -> None:
        self._frame, self._name, self._procedure = frame, name, procedure
        rows = quantity(len(frame), "row")
        buttons = []
        for ending, write in (("csv", _write_csv), ("xlsx", write_workbook)):
            button = w.Button(description=f"Save {rows} as {ending.upper()}", layout=w.Layout(width="auto"))
            button.on_click(self._on_click(ending, write))
            buttons.append(button)
        show_widget(w.HBox(buttons))
        self._said = Area(panels.note(""))

    def _on_click(self, ending: str, write: Callable[[pd.DataFrame, Path], None]) -> Callable[[Any], None]:
        def save(button: Any) -> None:
            button.disabled = True
            try:
                self._save(ending, write)
            finally:
                button.disabled = False

        return save

    def _save(self, ending: str, write: Callable[[pd.DataFrame, Path], None]) -> None:
        session = self._procedure.session
        path = tables_folder(session.environ) / f"{self._name}-{session.clock.now():%Y%m%dT%H%M%SZ}.{ending}"
        aside = path.with_name(f".{path.name}.part")
        self._said.update(panels.note(f"Saving {path} …"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(self._frame, aside)
            aside.replace(path)
        except (OSError, ValueError) as problem:
            with suppress(OSError):
                aside.unlink()
            self._said.update(panels.note(f"Not saved: {visible(str(problem))}"))
            return
        words = f"Saved {quantity(len(self._frame), 'row')} as {path}."
        # JupyterLab downloads what such a link names
        link = f'<a href="{quote(str(path))}" download>Download {escape(path.name)}</a>'
        self._said.update({"text/html": f"<p>{escape(words)} {link}</p>", "text/plain": words})


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    columns = texts(frame)
    path.write_bytes(csv_bytes([tuple(columns), *zip(*columns.values(), strict=True)]))
