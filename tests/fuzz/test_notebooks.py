"""A notebook's file: looked into before it is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
from hypothesis import strategies as st

from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.produce import open_job
from runbook_lib.reports.scan import default_parameters
from tests.fuzz.doors import door, fuzz, mutated, text, values

SAMPLE = (Path(__file__).parents[2] / "notebooks" / "07_troubleshoot.ipynb").read_bytes()


@fuzz(mutated(SAMPLE) | values.map(lambda one: json.dumps(one).encode("utf-8", "replace")))
def test_a_file_is_a_notebook_or_is_told(content: bytes) -> None:
    door(lambda: open_job(Job(source=Source("nb.ipynb", content, None), name="fuzz", parameters={})))


@fuzz(st.lists(st.builds("{} = {}".format, text, text) | text, max_size=4).map("\n".join))
def test_any_parameters_cell_is_understood_as_far_as_it_is_python(source: Any) -> None:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nb.cells[0].metadata.tags = ["parameters"]
    door(lambda: default_parameters(nb))
