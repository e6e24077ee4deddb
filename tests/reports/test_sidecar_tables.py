"""A table next to the notebook is archived unchanged, and searched for secrets like everything else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from runbook_lib.clock import SystemClock
from runbook_lib.errors import Reason
from runbook_lib.inventories.schemas import FILES
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.reports.sidecar_tables import SidecarTables, collect_sidecars
from runbook_lib.result import Kind, Result, Status, StepRecord, TableBeside, Verdict
from runbook_lib.runner import run_notebook
from runbook_lib.schema import TEXT, Schema
from runbook_lib.tables import LongTable
from tests.conftest import Sandbox
from tests.notebook_runs import RECORDS
from tests.reports import reading

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 25, tzinfo=UTC)
SECRET = "correct-horse-battery-staple"

LEAVE = """
import os
from runbook_lib.schema import TEXT, Schema
from runbook_lib.tables import LongTable, tables_folder
def leave(*cells):
    with LongTable(tables_folder(os.environ), Schema("long", {"name": TEXT, "state": TEXT}), "A long one") as table:
        table.add([(cell, "unchecked") for cell in cells])
        return Result(verdict=Verdict.OK, headline="Left.", beside=(table.finish(unchecked=len(cells)),))
"""


def environ(**more: str) -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | more


def leave(folder: Path, *cells: str) -> TableBeside:
    with LongTable(folder / "tables", Schema("long", {"name": TEXT, "state": TEXT}), "A long one") as table:
        table.add([(cell, "unchecked") for cell in cells])
        return table.finish(unchecked=len(cells))


def found(folder: Path, table: TableBeside) -> SidecarTables:
    """What is collected from a run with one step that recorded this table."""
    result = Result(verdict=Verdict.OK, headline="Left.", beside=(table,))
    record = StepRecord(procedure="p", step="s", title="S", kind=Kind.CHECK, started=NOW, finished=NOW, result=result)
    return collect_sidecars([record], folder)


def test_an_inventory_of_folders_has_its_table_beside_it_and_a_small_notebook_and_page(
    sandbox: Sandbox, tmp_path: Path, archive: Path
) -> None:
    bundle = sandbox.ca_file.read_bytes() * 1000
    (tmp_path / "folder").mkdir()
    for number in range(3):
        (tmp_path / "folder" / f"{number}.pem").write_bytes(bundle)
    (tmp_path / "folder" / "broken.pem").write_bytes(bundle[:300])
    outcome = run_notebook(
        ROOT / "notebooks/04_inventory.ipynb",
        {"mode": "headless", "folders": [str(tmp_path / "folder")]},
        job="inventory",
        archive=archive,
        clock=SystemClock(),
        # a new user: other tests leave certificates with the ordinary one
        environ=environ(
            **sandbox.env
            | {
                "DIGICERT_ONE_API_KEY": sandbox.admin("POST", "/users")["api_key"],
                "DIGICERT_ONE_STORE": str(tmp_path / "store"),
            }
        ),
    )
    assert (outcome.status, outcome.needs_action) == (Status.DONE, 1), outcome.error
    data = outcome.bag / "data"
    assert (data / "run.ipynb").stat().st_size < 300_000
    assert (data / "report.html").stat().st_size < 300_000
    frame = FILES.frame(data / "tables/files.csv")
    assert (len(frame), (frame["reason"] == "unreadable_file").sum()) == (3001, 1)
    told = {one["file"]: one for one in reading.record(outcome.bag)["tables"]}
    file = "tables/files.csv"
    assert (told[file]["rows"], told[file]["unchecked"]) == (3001, 0)
    assert told[file]["sha256"] == hashlib.sha256((data / file).read_bytes()).hexdigest()
    assert f'<a href="{file}">' in reading.page(outcome.bag)
    assert "Certificates by the month they end in" in reading.page(outcome.bag)


def test_one_that_was_changed_fails_the_run_and_is_not_archived(run: Callable[..., RunOutcome]) -> None:
    change = 'step("look", leave("one"))\n(tables_folder(os.environ) / "long.csv").write_text("x")'
    outcome = run(RECORDS + LEAVE, change, "finish(Verdict.OK)")
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.TABLE_CHANGED
    assert "tables/long.csv" in outcome.error["what"]
    assert not (outcome.bag / "data/tables/long.csv").exists()


def test_a_secret_in_it_withholds_it(write_notebook: Callable[..., Path], archive: Path) -> None:
    words = SECRET.split("-")
    path = write_notebook(
        f"{RECORDS}{LEAVE}step('look', leave('-'.join({words})))", "finish(Verdict.OK)", parameters='key = "env:KEY"'
    )
    outcome = run_notebook(path, {}, job="t", archive=archive, clock=SystemClock(), environ=environ(KEY=SECRET))
    assert outcome.status is Status.WITHHELD
    assert "tables/long.csv" in set(reading.record(outcome.bag)["scan"]["withheld"])
    assert reading.holds(outcome.bag, SECRET) == []
    assert not (outcome.bag / "data/tables").exists()


# --- what is collected ------------------------------------------------------------------------------------------------


def test_what_is_there_as_it_was_left_is_collected(tmp_path: Path) -> None:
    left = found(tmp_path, leave(tmp_path, "one", "two"))
    assert left.problem is None
    assert [one.file for one in left.entries] == ["tables/long.csv"]
    assert left.contents["tables/long.csv"] == b"name,state\r\none,unchecked\r\ntwo,unchecked\r\n"


def test_what_is_gone_or_linked_elsewhere_is_missed(tmp_path: Path) -> None:
    table = leave(tmp_path, "one")
    (tmp_path / "tables/long.csv").rename(tmp_path / "elsewhere.csv")
    assert "tables/long.csv" in str(found(tmp_path, table).problem)
    (tmp_path / "tables/long.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert "tables/long.csv" in str(found(tmp_path, table).problem)
    (tmp_path / "tables/long.csv").unlink()
    (tmp_path / "elsewhere.csv").rename(tmp_path / "tables/long.csv")
    assert found(tmp_path, table).problem is None
