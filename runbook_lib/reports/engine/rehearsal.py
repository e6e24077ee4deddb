"""A report of nothing, made once before the first fork: what libraries load and compile at first use is then there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbformat import v4
from papermill.execute import execute_notebook

from runbook_lib.clock import SystemClock
from runbook_lib.reports.engine.client import engine_for
from runbook_lib.reports.execute import Ending, Plan
from runbook_lib.reports.job import Begun, Job, Source
from runbook_lib.reports.produce import tell
from runbook_lib.reports.supervise import End

_PROSE = (
    "# Rehearsal\n\nA *word*, some `code`, [a link](#rehearsal).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n1. two\n"
)
_SHOWN = '<style>p {color: red}</style><p class="a">A <b>word</b> &amp; more<br><img alt="" src="data:,"></p>'


def rehearse() -> None:
    """Read, parameterise, judge, search and render a notebook, without executing it. Starts no thread."""
    cell = v4.new_code_cell("word = 'a'", metadata={"tags": ["parameters"]})
    shown = v4.new_code_cell("word")
    shown.outputs = [
        v4.new_output("display_data", {"text/html": _SHOWN, "text/plain": "a"}),
        v4.new_output("stream", text="\x1b[31ma\x1b[0m\n"),
    ]
    nb = v4.new_notebook(cells=[v4.new_markdown_cell(_PROSE), cell, shown])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    source = Source("rehearsal.ipynb", nbformat.writes(nb).encode(), None)
    engine_for({})
    with tempfile.TemporaryDirectory(prefix="runbook-") as name:

        def leave(plan: Plan) -> End:
            execute_notebook(plan.notebook, plan.output, parameters=plan.parameters, prepare_only=True)
            return End(Ending(), 0, False, None, "")

        job = Job(source, "rehearsal", {"word": "b"}, environ={})
        tell(job, leave, folder=Path(name), clock=SystemClock(), begun=Begun.now(SystemClock()))
