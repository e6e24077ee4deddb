"""index.html of an archive: a calendar of its days, and a list of its runs that is searched, sorted and read.

The page is a head that never changes, a row for each bag, and a tail. So a run that was sealed is added by writing its
row over the tail, whatever the archive's size; the page's own script (no library, no network) puts the newest first and
draws the calendar from the rows. Without a script the rows are a plain table, oldest first. The page is no evidence.
"""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from runbook_lib import disk
from runbook_lib.archive import chain, reader, tombstones
from runbook_lib.archive.reader import ArchivedBag
from runbook_lib.archive.tombstones import ELSEWHERE, PURGED
from runbook_lib.reports import TEMPLATES
from runbook_lib.tone import tone
from runbook_lib.visible import visible
from runbook_lib.words import certificates_need_action, time_html, words_html

INDEX = "index.html"
_TEMPLATES = Path(__file__).with_name("templates")
_ROWS = "<!-- rows -->\n"
_SEEN = 240  # characters
_WORST = ("good", "info", "calm", "warn", "bad")


def write_index(archive: Path) -> Path:
    """Make `<archive>/index.html` anew from the bags that are there, and return its path.

    A bag whose record cannot be read is a row that says so. Nobody seals while this reads. Raises OSError.
    """
    with chain.archive_lock(archive):
        return _write(archive)


def add(archive: Path, bag: Path) -> None:
    """Add a bag that was just sealed; the caller holds the archive's lock.

    Takes the same time in a large archive as in a small one. Only where the page is missing, damaged or of another
    version is it made anew from all bags. It is a convenience: what keeps it from being written keeps no run from
    being archived, and `runbook archive index` makes it good.
    """
    head, tail = _frame()
    with suppress(OSError):
        try:
            disk.opened(archive / INDEX, None).close()  # no FIFO, no device
            with (archive / INDEX).open("r+b") as page:
                page.seek(-len(tail), os.SEEK_END)
                if page.read() == tail and page.tell() >= len(head) + len(tail):
                    page.seek(-len(tail), os.SEEK_END)
                    page.write(_row(reader.entry(archive, bag)).encode("utf-8", "backslashreplace") + tail)
                    return
        except OSError:
            pass  # no page yet, or one too short to be a page
        _write(archive)


def renew(archive: Path) -> None:
    """Make the page anew after bags went; the caller holds the archive's lock. It keeps nothing from going on."""
    with suppress(OSError):
        _write(archive)


def _write(archive: Path) -> Path:
    head, tail = _frame()
    rows = "".join(_row(one) for one in sorted(reader.archived_bags(archive), key=lambda one: (one.at, one.place)))
    disk.replace(archive / INDEX, head + rows.encode("utf-8", "backslashreplace") + tail)
    return archive / INDEX


@cache
def _frame() -> tuple[bytes, bytes]:
    """What stands before and behind the rows. The tail names the page's version: another's page is not added to."""
    templates = Environment(
        loader=FileSystemLoader([_TEMPLATES, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = (_TEMPLATES / "index.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = templates.get_template("index.html.j2").render(script=Markup(script), script_sha256=allowed)  # noqa: S704  (our own)
    head, _, tail = page.partition(_ROWS)
    version = hashlib.sha256(page.encode()).hexdigest()
    return head.encode(), tail.replace("VERSION", version).encode()


def _row(one: ArchivedBag) -> str:
    """A bag as a table row. Every value is data, whoever wrote it."""
    told = one.run
    when = time_html(one.at)
    link = f'<a href="{quote(one.place)}/data/report.html">{when}</a>'
    has_report = (one.folder / "data" / "report.html").is_file()
    verdict = told.verdict if told is not None else None
    seen = one.seen if len(one.seen) <= _SEEN else f"{one.seen[:_SEEN]}…"
    act = f" <b>{certificates_need_action(told.needs_action)}.</b>" if told is not None and told.needs_action else ""
    worst = max((tone(word) for word in (one.status, verdict) if word), key=_WORST.index)
    number = one.link.sequence if one.link is not None else 0
    return (
        f'<tr class="{worst}" data-n="{number}"{_gone(one)}><th scope="row">{link if has_report else when}</th>'
        f"<td>{escape(visible(one.job))}</td><td>{_badge(one.status)}</td>"
        f"<td>{_badge(verdict) if verdict else ''}</td><td>{words_html(seen, one.at)}{act}</td></tr>\n"
    )


def _gone(one: ArchivedBag) -> str:
    """The numbers of the chain that a tombstone, or the end of an excerpt, stands for: nobody need look for them."""
    numbers: list[int] = []
    for name in (PURGED, ELSEWHERE):
        with suppress(OSError, ValueError):
            numbers += [bag.link.sequence for bag in tombstones.read_tombstone(disk.read_file(one.folder / name))]
    if not numbers:
        return ""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return f' data-gone="{" ".join(f"{first}-{last}" for first, last in runs)}"'


def _badge(word: str) -> str:
    return f'<span class="badge {tone(word)}">{escape(visible(word))}</span>'
