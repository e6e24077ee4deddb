"""A comparison of two inventories as one HTML page that loads nothing."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runbook_lib.audit.inventory_diff import Change, Comparison
from runbook_lib.reports import TEMPLATES
from runbook_lib.words import date_words, dates_html

_TONES = {Change.VANISHED: "bad", Change.UNKNOWN: "warn", Change.CLOSER: "warn", Change.APPEARED: "good"}


def comparison_page(comparison: Comparison) -> str:
    """The HTML document. All values are escaped."""
    templates = Environment(
        loader=FileSystemLoader([Path(__file__).with_name("templates"), TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    templates.filters.update(moment=date_words, dates=lambda value: dates_html(str(value), comparison.after.at))
    template = templates.get_template("inventory_diff.html.j2")
    return template.render(comparison=comparison, table=comparison.table(), tones=_TONES)
