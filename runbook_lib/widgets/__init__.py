"""The forms and panels of the notebooks. No other room imports ipywidgets.

A notebook imports two names: `Runbook` in its setup cell, and in each later cell `runbook`, the kernel's newest one.
Everything a step shows is an ordinary output of its cell (HTML, plain text and the record of the step), so that a saved
notebook keeps it even if no widget can be drawn.
"""

from typing import Any

from runbook_lib.widgets.notebook import Runbook, newest

__all__ = ["Runbook"]


def __getattr__(name: str) -> Any:
    if name == "runbook":
        return newest()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
