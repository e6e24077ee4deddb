"""The forms and panels of the notebooks, the only room that imports ipywidgets.

A notebook needs one name of it, `Runbook`. Everything a step shows is an ordinary output of its cell (HTML, plain text
and the record of the step), so that a saved notebook holds it whether or not a widget can still be drawn.
"""

from runbook_lib.widgets.notebook import Runbook

__all__ = ["Runbook"]
