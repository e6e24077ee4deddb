"""Panels: complete as HTML and as text, and safe for values from anywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from runbook_lib.catalogue import CATALOGUE
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.result import (
    MIME,
    Bar,
    FinishRecord,
    Histogram,
    Kind,
    ParameterRow,
    ParametersRecord,
    Result,
    Snippet,
    StepRecord,
    Table,
    Timeline,
    Verdict,
    read_record,
)
from runbook_lib.widgets import panels

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>|a\nb\u202ec\"'`$x$"


def step(**given: object) -> StepRecord:
    shape = {"procedure": "p", "step": "s", "title": "Look", "kind": Kind.CHECK, "started": NOW, "finished": NOW}
    return StepRecord.model_validate(shape | given)


def everything(word: str) -> Result:
    return Result(
        verdict=Verdict.ATTENTION,
        headline=f"H {word}",
        facts={f"F {word}": f"V {word}"},
        details=((Verdict.FAILED, f"N {word}", f"S {word}"),),
        tables=(Table(name="t", title=f"T {word}", columns=("name", "state"), rows=((f"R {word}", word),)),),
        timeline=Timeline(
            title=f"L {word}", now=NOW, bars=(Bar(label=word, start=NOW, end=NOW + timedelta(days=9), state=word),)
        ),
        snippets=(Snippet(title=f"C {word}", language="sh", code=f"first {word}\nlast"),),
        next=(f"X {word}",),
    )


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("br", "path", "use", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_both_twins_of_a_step_say_everything():
    bundle = panels.output_bundle(step(result=everything("word"), tutorial="Step 9"))
    for twin in (bundle["text/html"], bundle["text/plain"]):
        for letter in "HFVNSTRLCX":
            assert f"{letter} word" in twin
        for words in ("first word", "last", "attention", "failed", "Step 9", "2026-11-23T14:00:00Z"):
            assert words in twin
    assert ">23 Nov 2026, 14:00:00 UTC</time>" in bundle["text/html"]
    assert read_record(bundle[MIME]) == step(result=everything("word"), tutorial="Step 9")


def test_hostile_values_are_text_in_html_and_visible_in_plain_text():
    bundle = panels.output_bundle(step(result=everything(HOSTILE), title=HOSTILE, tutorial=HOSTILE))
    elements = Elements(bundle["text/html"])
    assert "script" not in elements.names
    assert not [one for one in elements.attributes if one[1].startswith("on")]
    assert "&lt;script&gt;" in bundle["text/html"]
    for twin in (bundle["text/html"], bundle["text/plain"]):
        assert "\u202e" not in twin
        assert "\\u202e" in twin
        assert "a\\x0ab" in twin


def test_hostile_values_in_parameters_errors_and_summary_are_text_too():
    row = ParameterRow(name=HOSTILE, value=HOSTILE, source="given", description=HOSTILE)
    problem = RunbookError(Reason.NO_ACCESS, HOSTILE, remedy=HOSTILE).as_dict()
    records = (
        ParametersRecord(procedure="p", at=NOW, rows=(row,), error=problem),
        step(error=problem),
        FinishRecord(
            procedure="p", at=NOW, verdict=Verdict.FAILED, steps=((HOSTILE, HOSTILE, Verdict.FAILED),), next=(HOSTILE,)
        ),
    )
    for record in records:
        elements = Elements(panels.record_html(record))
        assert "script" not in elements.names
        assert "\u202e" not in panels.record_html(record) + panels.record_text(record)


def test_an_error_says_what_happened_what_it_means_what_to_do_and_where():
    bundle = panels.output_bundle(step(error=RunbookError(Reason.CERTIFICATE_DISABLED, "It is off.").as_dict()))
    for twin in (bundle["text/html"], bundle["text/plain"]):
        for words in ("The certificate is disabled", "It is off.", "What it means", "What to do", "03_access.ipynb"):
            assert words in twin
    assert '<a href="03_access.ipynb">' in bundle["text/html"]


@pytest.mark.parametrize("reason", list(Reason))
def test_every_known_error_can_be_shown(reason: Reason):
    html = panels.record_html(step(error=RunbookError(reason, "This happened.").as_dict()))
    Elements(html)
    if CATALOGUE[reason].notebook:
        assert f'href="{CATALOGUE[reason].notebook}.ipynb"' in html


@pytest.mark.parametrize(
    ("sentence", "html"),
    [
        ("Look it up with notebook 04.", 'Look it up with <a href="04_inventory.ipynb">notebook 04</a>.'),
        ("02_verify: prove it", '<a href="02_verify.ipynb">02_verify</a>: prove it'),
        ("run `a & b`", "run <code>a &amp; b</code>"),
        ("notebook 99 and 2026-01-02", "notebook 99 and 2026-01-02"),
        ("the *name* is 2*3*4", "the <em>name</em> is 2*3*4"),
        ("<b>bold</b>", "&lt;b&gt;bold&lt;/b&gt;"),
    ],
)
def test_a_sentence_links_to_the_notebook_it_names(sentence: str, html: str):
    assert panels.prose(sentence) == html


def test_tables_have_headings_that_a_screen_reader_finds_and_states_carry_words():
    html = panels.record_html(step(result=everything("due")))
    assert '<th scope="col">name</th>' in html
    assert '<th scope="row">R due</th>' in html
    assert re.search(r'<td><span class="dor-badge dor-warn">due</span></td>', html)


WAY = Table(
    name="path",
    title="The way",
    columns=("step", "state", "when"),
    rows=(
        ("Issue", "done", "2027-10-26T00:00:00Z"),
        ("Disable the old one", "next", "from 2027-10-27T00:00:00Z"),
        ("Delete `0001`", "later", "7 days after that"),
    ),
)


def test_a_way_is_drawn_as_steps_in_order_and_says_in_words_what_its_colours_say():
    record = step(result=Result(verdict=Verdict.OK, headline="h", tables=(WAY,)))
    html, text = panels.record_html(record), panels.record_text(record)
    Elements(html)
    drawn = re.findall(r'<li class="dor-(\w+)"( aria-current="step")?>.*?</li>', html)
    assert drawn == [("good", ""), ("info", ' aria-current="step"'), ("calm", "")]
    states = re.findall(r'<span class="dor-state">(\w+)</span>', html)
    assert states == ["done", "next", "later"]
    assert "Delete <code>0001</code>" in html
    for words in ("2027-10-26T00:00:00Z", "2027-10-27T00:00:00Z", "7 days after that", "The way"):
        assert words in html
        assert words in text
    assert "from 2027-10-27T00:00:00Z" in text
    assert re.search(r"from <time [^>]*>27 Oct 2027</time> \(in 337 days\)", html)


def test_hostile_values_in_a_way_and_in_a_table_with_many_columns_are_text():
    way = Table(name="path", title=HOSTILE, columns=("step", "state", "when"), rows=((HOSTILE, HOSTILE, HOSTILE),))
    wide = Table(name="wide", title="w", columns=tuple("abcdefghi"), rows=((HOSTILE,) * 9,))
    elements = Elements(panels.record_html(step(result=Result(verdict=Verdict.OK, headline="h", tables=(way, wide)))))
    assert "script" not in elements.names
    assert not [one for one in elements.attributes if one[1].startswith("on")]


def test_a_table_with_many_columns_may_break_its_ids_and_moments_and_is_copied_whole():
    uuid = "e281fe3b-fb97-4183-a4fa-205913a7aee4"
    values = ("a longer name", "2026-12-08T00:00:00Z", "0A1B2C3D4E5F60718293", uuid, *"bcdef")
    wide = Table(name="wide", title="w", columns=tuple("abcdefghi"), rows=(values,))
    html = panels.record_html(step(result=Result(verdict=Verdict.OK, headline="h", tables=(wide,))))
    assert '<time datetime="2026-12-08T00:00:00Z" title="2026-12-08T00:00:00Z">8 Dec 2026</time> (in 14 days)' in html
    assert "0A1B2C3D<wbr>4E5F6071<wbr>8293" in html
    cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd](?: scope=.row.)?>(.*?)</t[hd]>", html)]
    assert cells == [values[0], "8 Dec 2026 (in 14 days)", *values[2:]]


def test_a_table_that_fits_the_page_is_left_whole():
    table = Table(name="t", title="t", columns=("name", "ends"), rows=(("North", "2026-11-23T17:30:00Z"),))
    html = panels.record_html(step(result=Result(verdict=Verdict.OK, headline="h", tables=(table,))))
    assert re.search(r'<td class="dor-short"><time [^>]*>23 Nov 2026, 17:30:00 UTC</time> \(in 3 hours\)</td>', html)


def test_a_date_in_a_fact_or_a_sentence_is_for_people_and_the_record_keeps_the_moment():
    said = "It ends 2026-12-08T00:00:00Z."
    shape = Result(
        verdict=Verdict.OK, headline=said, facts={"Ends": said}, details=((Verdict.OK, "end", said),), next=(said,)
    )
    bundle = panels.output_bundle(step(result=shape))
    words = re.sub(r"<[^>]*>", "", bundle["text/html"])
    assert words.count("It ends 8 Dec 2026 (in 14 days).") == 4
    assert bundle["text/html"].count('datetime="2026-12-08T00:00:00Z"') == 4
    assert bundle["text/plain"].count(said) == 4
    assert read_record(bundle[MIME]) == step(result=shape)


def test_a_parameter_is_shown_as_it_was_given():
    row = ParameterRow(name="clock", value="2026-12-08T00:00:00Z", source="given", description="moment")
    html = panels.record_html(ParametersRecord(procedure="p", at=NOW, rows=(row,)))
    assert '<td class="dor-short">2026-12-08T00:00:00Z</td>' in html


def test_the_summary_says_how_far_a_rotation_has_come_and_others_say_nothing_of_it():
    shape = {"procedure": "p", "at": NOW, "verdict": Verdict.OK, "steps": ()}
    for twin in (panels.record_html, panels.record_text):
        assert "waiting" in twin(FinishRecord.model_validate(shape | {"progress": "waiting"}))
        assert "Rotation: " not in twin(FinishRecord.model_validate(shape))


def test_an_empty_table_says_so():
    empty = Table(name="t", title="Nothing here", columns=("name",), rows=())
    record = step(result=Result(verdict=Verdict.OK, headline="h", tables=(empty,)))
    assert "none" in panels.record_html(record)
    assert "none" in panels.record_text(record)


def test_plain_tables_are_aligned():
    table = Table(name="t", title="T", columns=("a", "b"), rows=(("long one", "1"), ("x", "2")))
    lines = panels.record_text(step(result=Result(verdict=Verdict.OK, headline="h", tables=(table,)))).splitlines()
    assert lines[3:7] == ["  a         b", "  --------  -", "  long one  1", "  x         2"]


def test_the_style_reaches_nothing_outside_the_panels_and_loads_nothing():
    css = panels.style()["text/html"]
    rules = (
        re.sub(r"/\*.*?\*/|@media [^{]*{", "", css, flags=re.DOTALL).removeprefix("<style>").removesuffix("</style>")
    )
    selectors = [one.strip() for block in rules.split("}") for one in block.split("{")[0].split(",") if one.strip()]
    assert selectors
    assert all(one.startswith(".dor.dor") for one in selectors)
    assert "url(" not in css
    assert "@import" not in css


def test_every_class_that_a_template_uses_is_in_the_style():
    folder = Path(panels.__file__).parent / "templates"
    css = (folder / "style.css").read_text() + (folder / "live.css").read_text()
    for template in folder.glob("*.html"):
        text = re.sub(r"{[{%].*?[%}]}", " ", template.read_text())
        for names in re.findall(r'class="([^"]*)"', text):
            for name in names.split():
                if not name.endswith("-"):  # the rest of the name is computed
                    assert f".{name}" in css, name


def test_a_plot_that_cannot_be_drawn_takes_no_table_with_it():
    table = Table(name="seen", title="Seen", columns=("name",), rows=(("kept",),))
    odd = Histogram(title="Ends", months=(("2026-11", "healthy", 10**400),), now=NOW)
    result = Result(verdict=Verdict.OK, headline="Read", tables=(table,), histogram=odd)
    shown = panels.output_bundle(step(result=result))
    assert "Not drawn: OverflowError" in shown["text/html"]
    assert "kept" in shown["text/html"]
    assert read_record(shown[MIME]) == step(result=result)
