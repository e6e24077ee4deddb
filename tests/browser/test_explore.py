"""*Explore* in a real JupyterLab: no network, sort, filter, search, save, examples and a plot."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import nbformat
import openpyxl
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page, expect

from tests.archive import bags, many
from tests.browser.conftest import STEP_SECONDS, Desk, Lab
from tests.browser.test_walk import request_some
from tests.conftest import Sandbox

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

Open = Callable[[str], Desk]

STEPS = (
    *("Ask DigiCert ONE, and read the store", "Show the state of each certificate"),
    *("Read the folders", "What to do, and with which notebook"),
)
MANY = """
import pandas as pd
from runbook_lib.widgets.explore import grid
numbers = range(100_000)
grid(pd.DataFrame({
    "name": [f"signer {number}" for number in numbers],
    "state": pd.Categorical(["urgent", "healthy"] * 50_000, ["healthy", "urgent"], ordered=True),
    "days left": pd.array([number % 400 for number in numbers], dtype="Int64"),
    **{f"column {number}": "x" * 30 for number in range(9)},
}))
"""


def run_cell(page: Page, cell: Locator) -> None:
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")


def names(grid: Locator) -> list[str]:
    """The first column of the rows that the grid shows."""
    return grid.locator("tbody tr td:first-child").all_inner_texts()


def test_an_analyst_explores_the_inventory(desk: Open, lab: Lab, lab_sandbox: Sandbox):
    request_some(lab_sandbox, {"Batch importer": 12, "Edge gateway": 60, "Nightly signer": 250, "Old signer": 45})
    one = desk("04_inventory")
    away: list[str] = []
    one.page.on("request", lambda request: away.append(request.url) if "127.0.0.1" not in request.url else None)
    one.run_all()
    page, cells = one.page, one.page.locator(".jp-CodeCell")
    expect(cells.nth(-2)).to_contain_text("Run the steps above, then run this cell again.")
    expect(page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(0)
    one.button("Start").click()
    for title in STEPS:
        one.do(title)
    run_cell(page, cells.nth(-2))
    grid = page.locator(".dt-container").first
    grid.wait_for(timeout=STEP_SECONDS * 1000)
    assert len(names(grid)) == 4
    search = grid.locator(".dt-search input")
    search.fill("gateway")
    expect(grid.locator("tbody tr")).to_have_count(1)
    search.fill("")
    head = grid.locator("thead th")
    head.filter(has_text="days left").first.click()
    ordered = names(grid)
    assert ordered.index("Batch importer") < ordered.index("Edge gateway") < ordered.index("Nightly signer")
    for kind in ("CSV", "XLSX"):
        with page.expect_download() as saved:
            one.button(f"Save 4 rows as {kind}").click()
            page.get_by_role("link", name=f".{kind.lower()}").click()
        (path,) = (lab.folder / "tables").glob(f"inventory-*.{kind.lower()}")
        assert Path(saved.value.path()).read_bytes() == path.read_bytes()
    with next((lab.folder / "tables").glob("*.csv")).open(newline="") as stream:
        assert {row["name"] for row in csv.DictReader(stream)} == set(ordered)
    book = openpyxl.load_workbook(next((lab.folder / "tables").glob("*.xlsx")))
    assert {row[0] for row in book.worksheets[0].iter_rows(min_row=2, values_only=True)} == set(ordered)

    run_cell(page, cells.nth(-1))
    outputs = cells.nth(-1).locator(".jp-OutputArea-output")
    expect(outputs.locator("img")).to_be_visible(timeout=STEP_SECONDS * 1000)
    expect(outputs.locator("table")).to_have_count(3)
    expect(cells.nth(-1)).not_to_contain_text("Traceback")
    one.picture("04_inventory-explore")
    saved_notebook = one.save()
    assert away == []
    grid_outputs = saved_notebook["cells"][-3]["outputs"]
    assert "Batch importer" not in str(grid_outputs)  # the rows are in the widget


def test_an_auditor_explores_the_changes(desk: Open, tmp_path: Path):
    archive = tmp_path / "archive"
    for day in range(3):
        at = bags.AT - timedelta(days=20 * (3 - day))
        told = many.Told("issue", at, changes=(("Request it", "ok", "DigiCert ONE issued “Signer”."),))
        bags.put(archive, {"run.json": json.dumps(told.record()).encode()}, job="issue", at=at)
    one = desk("06_archive")
    one.run_all()
    one.fill(Archive=str(archive))
    one.button("Start").click()
    for title in ("Verify the archive", "What ran", "Who changed what", "What is missing", "What is different"):
        one.do(title)
    cells = one.page.locator(".jp-CodeCell")
    run_cell(one.page, cells.nth(-2))
    expect(one.page.locator(".dt-container tbody").last.locator("tr")).to_have_count(3, timeout=STEP_SECONDS * 1000)
    run_cell(one.page, cells.nth(-1))
    outputs = cells.nth(-1).locator(".jp-OutputArea-output")
    expect(outputs.locator("img")).to_be_visible(timeout=STEP_SECONDS * 1000)
    expect(outputs.locator("table")).to_have_count(2)
    expect(cells.nth(-1)).not_to_contain_text("Traceback")


def test_a_hundred_thousand_rows_are_sorted_filtered_and_searched(desk: Open, lab: Lab):
    notebook = new_notebook(cells=[new_code_cell(MANY)])
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, lab.folder / "many.ipynb")
    page = desk("many").page
    begun = time.monotonic()
    run_cell(page, page.locator(".jp-CodeCell").first)
    grid = page.locator(".dt-container").first
    expect(grid).to_contain_text("100,000 entries", timeout=60_000)
    shown = time.monotonic()
    search = grid.locator(".dt-search input")
    search.fill("signer 99999")
    expect(grid.locator("tbody tr")).to_have_count(1, timeout=20_000)
    found = time.monotonic()
    search.fill("")
    expect(grid.locator("tbody tr")).to_have_count(10, timeout=20_000)
    begin_sort = time.monotonic()
    grid.locator("thead th").filter(has_text="state").first.click()
    expect(grid.locator("tbody tr").first).to_contain_text("healthy", timeout=20_000)
    print(
        f"shown after {shown - begun:.1f} s, search {found - shown:.1f} s, sort {time.monotonic() - begin_sort:.1f} s"
    )
