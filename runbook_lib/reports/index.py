"""index.html of an archive: every run with its status, newest first, and a link to its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError

from runbook_lib.reports.html import TEMPLATES, tone, utc
from runbook_lib.reports.runrecord import RunRecord
from runbook_lib.result import Verdict, visible


@dataclass(frozen=True)
class Entry:
    """A bag: its folder below the archive, its record, or why that cannot be read."""

    folder: str
    record: RunRecord | None
    problem: str
    report: bool

    @property
    def seen(self) -> str:
        """What the run came to, in a line."""
        if self.record is None:
            return self.problem
        if self.record.error is not None:
            return f"{self.record.error['title']}: {self.record.error['what']}"
        told = [step.headline for step in self.record.steps if step.verdict is not Verdict.NOTHING_TO_DO]
        return (told or [step.headline for step in self.record.steps] or [""])[-1]


def write_index(archive: Path) -> Path:
    """Write `<archive>/index.html` from the bags that are there, and return its path.

    A bag whose record cannot be read is a row that says so. The page is made anew each time and is no evidence itself.
    """
    entries = sorted((_entry(archive, bag) for bag in _bags(archive)), key=lambda one: one.folder, reverse=True)
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters.update(tone=tone, utc=utc, visible=lambda value: visible(str(value)))
    page = templates.get_template("archive/index.html.j2").render(entries=entries)
    index = archive / "index.html"
    aside = archive / ".index.html.new"
    aside.write_text(page, encoding="utf-8")
    aside.replace(index)
    return index


def _bags(archive: Path) -> list[Path]:
    return [path.parent for path in archive.glob("[0-9]*/[0-9]*/[0-9]*/*/bagit.txt")]


def _entry(archive: Path, bag: Path) -> Entry:
    folder = str(bag.relative_to(archive))
    report = (bag / "data" / "report.html").is_file()
    try:
        return Entry(folder, RunRecord.model_validate_json((bag / "data" / "run.json").read_bytes()), "", report)
    except (OSError, ValidationError) as error:
        return Entry(folder, None, f"its run.json cannot be read: {type(error).__name__}", report)
