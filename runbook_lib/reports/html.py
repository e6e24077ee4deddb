"""report.html: the executed notebook as one page that loads nothing and runs nothing.

Three walls, each enough by itself for what it covers: text is escaped; HTML that outputs bring along loses what is
active; a Content-Security-Policy forbids scripts, frames, forms and every load but `data:` images.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
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

from runbook_lib.clock import iso
from runbook_lib.reports import TEMPLATES, bare, page_limits
from runbook_lib.reports.annotate import BANNER_TAG
from runbook_lib.reports.runrecord import Cells, RunRecord
from runbook_lib.result import MIME
from runbook_lib.tone import tone
from runbook_lib.visible import visible

# The last word is always plain text; scripts and widgets are not in the list, so their plain text is shown.
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
"""An image that may have no description: parsing a page to look for one takes longer than making it."""

_NOT_DRAWN = markupsafe.Markup('<p class="absent">Not drawn: {}</p>\n<pre class="plain">{}</pre>')
_MOST_TOLD = 50
_MOST_COLOURED = 200_000
"""Characters of a text that keeps its colours: nbconvert copies the rest of it at each change of colour."""

_TABLE = r"tables/[a-z0-9-]+\.(?:csv|parquet)"

_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.ERROR)


def notebook_page(nb: NotebookNode, record: RunRecord) -> tuple[str, dict[str, str]]:
    """The report of a run, whatever its notebook holds; and what of it could not be drawn, and why.

    What fails in a cell is told in its place. Where the page as a whole fails, it is made without the cells.
    """
    failed = _FAILED.set({})
    try:
        return render(nb, record), _FAILED.get()
    except Exception as error:  # noqa: BLE001 - it is told, and the record is archived all the same
        record = record.model_copy(update={"not_drawn": {"the notebook's cells": _why(error)}})
    finally:
        _FAILED.reset(failed)
    try:
        return render(new_notebook(), record), record.not_drawn
    except Exception as error:  # noqa: BLE001
        record = record.model_copy(update={"not_drawn": {**record.not_drawn, "the page": _why(error)}})
        return bare.bare_page(record), record.not_drawn


def render(nb: NotebookNode, record: RunRecord) -> str:
    """The report of a run, as a whole HTML document.

    Args:
        nb: the executed, annotated notebook; left unchanged.
        record: the run's record, whose head and error are shown on top.
    """
    # nbconvert copies all of it: here only what is changed
    page = NotebookNode(nb)
    page.metadata = NotebookNode({name: value for name, value in nb.metadata.items() if name != "widgets"})
    page.cells = [_shown(cell) for cell in nb.cells if BANNER_TAG not in cell.metadata.get("tags", [])]
    page_limits.share(page.cells, _tell)
    title = _take_title(page) or Path(record.notebook.name).stem
    html, _ = exporter().from_notebook_node(
        page, resources={"run": record, "title": title, "cells": _count(record.cells)}
    )
    return str(html)


def _shown(cell: NotebookNode) -> NotebookNode:
    """A cell with the outputs that the page shows, and of each what it can show."""
    shown = NotebookNode(cell)
    if cell.cell_type == "code":
        begins, left_out, ends = page_limits.cut(cell.source)
        shown.source = begins
        if left_out:
            _tell("code", page_limits.megabytes(left_out))
            shown.source += f"\n… not drawn: {page_limits.megabytes(left_out)} …\n{ends}"
        outputs = cell.outputs
        if any(MIME in output.get("data", {}) for output in outputs):
            # the step's own panel tells this error better
            outputs = [output for output in outputs if output.get("ename") != "RunbookError"]
        shown.outputs = [NotebookNode(output) for output in outputs]
        for output in shown.outputs:
            if "data" in output:
                known = {mime: data for mime, data in output.data.items() if mime in _SHOWN}
                output.data = NotebookNode(known or {page_limits.NOTE: ""})
        shown.outputs = list(page_limits.fit(shown.outputs, _tell))
    return shown


_FAILED: ContextVar[dict[str, str]] = ContextVar("not drawn")
"""What of the page that is being made could not be drawn."""


def _why(error: Exception) -> str:
    return visible(f"{type(error).__name__}: {error}".strip()[:300])


def _or_as_text(draw: Callable[[Any], markupsafe.Markup], what: str) -> Callable[[Any], markupsafe.Markup]:
    """A filter that shows, where it fails, why and its input as plain text."""

    @wraps(draw)
    def drawn(value: Any) -> markupsafe.Markup:
        try:
            return draw(value)
        except Exception as error:  # noqa: BLE001 - told where it happened, and in the record
            return _not_drawn(what, _why(error), value)

    return drawn


def _tell(what: str, why: str) -> None:
    """Note what of the page that is being made is not drawn."""
    with suppress(LookupError):  # none is
        failed = _FAILED.get()
        if len(failed) < _MOST_TOLD:
            failed[f"{what} {len(failed) + 1}"] = why


def _not_drawn(what: str, why: str, value: Any) -> markupsafe.Markup:
    _tell(what, why)
    shown = markupsafe.escape("\n".join(map(visible, str(value).split("\n"))))
    return _NOT_DRAWN.format(why, shown)


class _Exporter(HTMLExporter):
    """nbconvert's exporter; it finds what has no description without compiling CSS selectors, which takes 0.1 s."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """What it raises for, as an attachment that is not there, is shown as it is written; so is what is too long."""
        begins, left_out, ends = page_limits.cut(source, page_limits.MARKUP["text/markdown"])
        if left_out:
            why = f"{page_limits.megabytes(len(source))} of Markdown; run.ipynb has all of it."
            return str(_not_drawn("Markdown", why, f"{begins}\n…\n{ends}"))
        try:
            return str(super().markdown2html(context, source))
        except Exception as error:  # noqa: BLE001 - told where it happened, and in the record
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
    """What turns a notebook into the page. Its templates are compiled once for a process and what it forks."""
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
        "lines": lines_html,
        "terminal": _or_as_text(terminal_html, "text"),
        "inert_html": _or_as_text(inert_html, "HTML"),
        "markdown_html": _or_as_text(markdown_html, "Markdown"),
        "utc": iso,
        "tone": tone,
    }
    for name, function in filters.items():
        made.register_filter(name, function)  # type: ignore[no-untyped-call]
    _compile(made.environment, str(made.template_file))
    return made


def _compile(environment: Environment, name: str) -> None:
    """Load a template and all that it refers to into the environment's cache."""
    environment.get_template(name)
    source, _, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]
    for other in find_referenced_templates(environment.parse(source)):
        if other is not None:
            _compile(environment, other)


def _take_title(nb: NotebookNode) -> str:
    """The notebook's first heading, taken out of it: the report's head shows it."""
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


def lines_html(value: Any) -> markupsafe.Markup:
    """Text whose line ends are meant, and whose `back quotes` mean code."""
    shown = "\n".join(text_html(line) for line in str(value).split("\n"))
    return markupsafe.Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", shown))  # noqa: S704  `text` has escaped it


def terminal_html(value: str) -> markupsafe.Markup:
    """What was printed: colours kept, overwritten progress lines dropped, marks that reorder text made visible."""
    if len(value) > _MOST_COLOURED:
        value = strip_ansi(value)
    coloured = str(ansi2html(value.replace("\r\n", "\n")))
    shown = (line.rstrip("\r").rpartition("\r")[2].expandtabs() for line in coloured.split("\n"))
    return markupsafe.Markup("\n".join(visible(line) for line in shown))  # noqa: S704  ansi2html has escaped it


def inert_html(value: str) -> markupsafe.Markup:
    """An output's own HTML without what is active. A Content-Security-Policy does not stop `<meta>` refreshes."""
    soup = BeautifulSoup(value, "html.parser")
    # comments and styles with markup inside are where parsers disagree about what is a tag
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
    return markupsafe.Markup(str(soup))  # noqa: S704  the notebook's own HTML, as said above


@lru_cache(maxsize=256)  # the text of a notebook is the same in each of its runs
def markdown_html(value: str) -> markupsafe.Markup:
    """HTML made from Markdown, which may hold any HTML: only what Markdown itself can make is kept."""
    clean = nh3.clean(
        value,
        tags=_MARKDOWN_TAGS,
        clean_content_tags=set(),  # the text of a script stays, as text
        attributes=_MARKDOWN_ATTRIBUTES,
        attribute_filter=lambda tag, name, value: None if name == "href" and not _leads_somewhere(value) else value,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel=None,
    )
    # Markdown knows no table without a head; an empty one is nothing that a screen reader should announce
    headed = re.sub(r"<thead>\s*<tr>\s*(?:<th></th>\s*)+</tr>\s*</thead>", "", clean)
    return markupsafe.Markup(headed)  # noqa: S704  nh3 has cleaned it


def _leads_somewhere(href: str) -> bool:
    """Whether a link works from within an archive: one to a table does, one to another notebook does not."""
    return href.startswith(("https://", "http://", "mailto:", "#")) or re.fullmatch(_TABLE, href) is not None
