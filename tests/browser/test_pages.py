"""Panels on a page as wide as a report, and on paper."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from runbook_lib.inventories.schemas import INVENTORY
from runbook_lib.result import Kind, Result, StepRecord, Table, Verdict
from runbook_lib.widgets import panels

pytestmark = pytest.mark.browser

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
ROW = (
    *(
        "CI Signing Service for production 0002",
        "unreadable",
        "superseded, and its P12 cannot be opened any more",
        "396",
    ),
    *("2027-12-24T23:59:59Z", "2027-12-24T23:59:59Z", "unknown", "CI Signing Service for production/0002 (in use)"),
    *("in grace, roll-back possible until 2026-11-30T16:12:24Z", "another: 8b210e38-b8a9-41df-a96e-1ffe4512f6d1"),
    *("84C81215EE85D571000D6479106A099D", "6b67f840-2a30-4ef0-b521-e3b225b6724d"),
)
CUT_OFF = (
    "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > innerWidth - 20).length"
)


def write(path: Path, *, style: str) -> str:
    table = Table(name="inventory", title="Certificates", columns=INVENTORY.columns, rows=(ROW, ROW))
    result = Result(verdict=Verdict.OK, headline="Two.", tables=(table,))
    record = StepRecord(
        procedure="p", step="s", title="Look", kind=Kind.CHECK, started=NOW, finished=NOW, result=result
    )
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><body style='margin:24px'>{style}{panels.record_html(record)}")
    return path.as_uri()


def test_the_inventory_s_last_column_is_seen_on_a_page_and_on_paper(browser: Browser, tmp_path: Path):
    for medium, width in (("screen", 1000), ("print", 718)):  # 718 px: A4 less Chromium's margins
        page = browser.new_page(viewport={"width": width, "height": 1000})
        page.emulate_media(media=medium)  # type: ignore[arg-type]
        page.goto(write(tmp_path / "styled.html", style=panels.style()["text/html"]))
        assert page.evaluate(CUT_OFF) == 0, medium
        # nothing scrolls inside: paper cuts off what scrolls
        assert page.evaluate("document.querySelector('.dor-wide').scrollWidth <= innerWidth")
        page.goto(write(tmp_path / "plain.html", style="<style>td, th { white-space: nowrap }</style>"))
        assert page.evaluate(CUT_OFF) == 1, medium
        page.close()
