"""Shows a record: as HTML, and as plain text that says the same.

Every value is data, whoever sent it: control and direction marks are made visible, then HTML is escaped. There is no
script. The notebook's setup cell emits the style once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from runbook_lib.clock import iso
from runbook_lib.result import (
    MIME,
    FinishRecord,
    Histogram,
    ParametersRecord,
    StepRecord,
    Timeline,
    Verdict,
)
from runbook_lib.tone import mark, tone
from runbook_lib.visible import visible
from runbook_lib.widgets import histogram, plots
from runbook_lib.words import dates_html, dates_text, time_html, words_html

NOTEBOOKS = (
    "00_start_here",
    "01_issue",
    "02_verify",
    "03_access",
    "04_inventory",
    "05_rotate",
    "06_archive",
    "07_troubleshoot",
)
"""The notebooks. A sentence that names one, as `notebook 01` or `01_issue`, gets a link to it."""

Bundle = dict[str, Any]
"""One output of a cell: MIME type and content."""

_NUMBERED = {name[:2]: name for name in NOTEBOOKS}
_MENTION = re.compile(rf"\b({'|'.join(NOTEBOOKS)})(?:\.ipynb)?\b|\bnotebook ({'|'.join(_NUMBERED)})\b", re.IGNORECASE)
_HEADLINES = {
    Verdict.OK: "All steps succeeded.",
    Verdict.NOTHING_TO_DO: "Nothing to do.",
    Verdict.PLANNED: "Dry run: nothing was changed. The steps above say what would be done.",
    Verdict.ATTENTION: "Done, but something needs your attention.",
    Verdict.UNCHECKED: "Not every step is complete.",
    Verdict.FAILED: "A step failed.",
}


def output_bundle(record: ParametersRecord | StepRecord | FinishRecord, *, folded: bool = False) -> Bundle:
    """A record as an output: HTML, plain text, and the record itself.

    Args:
        folded: whether the table of parameters starts closed, since a form above shows the same.
    """
    plain = record_text(record)
    try:
        shown = record_html(record, folded=folded)
    except Exception as error:  # noqa: BLE001 - reported above the plain text
        shown = f"{_not_drawn(error)}<pre>{escape(plain)}</pre>"
    return {"text/html": shown, "text/plain": plain, MIME: record.model_dump(mode="json")}


def note(words: str, *, waits: bool = False) -> Bundle:
    """A sentence in place of a result; `waits` if there is no result yet."""
    return {"text/html": _render("note.html", words=words, waits=waits), "text/plain": words}


def archived(bag: str, status: str, more: str) -> Bundle:
    """Where a session was archived, with a link that downloads its report.

    JupyterLab would open the report in the archive itself, and put a checkpoint next to it: a file that nobody sealed.

    Args:
        bag: the path of the bag. The link leads there from the current folder, which is the notebook's.
        more: what else there is to say; empty if nothing.
    """
    report = os.path.relpath(Path(bag) / "data" / "report.html")
    words = f"Archived as {Path(bag).name} ({status})." + (f" {more}" if more else "")
    shown = _render("archived.html", name=Path(bag).name, href=quote(report), status=status, more=more)
    return {"text/html": shown, "text/plain": f"{words}\n{bag}"}


def marked(shown: Bundle, words: str) -> Bundle:
    """An output with a sentence above it, and without its record."""
    above = note(words)
    return {kind: f"{above[kind]}\n{shown[kind]}" for kind in above}


def style(*, live: bool = False) -> Bundle:
    """The style of all panels of a notebook; if `live`, that of its form and buttons too."""
    folder = resources.files("runbook_lib.widgets").joinpath("templates")
    css = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "live.css")[: 1 + live])
    return {"text/html": f"<style>\n{css}</style>", "text/plain": ""}


# --- HTML -------------------------------------------------------------------------------------------------------------


def record_html(record: ParametersRecord | StepRecord | FinishRecord, *, folded: bool = False) -> str:
    """A record as HTML. It needs `style()` on the same page."""
    match record:
        case ParametersRecord():
            rows = [(row.name, row.value, row.source, row.description) for row in record.rows]
            return _render("parameters.html", now=record.at, record=record, rows=rows, folded=folded)
        case StepRecord():
            return _render("step.html", now=record.finished, record=record)
        case FinishRecord():
            rows2 = [(title, verdict.value) for _, title, verdict in record.steps]
            return _render("finish.html", now=record.at, record=record, rows=rows2, headline=_HEADLINES[record.verdict])


def prose(words: str, now: datetime | None = None) -> Markup:
    """A sentence as `words_html`, with one *word* in asterisks emphasised and a link to each notebook it names."""
    safe = re.sub(r"(?<!\w)\*(\w+)\*(?!\w)", r"<em>\1</em>", str(words_html(words, now)))
    return Markup(_MENTION.sub(_link, safe))  # noqa: S704  (escaped above)


def _link(found: re.Match[str]) -> str:
    name = found[1] or _NUMBERED[found[2]]
    return f'<a href="{name}.ipynb">{found[0]}</a>'


def _lines(code: str) -> Markup:
    """Text to copy, with its line breaks."""
    return Markup("\n").join(escape(visible(line)) for line in code.split("\n"))


@pass_context
def _is_wide(context: Context, table: tuple[tuple[str, ...], ...]) -> bool:
    """Whether a table is wider than a page if no cell is broken into lines."""
    columns = zip(*table, strict=True)
    widest = (max(len(dates_text(cell, context["now"])) for cell in column) for column in columns)
    return sum(min(width, _SHORT) + 2 for width in widest) > _PAGE


_SHORT, _PAGE = 40, 105  # characters
_LONG_DIGITS = re.compile(r"\b[0-9A-Fa-f]{12,}\b")


@pass_context
def _narrow(context: Context, cell: str) -> Markup:
    """A cell of a table that is too wide for a page: marks where a serial number or an id may be broken.

    Copying from the page gives the unchanged value: `<wbr>` is not a character.
    """
    safe = str(dates_html(cell, context["now"]))
    return Markup(_LONG_DIGITS.sub(lambda found: re.sub(r"(.{8})(?=.)", r"\1<wbr>", found[0]), safe))  # noqa: S704


def _seconds(record: StepRecord) -> str:
    return f"{(record.finished - record.started).total_seconds():.1f} s"


def _drawn(draw: Callable[[Any], str], what: Timeline | Histogram) -> Markup:
    """A plot, or why there is none. A failed plot must not cost the table and the record."""
    try:
        return Markup(draw(what))  # noqa: S704  (escaped where it is drawn)
    except Exception as error:  # noqa: BLE001 - reported in place of the plot
        return _not_drawn(error)


def _not_drawn(error: Exception) -> Markup:
    return Markup("<p><em>Not drawn: {}</em></p>").format(visible(f"{type(error).__name__}: {error}")[:300])


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_ENVIRONMENT = Environment(
    loader=PackageLoader("runbook_lib.widgets"),
    autoescape=True,
    finalize=_finalize,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(
    prose=pass_context(lambda context, words: prose(words, context["now"])),
    dates=pass_context(lambda context, text: dates_html(text, context["now"])),
    lines=_lines,
    time=time_html,
    seconds=_seconds,
    narrow=_narrow,
    is_wide=_is_wide,
    tone=tone,
    mark=mark,
    histogram=lambda months: _drawn(histogram.histogram_svg, months),
    timeline=lambda timeline: _drawn(plots.timeline_svg, timeline),
)


def compile_templates() -> None:
    """Compile every panel's template now, for this process and its forks."""
    for name in _ENVIRONMENT.list_templates(extensions=["html"]):
        _ENVIRONMENT.get_template(name)


def _render(template: str, **values: Any) -> str:
    return _ENVIRONMENT.get_template(template).render(**values)


# --- plain text -------------------------------------------------------------------------------------------------------


def record_text(record: ParametersRecord | StepRecord | FinishRecord) -> str:
    """A complete record as plain text, for grep, nbval and terminals."""
    match record:
        case ParametersRecord():
            return "\n".join(_parameters_text(record))
        case StepRecord():
            return "\n".join(_step_text(record))
        case FinishRecord():
            return "\n".join(_finish_text(record))


def _parameters_text(record: ParametersRecord) -> Iterable[str]:
    if record.error:
        yield from _error_text(record.error)
    if record.rows:
        yield f"Parameters of this run ({len(record.rows)})"
        rows = [(row.name, row.value, row.source, row.description) for row in record.rows]
        yield from _table_text(("parameter", "value", "from", "meaning"), rows)


def _step_text(record: StepRecord) -> Iterable[str]:
    yield f"{record.kind.value.capitalize()}: {visible(record.title)}"
    if record.error:
        yield from _error_text(record.error)
    if record.result:
        result = record.result
        yield f"[{result.verdict.value}] {visible(result.headline)}"
        wide = max((len(visible(label)) for label in result.facts), default=0)
        yield from (f"  {visible(label):<{wide}}  {visible(value)}" for label, value in result.facts.items())
        for verdict, name, seen in result.details:
            yield f"  {mark(verdict.value)} {verdict.value}: {visible(name)}" + (f" – {visible(seen)}" if seen else "")
        if result.histogram:
            yield f"({visible(histogram.describe_histogram(result.histogram))})"
        if result.timeline:
            yield f"({visible(plots.describe(result.timeline))})"
        for table in result.tables:
            yield visible(table.title)
            yield from _table_text(table.columns, table.rows)
        for long in result.beside:
            files = ", ".join(f"{kept.file} (SHA-256 {kept.sha256})" for kept in long.files)
            yield f"{visible(long.title)}: all {long.rows:,} rows are in files next to this notebook: {files}"
        for snippet in result.snippets:
            yield f"--- {visible(snippet.title)}"
            yield from (visible(line) for line in snippet.code.split("\n"))
            yield "---"
        yield from _next_text(result.next)
    tutorial = f", tutorial: {visible(record.tutorial)}" if record.tutorial else ""
    yield f"({iso(record.started)}, {_seconds(record)}{tutorial})"


def _finish_text(record: FinishRecord) -> Iterable[str]:
    yield f"[{record.verdict.value}] {_HEADLINES[record.verdict]}"
    if record.progress:
        yield f"Rotation: {record.progress}"
    yield from _table_text(("step", "verdict"), [(title, verdict.value) for _, title, verdict in record.steps])
    if record.needs_action:
        yield f"Certificates that need action: {record.needs_action}"
    yield from _next_text(record.next)
    yield f"({iso(record.at)})"


def _error_text(problem: dict[str, Any]) -> Iterable[str]:
    yield f"[failed] {visible(problem['title'])}"
    yield f"  {visible(problem['what'])}"
    yield f"  What it means: {visible(problem['means'])}"
    yield f"  What to do:    {visible(problem['remedy'])}"
    if problem["notebook"]:
        yield f"  Notebook:      {problem['notebook']}.ipynb"
    yield f"  Reason:        {problem['reason']}"


def _next_text(lines: tuple[str, ...]) -> Iterable[str]:
    if lines:
        yield "What to do next:"
        yield from (f"  * {visible(line)}" for line in lines)


def _table_text(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    shown = [tuple(visible(cell) for cell in row) for row in (columns, *rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(columns))]
    for number, row in enumerate(shown):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if number == 0:
            yield "  " + "  ".join("-" * width for width in widths)
    if len(shown) == 1:
        yield "  none"
