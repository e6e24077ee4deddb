"""report.html: shows everything as text, loads nothing, runs nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from runbook_lib.catalogue import Reason
from runbook_lib.clock import parse_utc
from runbook_lib.errors import RunbookError
from runbook_lib.reports.html import (
    EXPLORE_TAG,
    inert_html,
    lines_html,
    markdown_html,
    notebook_page,
    terminal_html,
    text_html,
)
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.runrecord import RunRecord, RunStep
from runbook_lib.result import Kind, Result, Status, StepRecord, Verdict
from runbook_lib.runner import RunOutcome
from tests.notebook_runs import RECORDS
from tests.reports import reading

AT = parse_utc("2026-11-28T12:00:00Z")
HOSTILE = '<script>document.title="pwned"</script>|a\n\u202eevil" onload="x'

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
AWAY = "https://example.org"

ATTACKS = (
    "<script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    '<meta http-equiv="refresh" content="0;url=https://example.org/">',
    '<svg><style><meta http-equiv="refresh" content="0;url=https://example.org/"></style></svg>',
    '<!--><meta http-equiv="refresh" content="0;url=https://example.org/">-->',
    '<iframe src="https://example.org/"></iframe><object data="https://example.org/x"></object>',
    '<link rel="stylesheet" href="https://example.org/x.css"><base href="https://example.org/">',
    '<style>@import url("https://example.org/y.css"); body { background: url(https://example.org/z.png) }</style>',
    '<img src="https://example.org/w.png"><video src="https://example.org/v.mp4" autoplay></video>',
    '<a href="javascript:document.title=\'pwned\'" id="trap">click</a>',
    '<form action="https://example.org/"><button id="send">send</button></form>',
)


def test_text_from_elsewhere_shows_as_text() -> None:
    assert "<" not in text_html(HOSTILE)
    assert "\n" not in text_html(HOSTILE)
    assert "\u202e" not in text_html(HOSTILE)
    assert "\\u202e" in text_html(HOSTILE)
    assert lines_html("a `b<` c\nd") == "a <code>b&lt;</code> c\nd"
    assert ">8 Dec 2026</time> (in 10 days)" in lines_html("a\n2026-12-08T12:00:00Z", parse_utc("2026-11-28T12:00:00Z"))


def test_printed_text_keeps_its_colours_and_loses_its_tricks() -> None:
    assert terminal_html("\x1b[31mred\x1b[0m <b>") == '<span class="ansi-red-fg">red</span> &lt;b&gt;'
    assert terminal_html("10%\r100%\r\nnext\n") == "100%\nnext\n"
    assert terminal_html("a\u202eb\x07") == "a\\u202eb\\x07"


@pytest.mark.parametrize("attack", ATTACKS[:7])
def test_outputs_lose_what_is_active(attack: str) -> None:
    shown = inert_html(f"<p style='color:red'>kept</p>{attack}").lower()
    assert '<p style="color:red">kept</p>' in shown
    for word in ("<script", "<meta", "onerror", "<iframe", "<object", "<link", "<base", "<!--"):
        assert word not in shown


def test_links_to_other_notebooks_are_words_in_an_archive() -> None:
    assert (
        markdown_html('<a href="01_issue.ipynb">01</a>') == inert_html('<a href="01_issue.ipynb">01</a>') == "<a>01</a>"
    )
    kept = '<a href="https://example.org/x">x</a>'
    assert markdown_html(kept) == inert_html(kept) == kept


def test_markdown_may_hold_no_html_of_its_own() -> None:
    shown = markdown_html('<h2>ok</h2><script>x</script><img src="x" onerror="y"><a href="javascript:z">a</a>')
    assert shown == '<h2>ok</h2>x<img src="x"><a>a</a>'
    assert markdown_html("<style>p { x }</style>") == "p { x }"


def _page(*steps: RunStep, error: RunbookError | None = None, cells: Sequence[Any] = ()) -> str:
    started = Job(Source("nb.ipynb", b"", None), "demo", {}).started(AT)
    status = Status.FAILED if error else Status.DONE
    record = RunRecord.of(started, status=status, error=error, finished=AT, clock="test", steps=steps, needs_action=1)
    return notebook_page(new_notebook(cells=list(cells)), record)[0]


def _step(headline: str) -> RunStep:
    result = Result(verdict=Verdict.OK, headline=headline)
    record = StepRecord(procedure="p", step="s", title="S", kind=Kind.CHECK, started=AT, finished=AT, result=result)
    return RunStep.of(record)


def test_a_date_is_for_people_and_its_exact_moment_in_the_element() -> None:
    page = BeautifulSoup(_page(_step("It ends 2026-12-08T12:00:00Z.")), "html.parser")
    cell = page.select("table.steps td")[-1]
    assert cell.get_text() == "It ends 8 Dec 2026 (in 10 days)."
    assert [one["datetime"] for one in cell.select("time")] == ["2026-12-08T12:00:00Z"]
    started = page.select_one(".facts time")
    assert started is not None
    assert (started.get_text(), started["datetime"]) == ("28 Nov 2026, 12:00:00 UTC", "2026-11-28T12:00:00Z")


def test_back_quotes_are_code_wherever_a_sentence_is_shown() -> None:
    error = RunbookError(Reason.BAD_PARAMETER, "Wrong: `name`.", remedy="Set `name`.")
    page = BeautifulSoup(_page(_step("What `current` holds."), error=error), "html.parser")
    assert "`" not in page.get_text()
    assert [code.get_text() for code in page.select(".alarm code")][:2] == ["name", "name"]
    assert [code.get_text() for code in page.select("table.steps code")] == ["current"]


def test_a_count_agrees_with_its_noun() -> None:
    assert "<dt>Needs action</dt><dd>1 certificate</dd>" in _page()


def test_a_cell_to_explore_is_left_out_unless_it_shows_something() -> None:
    explore = {"tags": [EXPLORE_TAG]}
    silent = new_code_cell("x = 'silent'", metadata=explore)
    shows = new_code_cell("x = 'seen'", metadata=explore, outputs=[new_output("stream", text="shown")])
    page = _page(cells=[new_markdown_cell("## Explore", metadata=explore), silent, shows, new_code_cell("y = 'plain'")])
    assert not [word for word in ("Explore", "silent") if word in page]
    assert not [word for word in ("seen", "shown", "plain") if word not in page]


@pytest.fixture
def visitors() -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.browser
def test_a_hostile_report_is_inert_in_a_browser(
    run: Callable[..., RunOutcome], tmp_path: Path, visitors: tuple[str, list[str]]
) -> None:
    from playwright.sync_api import sync_playwright

    server, asked = visitors
    attacks = "".join(ATTACKS).replace(AWAY, server)
    outcome = run(
        RECORDS,
        f"hostile = {HOSTILE!r}\nprint(hostile)\n"
        'step("look", Result(verdict=Verdict.OK, headline=hostile, facts={hostile: hostile}))',
        f"display({{'text/html': {attacks!r}}}, raw=True)\ndisplay({{'text/markdown': {attacks!r}}}, raw=True)\n"
        "display({'application/javascript': 'document.title=\"pwned\"', 'text/plain': 'no script'}, raw=True)\n"
        "display({'image/svg+xml': '<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"x()\"/>'}, raw=True)\n"
        "display({'application/pdf': 'AAAA'}, raw=True)",
        f"raise ValueError({HOSTILE!r})",
        parameters="note = ''",
        given={"note": HOSTILE},
    )
    page_file = outcome.bag / "data/report.html"
    html = BeautifulSoup(page_file.read_text(encoding="utf-8"), "html.parser")
    assert [html.select_one(mark) is not None for mark in ("html[lang]", "header", "main", "footer")] == [True] * 4
    assert all(cell.get("scope") for cell in html.select("header th"))
    assert html.select("script") == []
    assert page_file.stat().st_size < 60_000

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        page = browser.new_page()
        page.goto(page_file.as_uri())
        title = page.title()
        assert "pwned" not in title
        words = page.inner_text("body")
        assert "\\u202eevil" in words
        assert '<script>document.title="pwned"</script>|a\\x0a' in words
        for summary in page.locator("summary").all():
            summary.click()
        page.screenshot(path=tmp_path / "hostile.png", full_page=True)
        page.locator("#trap").first.click(force=True)
        page.wait_for_timeout(1000)
        assert (page.title(), page.url) == (title, page_file.as_uri())
        assert asked == []

        # without the defences, the attacks reach the server
        (tmp_path / "open.html").write_text(f"<!DOCTYPE html><title>open</title>{attacks}")
        page.goto((tmp_path / "open.html").as_uri(), wait_until="commit")
        page.wait_for_timeout(1000)
        assert asked
        browser.close()
    assert reading.record(outcome.bag)["parameters"] == {"note": HOSTILE}
