"""The index lists every bag, also one that cannot be read, and shows what came from elsewhere as text."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import nbformat

from runbook_lib.clock import FixedClock
from runbook_lib.reports.index import write_index
from runbook_lib.reports.runner import run_notebook


def test_every_bag_is_a_row_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    notebook = tmp_path / "<script>.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), notebook)
    bags = []
    for minute in (1, 2):
        clock = FixedClock(datetime(2026, 11, 23, 12, minute, tzinfo=UTC))
        outcome = run_notebook(notebook, {}, job="small", archive=tmp_path / "archive", clock=clock)
        assert outcome.bag is not None
        bags.append(outcome.bag)
    (bags[0] / "data" / "run.json").write_text("<img src=x>")
    page = write_index(tmp_path / "archive").read_text()
    assert page.count("<tr>") == 3
    assert "2026-11-23T12:02:00Z" in page
    assert "unreadable" in page
    assert "<script" not in page
    assert "<img" not in page
    for bag in bags[1:]:
        assert f"{bag.relative_to(tmp_path / 'archive')}/data/report.html" in page


def test_an_empty_archive_has_an_index_too(tmp_path: Path) -> None:
    assert "0 runs" in write_index(tmp_path).read_text()
