"""The forms and panels of the notebooks, the only room that imports ipywidgets.

A notebook needs two names of it: `Runbook`, and for each of its further cells `runbook`, the newest one of the kernel.
Everything a step shows is an ordinary output of its cell (HTML, plain text and the record of the step), so that a saved
notebook holds it whether or not a widget can still be drawn.
"""

from typing import Any

from runbook_lib.widgets.notebook import Runbook, newest

__all__ = ["Runbook"]


def __getattr__(name: str) -> Any:
    if name == "runbook":
        return newest()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
