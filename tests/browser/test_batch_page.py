"""The page of a batch of five thousand accounts, for a reader who looks for one of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from runbook_lib.catalogue import Reason
from runbook_lib.clock import FixedClock
from runbook_lib.fleet import rollup
from runbook_lib.fleet.ledger import Kept
from runbook_lib.reports.runrecord import NotebookFile, RunRecord, Who
from runbook_lib.result import Status, Verdict

pytestmark = pytest.mark.browser

NOW = datetime(2026, 11, 23, 6, 17, tzinfo=UTC)
ACCOUNTS = 5000
HOSTILE = "<img src=x onerror=alert(1)> & \u202egnp.exe"


def row(number: int) -> rollup.AccountRow:
    name = HOSTILE if number == 7 else f"account {number:04}"
    failed = number % 100 == 3
    if number == 11:
        return rollup.AccountRow(name, None, "not started when SIGINT arrived")
    entry = Kept(
        account=name,
        slug=f"a{number}",
        inputs="",
        attempt=1,
        ended=True,
        run="",
        status=Status.FAILED if failed else Status.DONE,
        verdict=Verdict.UNCHECKED if failed else Verdict.OK,
        exit=30 if failed else 0,
        needs_action=2 if number % 50 == 0 else 0,
        started=NOW,
        duration=number / 100,
        host="here",
        reason=Reason.API_KEY_REFUSED if failed else "",
        seen="DigiCert ONE refused the API key: HTTP 401." if failed else "`main` ends 2026-12-03T23:59:59Z.",
        files=("report.html",),
    )
    return rollup.AccountRow(name, entry, "")


def record_of(told: list[rollup.AccountRow]) -> RunRecord:
    status, verdict, code, error = rollup.verdict_on(told, Status.INTERRUPTED)
    fields: dict[str, Any] = {
        "run": "00000000-0000-4000-8000-000000000000",
        "job": "batch-night",
        "status": status,
        "verdict": verdict,
        "exit": int(code),
        "needs_action": sum(one.needs_action for one in told),
        "error": error.as_dict() if error else None,
        "started": NOW,
        "finished": NOW,
        "duration": 312.5,
        "clock": FixedClock(NOW).source,
        "fault_seed": "",
        "notebook": NotebookFile(name="04_inventory.ipynb", sha256="0" * 64, git=None),
        "who": Who(user="digicert", host="runner"),
        "software": {"python": "3.11"},
    }
    return RunRecord.model_construct(**fields)


@pytest.fixture(scope="module")
def page_of_5000(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = [row(number) for number in range(ACCOUNTS)]
    record = record_of(told)
    path = tmp_path_factory.mktemp("batch") / "report.html"
    path.write_text(rollup.batch_page(record, told, {"Engine": "local"}), encoding="utf-8")
    return path


def opened(browser: Browser, path: Path, *, javascript: bool = True) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=javascript, offline=True)
    page = context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(path.as_uri())
    return page


def test_an_account_is_found_by_a_word_and_its_report_is_a_link(browser: Browser, page_of_5000: Path):
    page = opened(browser, page_of_5000)
    assert page.inner_text("#shown") == "5,000 of 5,000 accounts"
    page.fill("#words", "4711")
    assert page.inner_text("#shown") == "1 of 5,000 accounts"
    link = page.locator("#accounts tbody tr:visible a")
    assert (link.inner_text(), link.get_attribute("href")) == ("account 4711", "accounts/a4711/report.html")
    page.fill("#words", "refused the key 401")
    assert page.inner_text("#shown") == "50 of 5,000 accounts"
    page.fill("#words", "no such word")
    assert page.inner_text("#shown") == "0 of 5,000 accounts"


def test_a_row_has_dates_for_people_and_code(browser: Browser, page_of_5000: Path):
    page = opened(browser, page_of_5000)
    page.fill("#words", "4711")
    cell = page.locator("#accounts tbody tr:visible td:nth-child(5)")
    assert cell.inner_text() == "main ends 3 Dec 2026 (in 10 days)."
    assert cell.locator("time").get_attribute("datetime") == "2026-12-03T23:59:59Z"
    assert cell.locator("code").inner_text() == "main"
    assert page.locator(".counts li").all_inner_texts()[0] == "5,000 accounts"


def test_of_one_account_it_speaks_in_the_singular(browser: Browser, tmp_path: Path):
    entry = row(50).entry
    assert entry
    told = [rollup.AccountRow("one", entry.model_copy(update={"needs_action": 1}), "")]
    (tmp_path / "report.html").write_text(rollup.batch_page(record_of(told), told, {}), encoding="utf-8")
    page = opened(browser, tmp_path / "report.html")
    assert page.inner_text("#shown") == "1 of 1 account"
    assert page.locator(".counts li").all_inner_texts() == ["1 account", "1 done", "1 certificate needs action"]
    assert ", 1 account (23 Nov 2026, 06:17:00 UTC)" in page.title()


def test_what_needs_a_look_is_on_top_and_can_be_had_alone(browser: Browser, page_of_5000: Path):
    page = opened(browser, page_of_5000)
    first = page.locator("#accounts tbody tr").first
    assert "failed" in first.inner_text() or "missing" in first.inner_text()
    page.check("#trouble")
    assert page.inner_text("#shown") == "151 of 5,000 accounts"  # 50 failed, 1 missing, 100 with something to do
    page.click("#accounts thead button:has-text('Seconds')")
    page.click("#accounts thead button:has-text('Seconds')")
    seconds = [float(text or 0) for text in page.locator("#accounts tbody tr:visible td:last-child").all_inner_texts()]
    assert seconds == sorted(seconds, reverse=True)
    assert page.get_attribute("#accounts thead th:last-child", "aria-sort") == "descending"


def test_the_table_is_whole_without_a_script_and_a_hostile_name_is_text(browser: Browser, page_of_5000: Path):
    page = opened(browser, page_of_5000, javascript=False)
    assert page.locator("#accounts tbody tr").count() == ACCOUNTS
    assert page.locator("#search").is_hidden()
    assert page.locator("#accounts img").count() == 0
    assert "\\u202egnp.exe" in page.locator("#accounts tbody tr", has_text="onerror").inner_text()


def test_the_page_is_no_wider_than_the_screen_and_says_what_its_parts_are(browser: Browser, page_of_5000: Path):
    page = opened(browser, page_of_5000)
    for width in (1280, 700, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    assert page.locator("main, header, footer, [role=search]").count() == 4
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("table caption, section[aria-labelledby] table").count() >= 2
