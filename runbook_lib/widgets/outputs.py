"""Outputs of a cell that a saved notebook holds: shown as ordinary display data, never inside a widget."""

from __future__ import annotations

import uuid
from typing import Any

import IPython.display

from runbook_lib.result import MIME
from runbook_lib.widgets.panels import Bundle, marked

_ipython: Any = IPython.display  # it has no types


def show_widget(widget: Any) -> None:
    """Show a widget below the running cell. It is for the hand only: what it shows is not kept."""
    _ipython.display(widget)


def show(bundle: Bundle) -> None:
    """Show an output below the running cell."""
    _ipython.display(bundle, raw=True)


class Area:
    """A place below a cell whose content is replaced when a button has been pressed.

    What stands there is an output of the cell like any other. JupyterLab replaces it in the open notebook, so that
    saving the notebook saves what was last shown.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._id = uuid.uuid4().hex
        self._shown = bundle
        _ipython.display(bundle, raw=True, display_id=self._id)

    def update(self, bundle: Bundle) -> None:
        """Show something else in its place."""
        self._shown = bundle
        _ipython.update_display(bundle, raw=True, display_id=self._id)

    def mark(self, words: str) -> None:
        """Say above a record that it no longer counts. It is no record of the open notebook any more."""
        if MIME in self._shown:
            self.update(marked(self._shown, words))
