"""A page is made in seconds however much its notebook shows. It says what it cuts; run.ipynb is complete."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from runbook_lib.clock import parse_utc
from runbook_lib.reports import html
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.runrecord import RunRecord
from runbook_lib.result import Status

Page = Callable[..., tuple[str, dict[str, str]]]


@pytest.fixture
def page() -> Page:
    at = parse_utc("2026-11-28T12:00:00Z")
    started = Job(Source("nb.ipynb", b"", None), "demo", {}).started(at)
    record = RunRecord.of(started, status=Status.DONE, error=None, finished=at, clock="test")

    def drawn(*cells: NotebookNode) -> tuple[str, dict[str, str]]:
        html.exporter()
        begun = time.process_time()
        made = html.notebook_page(new_notebook(cells=list(cells)), record)
        assert time.process_time() - begun < 20  # on its own: 3 s
        return made

    return drawn


def shows(*outputs: NotebookNode) -> Any:
    return new_code_cell("x", outputs=list(outputs))


def printed(text: str) -> Any:
    return new_output("stream", name="stdout", text=text)


def displayed(**data: Any) -> NotebookNode:
    data = {name.replace("_", "/"): value for name, value in data.items()}
    return NotebookNode(output_type="display_data", data=NotebookNode(data), metadata=NotebookNode())


def between(text: str, times: int) -> str:
    return f"it begins {text * times} it ends"


LONG = between("-", 30_000_000)
CUT = {
    "one line of 30 MB": (printed(LONG), "29.0 MB of text"),
    "lines": (printed(between("line\n", 1_000_000)), "4.0 MB of text"),
    "colours": (printed(between("a\x1b[31mb\x1b[0m\u202e", 250_000)), "MB of text"),
    "a plain value": (displayed(text_plain=LONG), "29.0 MB of text"),
    "LaTeX": (displayed(text_latex=LONG), "29.0 MB of text"),
    "a traceback": (
        new_output("error", ename="E", evalue="", traceback=["it begins", LONG, "it ends"]),
        "29.0 MB of text",
    ),
    "HTML, which has a plain form": (
        displayed(text_html="<td>x</td>" * 500_000, text_plain="it begins, it ends"),
        "5.0 MB of text/html",
    ),
    "Markdown, which has a plain form": (
        displayed(text_markdown="- a\n" * 50_000, text_plain="it begins, it ends"),
        "0.2 MB of text/markdown",
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_too_much_is_shown_cut_and_says_so(page: Page, name: str) -> None:
    output, what = CUT[name]
    drawn, told = page(shows(output), shows(printed("the next")))
    assert f"{what}; run.ipynb has all of it." in drawn
    assert drawn.count("Not shown: ") == 1
    assert len(told) == 1
    for words in ("it begins", "it ends", "the next"):
        assert words in drawn
    assert len(drawn) < 3_000_000


@pytest.mark.parametrize("mime", ["text/html", "text/markdown", "image/png", "image/svg+xml", "image/jpeg"])
def test_what_has_no_smaller_form_is_only_named(page: Page, mime: str) -> None:
    drawn, told = page(shows(new_output("display_data", data={mime: "<b>" * 8_000_000})))
    assert f"Not shown: 24.0 MB of {mime}; run.ipynb has all of it." in drawn
    assert list(told.values()) == ["24.0 MB"]
    assert len(drawn) < 50_000


def test_of_many_outputs_the_first_and_the_last_are_shown_and_every_cell_has_its_share(page: Page) -> None:
    cell = new_code_cell("x")
    cell.outputs = [displayed(text_plain=f"<{number}>") for number in range(20_000)]
    drawn, told = page(cell, shows(printed("the result")))
    assert list(told.values()) == ["19,000 outputs, 0.1 MB"]
    assert "Not shown: 19,000 outputs, 0.1 MB; run.ipynb has all of it." in drawn
    assert [f"&lt;{number}&gt;" in drawn for number in (0, 499, 500, 19_499, 19_500, 19_999)] == [
        *(True, True, False),
        *(False, True, True),
    ]
    assert "the result" in drawn


def test_of_many_long_outputs_each_cell_shows_its_share(page: Page) -> None:
    cells = [shows(*(printed(f"{cell}.{number} " + "x" * 900_000) for number in range(25))) for cell in range(2)]
    drawn, told = page(*cells)
    assert list(told.values()) == ["3 outputs, 2.7 MB"] * 2
    assert all(f"{cell}.{number} x" in drawn for cell in range(2) for number in (0, 10, 14, 24))


def test_long_sources_are_cut(page: Page) -> None:
    lines = "x = 1\n" * 300_000, "- a\n" * 50_000
    drawn, told = page(
        new_code_cell(f"it_begins = 1\n{lines[0]}it_ends = 1"), new_markdown_cell(f"it begins\n{lines[1]}\nso it ends")
    )
    assert "… not shown: 0.8 MB …" in drawn
    assert "Shown as plain text: 0.2 MB of Markdown; run.ipynb has all of it." in drawn
    assert all(words in drawn for words in ("it_begins", "it_ends", "it begins", "so it ends"))
    assert len(told) == 2


def test_what_a_person_would_read_is_shown_whole(page: Page) -> None:
    outputs = [displayed(text_html=f"<table><tr><td>row {number}</td></tr></table>") for number in range(500)]
    drawn, told = page(shows(printed("line\n" * 100_000), *outputs))
    assert told == {}
    assert "Not shown" not in drawn
    assert all(f"row {number}<" in drawn for number in range(500))
    assert drawn.count("line\n") >= 100_000
