"""A table to sort, filter, search and save: a grid of all rows, a CSV and a workbook that runs nothing."""

from __future__ import annotations

import csv
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from runbook_lib.widgets.explore import explore, grid
from runbook_lib.widgets.workbook import ROWS_MAX, write_workbook
from tests.widgets.conftest import Cells, w, widgets
from tests.widgets.test_tables import counted
from tests.widgets.walls import WALLS


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def explored(**given: Any) -> pd.DataFrame:
    frame = explore(counted(**given)._way.procedure, "walls")
    assert frame is not None
    return frame


def save(words: str) -> Path:
    """Press a button; the file that it wrote."""
    next(one for one in widgets(w.Button) if one.description == words).click()
    (path,) = Path("tables").glob(f"walls-*.{words.rpartition(' ')[2].lower()}")
    return path


def test_the_grid_has_all_rows_and_shows_no_cell_as_html(cells: Cells):
    table = grid(explored(requests_per_second=600))
    args = table.get_state()["_dt_args"]
    assert "downsampling_warning" not in args
    assert args["data_json"].count("wall ") == 599
    assert "&lt;b&gt;last" in args["data_json"]
    assert "<b>" not in args["data_json"]
    assert "NA" not in args["data_json"]


def test_the_grid_of_no_rows_is_a_grid(cells: Cells):
    assert grid(explored(requests_per_second=1).head(0)).get_state()["_dt_args"]["data_json"] in ("[]", "")


def test_a_button_saves_all_rows_as_csv(cells: Cells):
    frame = explored(requests_per_second=4)
    asked = frame.copy()
    frame["name"] = "changed since by a person"
    path = save("Save 4 rows as CSV")
    assert_frame_equal(WALLS.frame(path), asked)
    assert path.read_text().splitlines()[1] == "'=wall 0,bare,0,2027-01-02T03:04:05Z,yes"
    assert f"Saved 4 rows as {path}." in cells.text
    assert f'href="{path}" download' in cells.html


def test_a_button_saves_all_rows_as_a_workbook_with_types_and_no_formula(cells: Cells):
    explored(requests_per_second=4)
    sheet: Any = openpyxl.load_workbook(save("Save 4 rows as XLSX")).active
    head, first, *_, last = sheet.iter_rows()
    assert [cell.value for cell in head] == list(WALLS.columns)
    assert [cell.value for cell in first] == ["'=wall 0", "bare", 0, datetime(2027, 1, 2, 3, 4, 5), True]  # noqa: DTZ001
    assert "UTC" in first[3].number_format
    assert [cell.value for cell in last] == ["<b>last</b>", "bare", None, None, None]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n", "d", "b"}


def test_what_cannot_be_saved_is_said_and_leaves_no_file(cells: Cells):
    explored(requests_per_second=4)
    Path("tables").write_text("not a folder")
    next(one for one in widgets(w.Button) if one.description.endswith("CSV")).click()
    assert "Not saved: " in cells.text
    assert not list(Path().rglob("*walls-*"))


HOSTILE = [
    *("=1+1", "+1", "-2+3", "@SUM(1)", "\t=1", "a;=1", '=HYPERLINK("http://x")'),
    *("\x00\x1b[1m", "＝1", "x" * 40_000),
]


def test_text_of_an_analyst_s_own_frame_is_disarmed_too_and_cut_visibly(tmp_path: Path):
    own = pd.DataFrame({"=head": HOSTILE, "when": pd.to_datetime(["1899-12-31"] * len(HOSTILE), utc=True)})
    write_workbook(own, tmp_path / "own.xlsx")
    sheet: Any = openpyxl.load_workbook(tmp_path / "own.xlsx").active
    cells = [cell for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} == {"s"}
    assert not any(cell.value.startswith("=") for cell in cells)
    assert sheet["A11"].value == "x" * 32_766 + "…"
    assert sheet["B2"].value == "1899-12-31T00:00:00Z"  # Excel has no such date


def test_more_rows_than_a_sheet_holds_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="1,048,575 rows"):
        write_workbook(pd.DataFrame({"n": range(ROWS_MAX + 1)}), tmp_path / "big.xlsx")
    assert not list(tmp_path.iterdir())


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.soak
def test_libreoffice_opens_both_files_and_computes_nothing(cells: Cells, tmp_path: Path):
    own = pd.DataFrame({"text": HOSTILE[:-1], "when": datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC), "n": 7})
    write_workbook(own, tmp_path / "own.xlsx")
    explored(requests_per_second=4)
    for path in (tmp_path / "own.xlsx", save("Save 4 rows as CSV")):
        out = tmp_path / "out" / path.stem
        command = ["soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "csv"]
        subprocess.run([*command, "--outdir", out, path], check=True, capture_output=True, timeout=120)
        (converted,) = out.iterdir()
        with converted.open(encoding="utf-8", newline="") as stream:
            _, *rows = csv.reader(stream)
        assert [row[0] for row in rows][:2] in (["'=1+1", "+1"], ["'=wall 0", "'=wall 1"])
        assert all("2027-01-02" in row[1] or "2027-01-02" in row[3] or not any(row[2:]) for row in rows)
