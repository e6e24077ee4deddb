"""The archive's index in a browser without a network: searched, sorted, a day chosen, a run opened, printed.

Bounded here; with RUNBOOK_SOAK=1 the archive has 10,000 runs, and the figures are printed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from runbook_lib.archive import retention
from runbook_lib.archive.index import write_index
from runbook_lib.clock import SystemClock
from runbook_lib.notebooks import find_notebook
from runbook_lib.runner import Status, run_notebook
from tests.archive import bags, many
from tests.soak import SOAK

pytestmark = pytest.mark.browser

RUNS = 10_000 if SOAK else 600
TIMED_CLICK = """button => {
  const t = performance.now();
  button.click();
  document.body.offsetHeight;  // laid out
  return performance.now() - t;
}"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    many.write(folder, many.service(RUNS))
    write_index(folder)
    return folder


@pytest.fixture
def page(browser: Browser, archive: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    one = context.new_page()
    problems: list[str] = []
    one.on("pageerror", lambda error: problems.append(str(error)))
    one.on("console", lambda message: problems.append(message.text))
    one.goto((archive / "index.html").as_uri())
    yield one
    context.close()
    assert problems == []


def listed(page: Page) -> list[str]:
    return page.locator("#runs tbody tr").all_inner_texts()


def moments(page: Page) -> list[str]:
    """When the listed runs began, exactly."""
    found: list[str] = page.locator("#runs tbody th time").evaluate_all("all => all.map(one => one.dateTime)")
    return found


def test_an_auditor_finds_the_run_that_failed_and_opens_its_report(page: Page):
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{RUNS:,} runs, 1 Nov 2023 to ")
    assert len(listed(page)) == 100
    assert moments(page) == sorted(moments(page), reverse=True)
    page.get_by_label("Search").fill(f"{moments(page)[0][:10]} UTC")
    assert {moment[:10] for moment in moments(page)} == {moments(page)[0][:10]}
    page.get_by_label("Search").fill("rotate killed")
    found = listed(page)
    assert 0 < len(found) < 100
    assert all("killed" in line and "rotate" in line for line in found)
    expect(page.get_by_role("status")).to_have_text(f"{len(found)} of {RUNS:,} runs. ")
    page.get_by_role("rowheader").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="rotate: killed")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Search")).to_have_value("rotate killed")
    expect(page.get_by_role("status")).to_contain_text(f"{len(found)} of")
    page.get_by_label("Search").fill("no such words")
    assert listed(page) == []


def test_the_list_is_sorted_by_any_column_and_shown_in_parts(page: Page):
    page.get_by_role("button", name="Job").click()
    head = page.get_by_role("columnheader", name="Job")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert "access" in listed(page)[0]
    page.get_by_role("button", name="Job").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert "verify" in listed(page)[0]
    page.get_by_role("button", name="Show more").click()
    assert len(listed(page)) == min(RUNS, 1100)
    page.get_by_label("only runs that need attention").check()
    assert not [line for line in listed(page) if "failed" not in line and "attention" not in line]


def test_the_calendar_shows_each_day_s_worst_and_lists_the_day_that_is_chosen(page: Page):
    page.get_by_text("2023", exact=True).click()
    failed = page.locator("button.day.bad:visible").last
    failed.click()
    day = failed.get_attribute("data-days") or ""
    expect(failed).to_have_attribute("aria-pressed", "true")
    assert moments(page)
    assert all(moment.startswith(day) for moment in moments(page))
    assert any("failed" in line for line in listed(page))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert all(moment < day for moment in moments(page))
    page.get_by_role("button", name="All days").click()
    assert len(listed(page)) == 100
    page.get_by_role("button", name="December").last.click()
    assert all(moment[4:8] == "-12-" for moment in moments(page))
    assert all(re.match(r"\d+ Dec \d{4}, \d\d:\d\d:\d\d UTC", line) for line in listed(page))


def test_the_calendar_is_one_stop_for_the_tab_key(page: Page):
    assert page.locator("button.day[tabindex='0']").count() == 1
    assert page.locator("button.day[tabindex='-1']").count() > 30


def test_a_day_on_which_nothing_ran_and_a_number_that_is_not_listed_are_seen(browser: Browser, tmp_path: Path):
    runs = [one for one in many.service(90) if one.at.day != 5]
    many.write(tmp_path, runs)
    write_index(tmp_path)
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    expect(page.locator(".day.gap").filter(has_text="5 no runs")).to_have_count(1)
    expect(page.get_by_role("note")).to_have_count(0)
    index = tmp_path / "index.html"
    text = index.read_text(encoding="utf-8")
    index.write_text(re.sub(r'<tr class="\w+" data-n="(7|8|20)">.*\n', "", text), encoding="utf-8")
    page.reload()
    expect(page.get_by_role("note")).to_contain_text("not in this list: 7 to 8, 20.")
    page.close()


def test_what_was_purged_is_not_said_to_be_missing(browser: Browser, tmp_path: Path):
    archive = bags.small(tmp_path / "archive", signed=True)
    day, later = bags.AT.date(), bags.AT + timedelta(days=400)
    plan = retention.plan(archive, day, at=later)
    retention.purge_runs(archive, plan, why="a year is over", at=later, environ=bags.ENVIRON)
    gone = [one.link.sequence for one in plan.goes]
    assert gone
    page = browser.new_page()
    page.goto((archive / "index.html").as_uri())
    expect(page.get_by_text("Bags purged; this is their tombstone.")).to_be_visible()
    expect(page.get_by_role("note")).to_have_count(0)
    text = (archive / "index.html").read_text(encoding="utf-8")
    (archive / "index.html").write_text(re.sub(r' data-gone="[^"]*"', "", text), encoding="utf-8")
    page.reload()
    expect(page.get_by_role("note")).to_contain_text(str(gone[-1]))
    page.close()


def test_without_a_script_every_run_is_in_a_plain_table(browser: Browser, archive: Path):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((archive / "index.html").as_uri())
    assert page.locator("#runs tbody tr:visible").count() == RUNS
    expect(page.get_by_text("oldest first")).to_be_visible()
    expect(page.get_by_label("Search")).to_be_hidden()
    context.close()


def test_a_script_that_is_not_the_page_s_own_does_not_run(browser: Browser, archive: Path, tmp_path: Path):
    text = (
        (archive / "index.html")
        .read_text(encoding="utf-8")
        .replace("<title>", "<script>window.evil = 1</script><title>")
    )
    open_page = re.sub(r"<meta http-equiv[^>]*>", "", text)
    page = browser.new_page()
    for name, content, ran in (("closed.html", text, False), ("open.html", open_page, True)):
        (tmp_path / name).write_text(content, encoding="utf-8")
        page.goto((tmp_path / name).as_uri())
        assert page.evaluate("'evil' in window") is ran
    page.close()


def test_a_screen_reader_finds_landmarks_and_every_table_has_headers(page: Page):
    for landmark in ("banner", "main", "contentinfo", "search", "navigation"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    assert page.locator("h1").count() == 1
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("button:not([type])").count() == 0
    assert page.locator("input:not(#words):not(#trouble)").count() == 0


def test_on_paper_it_says_how_much_of_it_is_printed(page: Page, tmp_path: Path):
    page.get_by_label("Search").fill("inventory attention")
    page.emulate_media(media="print")
    expect(page.get_by_label("Search")).to_be_hidden()
    expect(page.get_by_role("status")).to_be_visible()
    right = page.evaluate(
        "Math.max(...[...document.querySelectorAll('td, th')].map(c => c.getBoundingClientRect().right))"
    )
    assert right <= 1280
    page.pdf(path=tmp_path / "index.pdf", format="A4")
    assert (tmp_path / "index.pdf").stat().st_size > 10_000


def clipped(page: Page) -> list[str]:
    """The tables whose last column does not fit on the page."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > innerWidth)"
        ".map(t => t.caption?.textContent ?? t.textContent)"
    )
    return found


@pytest.mark.slow
def test_the_audit_report_of_that_archive_is_found_in_its_index_read_heard_and_printed(
    browser: Browser, tmp_path: Path
):
    archive = tmp_path / "archive"
    many.write(archive, many.service(RUNS, datetime.now(UTC) - timedelta(days=RUNS // 9 + RUNS // 400)))
    began = time.monotonic()
    write_index(archive)
    indexed = time.monotonic() - began
    for job in ("troubleshoot", "archive"):
        ran = run_notebook(find_notebook(job)[0], {"mode": "headless"}, job=job, archive=archive, clock=SystemClock())
        assert ran.status is Status.DONE
    context = browser.new_context(viewport={"width": 1000, "height": 900}, offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((archive / "index.html").as_uri())
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{RUNS + 2:,} runs")  # both were added
    page.get_by_label("Search").fill("troubleshoot done")
    page.get_by_role("rowheader").get_by_role("link").click()
    expect(page.get_by_role("heading", name="07 · Troubleshoot")).to_be_visible()
    assert_heard(page)
    page.go_back()
    page.get_by_label("Search").fill("archive")
    page.get_by_role("rowheader").get_by_role("link").click()
    expect(page.get_by_role("heading", name="06 · Read the archive")).to_be_visible()
    expect(page.get_by_label("Result: What ran", exact=True)).to_contain_text(f"{RUNS + 1:,} runs")
    expect(page.get_by_label("Result: Who changed what", exact=True)).to_contain_text("DigiCert ONE issued")
    assert_heard(page)
    assert clipped(page) == []
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 less Chromium's margins
    page.emulate_media(media="print")
    assert clipped(page) == []
    page.pdf(path=tmp_path / "audit.pdf", format="A4")
    assert all(url.startswith("file:") for url in asked)
    print(f"\n{RUNS} runs: index made anew in {indexed:.1f} s; the audit's report {tmp_path}")
    context.close()


def assert_heard(page: Page) -> None:
    """What a screen reader goes by: landmarks, one first heading, headers of tables, words for pictures."""
    for landmark in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    assert page.locator("h1").count() == 1
    assert page.locator("html[lang=en]").count() == 1
    assert page.locator("thead th:not([scope]), th:empty").count() == 0
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("section:not([aria-label]):not([aria-labelledby])").count() == 0


def test_it_opens_searches_and_sorts_without_a_wait(browser: Browser, archive: Path):
    """No bound but a generous one: a list of so many rows that is laid out whole takes seconds for each key."""
    page = browser.new_page()
    page.goto((archive / "index.html").as_uri())
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    typed = page.evaluate(
        """() => { const input = document.getElementById('words'), took = [];
        for (const text of ['i', 'in', 'inv', 'inventory failed', '']) {
          input.value = text;
          const t = performance.now();
          input.dispatchEvent(new Event('input'));
          document.body.offsetHeight;
          took.push(performance.now() - t);
        } return took }"""
    )
    sorts = [button.evaluate(TIMED_CLICK) for button in page.locator("#runs thead button").all()]
    print(f"\n{RUNS} runs: ready {ready:.0f} ms, a key at most {max(typed):.0f} ms, a sort at most {max(sorts):.0f} ms")
    assert max(*typed, *sorts) < 2000
    page.close()
