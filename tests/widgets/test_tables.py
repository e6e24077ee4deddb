"""`runbook.tables` and `runbook.explore`: pandas for a person, nothing of it in a headless run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.widgets import Runbook
from tests.reference import WITH_TABLES
from tests.widgets.conftest import Cells
from tests.widgets.walls import Walls


def counted(**given: Any) -> Runbook:
    runbook = Runbook(Walls, {"mode": "headless", **given})
    runbook.step(Walls.count)
    return runbook


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_table_of_a_step_is_a_frame(cells: Cells):
    runbook = counted(requests_per_second=4)
    assert list(runbook.tables) == ["walls"]
    frame = runbook.tables["walls"]
    assert [str(kind) for kind in frame.dtypes] == ["string", "category", "Int64", "datetime64[us, UTC]", "boolean"]
    assert list(frame["name"]) == ["'=wall 0", "'=wall 1", "'=wall 2", "<b>last</b>"]
    assert frame.iloc[3].isna().sum() == 3


def test_a_long_table_is_complete_although_the_report_shows_its_first_rows(cells: Cells, tmp_path: Path):
    runbook = counted(requests_per_second=501)
    assert "3 of 501" in cells.text
    assert list(runbook.tables) == ["walls"]
    assert len(runbook.tables["walls"]) == 501
    assert dict(runbook.tables["walls"].dtypes) == dict(counted(requests_per_second=500).tables["walls"].dtypes)
    file = tmp_path / "tables" / "walls.csv"
    file.write_bytes(file.read_bytes().replace(b"wall 7", b"wall 8"))
    with pytest.raises(RunbookError) as changed:
        runbook.tables["walls"]
    assert changed.value.reason is Reason.TABLE_CHANGED
    file.unlink()
    with pytest.raises(RunbookError, match="missing"):
        runbook.tables["walls"]


def test_a_table_that_no_step_made_is_named_with_those_there_are(cells: Cells):
    runbook = counted(requests_per_second=1)
    assert "floors" not in runbook.tables
    assert runbook.tables.get("floors") is None
    with pytest.raises(KeyError, match=r"floors.*walls"):
        runbook.tables["floors"]
    assert list(Runbook(Walls, {}).tables) == []


def test_the_tables_of_all_notebooks_have_names_of_their_own():
    names = [schema.name for procedure in WITH_TABLES for schema in procedure.tables]
    assert len(set(names)) == len(names)


def test_headlessly_nothing_is_shown_and_pandas_is_not_imported():
    code = """
import sys
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance()
from runbook_lib.widgets import Runbook
from tests.widgets.walls import Walls

def imported():
    print([name for name in ("pandas", "itables", "anywidget", "openpyxl", "ipywidgets") if name in sys.modules])

runbook = Runbook(Walls, {"mode": "headless", "requests_per_second": 3})
runbook.step(Walls.count)
assert "walls" in runbook.tables
assert runbook.explore("walls") is None
imported()
runbook.tables["walls"]
imported()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-2:] == ["[]", "['pandas']"], done.stderr


def test_before_its_step_a_sentence_says_what_to_do(cells: Cells):
    runbook = Runbook(Walls, {})
    assert runbook.explore("walls") is None
    assert "Run the steps above, then run this cell again." in cells.text
