"""Shows outputs as ordinary display data, never inside a widget, so that a saved notebook keeps them."""

from __future__ import annotations

import uuid
from typing import Any

import IPython.display

from runbook_lib.result import MIME
from runbook_lib.widgets.panels import Bundle, marked

_ipython: Any = IPython.display  # it has no types


def show_widget(widget: Any) -> None:
    """Show a widget below the running cell. A saved notebook does not keep it."""
    _ipython.display(widget)


def show(bundle: Bundle) -> None:
    """Show an output below the running cell."""
    _ipython.display(bundle, raw=True)


class Area:
    """A place below a cell whose content changes after a press of a button.

    Its content is an ordinary output of the cell. JupyterLab replaces it in the open notebook, so that saving the
    notebook saves what was last shown.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._id = uuid.uuid4().hex
        self._shown = bundle
        _ipython.display(bundle, raw=True, display_id=self._id)

    def update(self, bundle: Bundle) -> None:
        """Replace the content."""
        self._shown = bundle
        _ipython.update_display(bundle, raw=True, display_id=self._id)

    def mark(self, words: str) -> None:
        """Say above a record that it no longer counts, and remove its machine-readable copy."""
        if MIME in self._shown:
            self.update(marked(self._shown, words))
