"""report.html: the executed notebook as one page that loads nothing and runs nothing.

Three defences: text is escaped, the HTML of outputs loses its active parts, and a Content-Security-Policy forbids
scripts, frames, forms and every load but `data:` images.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import Any

import markupsafe
import nh3
from bs4 import BeautifulSoup, Comment
from bs4.exceptions import ParserRejectedMarkup
from jinja2 import Environment, pass_context
from jinja2.meta import find_referenced_templates
from nbconvert import HTMLExporter, TemplateExporter
from nbconvert.filters import ansi2html, strip_ansi
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from traitlets.config import Config

from runbook_lib.reports import TEMPLATES, bare, page_limits
from runbook_lib.reports.annotate import BANNER_TAG
from runbook_lib.reports.change_note import CHANGE_NOTE
from runbook_lib.reports.runrecord import Cells, RunRecord
from runbook_lib.result import MIME
from runbook_lib.tone import tone
from runbook_lib.visible import visible
from runbook_lib.words import date_words, dates_html, quantity, time_html, words_html

# In order of preference. Scripts and widgets are not in the list: their plain text is shown.
_SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain", "text/latex"]
_ACTIVE = (
    "script",
    "meta",
    "link",
    "base",
    "iframe",
    "frame",
    "frameset",
    "object",
    "embed",
    "applet",
    "form",
    "noscript",
)
_LOADING = {"src", "srcset", "poster", "background", "data", "xlink:href"}
_MARKDOWN_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "code", "del", "details", "div", "dd", "dl", "dt", "em", "h1", "h2", "h3"),
    *("h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub"),
    *("summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul"),
}
_MARKDOWN_ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title"},
    "th": {"scope"},
    "*": {"class", "id"},
}

_UNDESCRIBED = re.compile(r"<img(?![^>]*\salt=)", re.IGNORECASE)
"""An image that may lack a description. Parsing a page to look for one takes longer than making the page."""

_NOT_DRAWN = markupsafe.Markup('<p class="absent">Shown as plain text: {}</p>\n<pre class="plain">{}</pre>')
_MOST_REPORTED = 50
_MOST_COLOURED = 200_000
"""A text of more characters loses its colours: nbconvert copies the rest of the text at each change of colour."""

_TABLE = r"tables/[a-z0-9-]+\.csv"

EXPLORE_TAG = "explore"
"""The tag of cells that are only for a person at the notebook."""

_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.ERROR)


def notebook_page(nb: NotebookNode, record: RunRecord) -> tuple[str, dict[str, str]]:
    """Make the report of a run, whatever its notebook holds.

    The page says where part of a cell could not be drawn. If the page as a whole fails, it is made without the cells.

    Returns:
        The page; and what could not be drawn, with the reason.
    """
    failed = _FAILED.set({})
    try:
        return render(nb, record), _FAILED.get()
    except Exception as error:  # noqa: BLE001 - the page reports it, and the record is archived all the same
        record = record.model_copy(update={"not_drawn": {"the notebook's cells": _why(error)}})
    finally:
        _FAILED.reset(failed)
    try:
        return render(new_notebook(), record), record.not_drawn
    except Exception as error:  # noqa: BLE001
        record = record.model_copy(update={"not_drawn": {**record.not_drawn, "the page": _why(error)}})
        return bare.bare_page(record), record.not_drawn


def render(nb: NotebookNode, record: RunRecord) -> str:
    """Render the report of a run as an HTML document.

    Args:
        nb: the executed, annotated notebook; it is not changed.
        record: the run's record, shown at the top.
    """
    # nbconvert copies the whole notebook; this copies only what changes
    page = NotebookNode(nb)
    page.metadata = NotebookNode({name: value for name, value in nb.metadata.items() if name != "widgets"})
    page.cells = [_shown(cell) for cell in nb.cells if not _left_out(cell)]
    page_limits.share(page.cells, _note)
    title = _take_title(page) or Path(record.notebook.name).stem
    html, _ = exporter().from_notebook_node(
        page, resources={"run": record, "title": title, "cells": _count(record.cells), "note": CHANGE_NOTE}
    )
    return str(html)


def _left_out(cell: NotebookNode) -> bool:
    """Whether the page leaves out a cell: our banner, or a cell to explore that shows nothing. run.ipynb has both."""
    tags = cell.metadata.get("tags", [])
    return BANNER_TAG in tags or (EXPLORE_TAG in tags and not cell.get("outputs"))


def _shown(cell: NotebookNode) -> NotebookNode:
    """A cell with only what the page can show."""
    shown = NotebookNode(cell)
    if cell.cell_type == "code":
        begins, left_out, ends = page_limits.cut(cell.source)
        shown.source = begins
        if left_out:
            _note("code", page_limits.megabytes(left_out))
            shown.source += f"\n… not shown: {page_limits.megabytes(left_out)} …\n{ends}"
        outputs = cell.outputs
        if any(MIME in output.get("data", {}) for output in outputs):
            # the step's own panel explains this error better
            outputs = [output for output in outputs if output.get("ename") != "RunbookError"]
        shown.outputs = [NotebookNode(output) for output in outputs]
        for output in shown.outputs:
            if "data" in output:
                known = {mime: data for mime, data in output.data.items() if mime in _SHOWN}
                output.data = NotebookNode(known or {page_limits.NOTE: ""})
        shown.outputs = list(page_limits.fit(shown.outputs, _note))
    return shown


_FAILED: ContextVar[dict[str, str]] = ContextVar("not drawn")
"""What could not be drawn of the page in progress, with the reason."""


def _why(error: Exception) -> str:
    return visible(f"{type(error).__name__}: {error}".strip()[:300])


def _or_as_text(draw: Callable[[Any], markupsafe.Markup], what: str) -> Callable[[Any], markupsafe.Markup]:
    """A filter that, where it fails, shows the reason and its input as plain text."""

    @wraps(draw)
    def drawn(value: Any) -> markupsafe.Markup:
        try:
            return draw(value)
        except Exception as error:  # noqa: BLE001 - reported in its place and in the record
            return _not_drawn(what, _why(error), value)

    return drawn


def _note(what: str, why: str) -> None:
    """Record what the page in progress does not show."""
    with suppress(LookupError):  # no page is in progress
        failed = _FAILED.get()
        if len(failed) < _MOST_REPORTED:
            failed[f"{what} {len(failed) + 1}"] = why


def _not_drawn(what: str, why: str, value: Any) -> markupsafe.Markup:
    _note(what, why)
    shown = markupsafe.escape("\n".join(map(visible, str(value).split("\n"))))
    return _NOT_DRAWN.format(why, shown)


class _Exporter(HTMLExporter):
    """nbconvert's exporter, without the CSS selectors that it compiles in 0.1 s to find images without description."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Markdown that cannot be rendered (a missing attachment) or is too long is shown as plain text."""
        begins, left_out, ends = page_limits.cut(source, page_limits.MARKUP["text/markdown"])
        if left_out:
            why = f"{page_limits.megabytes(len(source))} of Markdown; run.ipynb has all of it."
            return str(_not_drawn("Markdown", why, f"{begins}\n…\n{ends}"))
        try:
            return str(super().markdown2html(context, source))
        except Exception as error:  # noqa: BLE001 - reported in its place and in the record
            return str(_not_drawn("Markdown", _why(error), source))

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        page, resources = TemplateExporter.from_notebook_node(self, nb, resources, **kw)
        if not _UNDESCRIBED.search(page):
            return page, resources
        try:
            soup = BeautifulSoup(page, "html.parser")
        except ParserRejectedMarkup:
            return page, resources
        for image in soup.find_all("img", alt=False):
            image.attrs["alt"] = "No description has been provided for this image"
        return str(soup), resources


@cache
def exporter() -> HTMLExporter:
    """Turns a notebook into the page. Its templates are compiled once, for this process and those it forks."""
    made = _Exporter(  # type: ignore[no-untyped-call]
        config=Config({"NbConvertBase": {"display_data_priority": [*_SHOWN, ""]}}),
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_anchor_links=True,
        optimistic_validation=True,  # once, after all preprocessors: most do nothing
        log=_LOG,
    )
    filters: dict[str, Any] = {
        "text": text_html,
        "dates": dates_html,
        "words": words_html,
        "lines": lines_html,
        "terminal": _or_as_text(terminal_html, "text"),
        "inert_html": _or_as_text(inert_html, "HTML"),
        "markdown_html": _or_as_text(markdown_html, "Markdown"),
        "time": time_html,
        "moment": date_words,
        "quantity": quantity,
        "tone": tone,
    }
    for name, function in filters.items():
        made.register_filter(name, function)  # type: ignore[no-untyped-call]
    _compile(made.environment, str(made.template_file))
    return made


def _compile(environment: Environment, name: str) -> None:
    """Load a template, and every template it refers to, into the environment's cache."""
    environment.get_template(name)
    source, _, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]
    for other in find_referenced_templates(environment.parse(source)):
        if other is not None:
            _compile(environment, other)


def _take_title(nb: NotebookNode) -> str:
    """Remove the notebook's first heading and return it: the report's head shows it."""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            first, _, rest = cell.source.lstrip().partition("\n")
            if first.startswith("# "):
                cell.source = rest
                return str(first[2:].strip())
    return ""


def _count(cells: Cells) -> str:
    parts = {
        "executed": cells.executed,
        "failed": cells.failed,
        "stopped": cells.stopped,
        "never ran": cells.never_ran,
        "unknown": cells.unknown,
    }
    return ", ".join(f"{number} {word}" for word, number in parts.items() if number) or "none"


def text_html(value: Any) -> markupsafe.Markup:
    """One line of text from anywhere, shown as it is."""
    return markupsafe.escape(visible(str(value)))


def lines_html(value: Any, now: datetime | None = None) -> markupsafe.Markup:
    """Text with line breaks, dates and `code` in back quotes."""
    return markupsafe.Markup("\n").join(words_html(line, now) for line in str(value).split("\n"))


def terminal_html(value: str) -> markupsafe.Markup:
    """Printed text: keeps its colours, drops overwritten progress lines, makes marks that reorder text visible."""
    if len(value) > _MOST_COLOURED:
        value = strip_ansi(value)
    coloured = str(ansi2html(value.replace("\r\n", "\n")))
    shown = (line.rstrip("\r").rpartition("\r")[2].expandtabs() for line in coloured.split("\n"))
    return markupsafe.Markup("\n".join(visible(line) for line in shown))  # noqa: S704  ansi2html escaped it


def inert_html(value: str) -> markupsafe.Markup:
    """An output's own HTML without its active parts. A Content-Security-Policy does not stop `<meta>` refreshes."""
    soup = BeautifulSoup(value, "html.parser")
    # parsers disagree about what is a tag inside comments and styles
    for comment in soup.find_all(string=lambda string: isinstance(string, Comment)):
        comment.extract()
    for tag in soup.find_all(True):
        if tag.name in _ACTIVE or (tag.name == "style" and "<" in tag.get_text()):
            tag.decompose()
            continue
        for name, target in list((tag.attrs or {}).items()):
            loads = name in _LOADING and not str(target).startswith("data:")
            nowhere = tag.name == "a" and name == "href" and not _leads_somewhere(str(target))
            if loads or nowhere or name.startswith("on"):
                del tag.attrs[name]
    return markupsafe.Markup(str(soup))  # noqa: S704  the notebook's own HTML


@lru_cache(maxsize=256)  # a notebook has the same text in each of its runs
def markdown_html(value: str) -> markupsafe.Markup:
    """HTML made from Markdown: keeps only what Markdown itself can make."""
    clean = nh3.clean(
        value,
        tags=_MARKDOWN_TAGS,
        clean_content_tags=set(),  # the text of a script stays, as text
        attributes=_MARKDOWN_ATTRIBUTES,
        attribute_filter=lambda tag, name, value: None if name == "href" and not _leads_somewhere(value) else value,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel=None,
    )
    # Markdown has no table without a head; a screen reader should not announce an empty one
    headed = re.sub(r"<thead>\s*<tr>\s*(?:<th></th>\s*)+</tr>\s*</thead>", "", clean)
    return markupsafe.Markup(headed)  # noqa: S704  nh3 cleaned it


def _leads_somewhere(href: str) -> bool:
    """Whether a link works inside an archive: links to tables do, links to other notebooks do not."""
    return href.startswith(("https://", "http://", "mailto:", "#")) or re.fullmatch(_TABLE, href) is not None
