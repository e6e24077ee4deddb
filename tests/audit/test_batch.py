"""The changes that a real batch made are told account by account."""

from __future__ import annotations

from collections.abc import Callable

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.archive.reader import archived_bags
from runbook_lib.audit.changes import changes
from tests.fleet.conftest import Fleet, night

__all__ = ["night"]  # its fixture is used here

CHANGE = """
from datetime import UTC, datetime
from IPython.display import display
from runbook_lib.result import *
now = datetime.now(UTC)
record = StepRecord(procedure="demo", step="s", title="Issue it", kind=Kind.CHANGE, started=now, finished=now,
                    result=Result(verdict=Verdict.OK, headline=f"Issued for {name}."))
finish = FinishRecord(procedure="demo", at=now, verdict=Verdict.OK, steps=())
for one in (record, finish):
    display({"text/plain": "-", MIME: one.model_dump(mode="json")}, raw=True)
"""


@pytest.mark.slow
def test_each_account_s_change_is_told_with_its_certificate_and_its_report(night: Callable[..., Fleet]):
    fleet = night(2)
    cells = [new_code_cell("name: str = ''", metadata={"tags": ["parameters"]}), new_code_cell(CHANGE)]
    nb = new_notebook(cells=cells)
    nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "python3"}
    nbformat.write(nb, fleet.folder / "mark.ipynb")
    fleet.settings["parameters"] = {}
    fleet.accounts = [{"account": "one", "name": "First"}, {"account": "two b", "name": "Second"}]
    code, bag, said = fleet.run()
    assert code == 0, said
    found = sorted(changes(archived_bags(fleet.archive)), key=lambda one: one.certificate)
    assert [(one.certificate, one.what, one.verdict) for one in found] == [
        ("First", "Issue it", "ok"),
        ("Second", "Issue it", "ok"),
    ]
    for one in found:
        assert (bag.place.parent / one.run / "report.html").is_file()
