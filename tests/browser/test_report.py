"""A report on a desk's screen and on a telephone's: nothing is cut."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from playwright.sync_api import Browser

from runbook_lib.clock import parse_utc
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.reports.html import notebook_page
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.runrecord import RunRecord, RunStep
from runbook_lib.result import Kind, Result, Status, StepRecord, Table, Verdict
from runbook_lib.widgets import panels

pytestmark = pytest.mark.browser

AT = parse_utc("2026-11-28T12:00:00Z")
ENDS = "2026-12-08T23:59:59Z"
CUT = """[...document.querySelectorAll('body *')].filter(one => {
  const right = one.getBoundingClientRect().right;
  return right > innerWidth + 1 && !one.closest('.dor-wide, pre, svg');
}).map(one => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = Result(
        verdict=Verdict.NOTHING_TO_DO,
        headline=f"In use is `0001`, which ends on {ENDS}; it is due from 2026-11-28T20:00:00Z.",
        facts={"Public key (SHA-256 of SPKI)": "0" * 64, "End date to ask for": ENDS, "As of": "2026-11-28T12:00:00Z"},
        details=((Verdict.OK, "With an unrelated certificate", "refused, as it must be: localhost:30129 answered"),),
        tables=(
            Table(
                name="path",
                title="The way",
                columns=("step", "state", "when"),
                rows=(("Issue a new certificate", "done", "2026-11-28T11:00:00Z"), ("Delete it", "next", "now")),
            ),
        ),
    )
    step = StepRecord(
        procedure="p",
        step="s",
        title="Prove that the old certificate is refused",
        kind=Kind.CHECK,
        started=AT,
        finished=AT + timedelta(seconds=1),
        result=result,
    )
    shown = [new_output("display_data", data=dict(one)) for one in (panels.style(), panels.output_bundle(step))]
    error = RunbookError(Reason.BAD_PARAMETER, f"`name` is too long: {'x' * 80}.")
    record = RunRecord.of(
        Job(Source("nb.ipynb", b"", None), "demo", {}).started(AT),
        status=Status.FAILED,
        error=error,
        finished=AT + timedelta(seconds=2),
        clock="test",
        steps=(RunStep.of(step),) * 3,
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    page, not_drawn = notebook_page(new_notebook(cells=[new_code_cell("x", outputs=shown)]), record)
    assert not_drawn == {}
    path.write_text(page, encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 700, 1280])
def test_nothing_is_cut(browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CUT) == []
    page.close()


def test_a_wide_word_would_be_noticed(browser: Browser, report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8").replace(
        "</main>", f"<p style='white-space: nowrap'>{'x ' * 300}</p></main>"
    )
    (tmp_path / "wide.html").write_text(text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto((tmp_path / "wide.html").as_uri())
    assert not page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_no_back_quote_and_no_bare_moment_is_seen(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    words = page.inner_text("body")
    assert "`" not in words
    assert "T23:59:59Z" not in words
    assert "8 Dec 2026 (in 10 days)" in words
    assert page.locator(f"time[datetime='{ENDS}']").count() > 3
    page.close()
