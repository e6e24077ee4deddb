"""index.html of an archive: a calendar of its days, and a list of its runs to search and sort.

The page is a fixed head, a row for each bag, and a fixed tail. So a sealed run is added by writing its row over the
tail, whatever the archive's size. The page's script (no library, no network) puts the newest run first and draws the
calendar from the rows. Without a script the rows are a plain table, oldest first. The page is no evidence.
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
_CLICKED = " <small>clicked</small>"
_WORST = ("good", "info", "calm", "warn", "bad")


def write_index(archive: Path) -> Path:
    """Write `<archive>/index.html` from the present bags, and return its path.

    A bag whose record cannot be read is a row that says so. No bag is sealed meanwhile. Raises OSError.
    """
    with chain.archive_lock(archive):
        return _write(archive)


def add(archive: Path, bag: Path) -> None:
    """Add a bag that was just sealed. The caller holds the archive's lock.

    Takes the same time in a large archive as in a small one. A page that is missing, damaged or of another version is
    written again from all bags. A page that cannot be written keeps no run from being archived;
    `runbook archive index` repairs it.
    """
    head, tail = _frame()
    with suppress(OSError):
        try:
            disk.opened(archive / INDEX, None).close()  # refuses a FIFO or a device
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
    """Write the page again after a purge. The caller holds the archive's lock. A failure is ignored."""
    with suppress(OSError):
        _write(archive)


def _write(archive: Path) -> Path:
    head, tail = _frame()
    rows = "".join(_row(bag) for bag in sorted(reader.archived_bags(archive), key=lambda bag: (bag.at, bag.place)))
    disk.replace(archive / INDEX, head + rows.encode("utf-8", "backslashreplace") + tail)
    return archive / INDEX


@cache
def _frame() -> tuple[bytes, bytes]:
    """The page before and after the rows. The tail names its version, so that no row is added to another version."""
    templates = Environment(
        loader=FileSystemLoader([_TEMPLATES, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = (_TEMPLATES / "index.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = templates.get_template("index.html.j2").render(script=Markup(script), script_sha256=allowed)  # noqa: S704  (our own)
    head, _, tail = page.partition(_ROWS)
    version = hashlib.sha256(page.encode()).hexdigest()
    return head.encode(), tail.replace("VERSION", version).encode()


def _row(bag: ArchivedBag) -> str:
    """A bag as a table row. All values are escaped."""
    run = bag.run
    when = time_html(bag.at)
    link = f'<a href="{quote(bag.place)}/data/report.html">{when}</a>'
    has_report = (bag.folder / "data" / "report.html").is_file()
    verdict = run.verdict if run is not None else None
    ticket = run.ticket or "" if run is not None else ""
    act = f" <b>{certificates_need_action(run.needs_action)}.</b>" if run is not None and run.needs_action else ""
    worst = max((tone(word) for word in (bag.status, verdict) if word), key=_WORST.index)
    clicked = _CLICKED if run is not None and run.mode == "interactive" else ""
    number = bag.link.sequence if bag.link is not None else 0
    return (
        f'<tr class="{worst}" data-n="{number}"{_gone(bag)}><th scope="row">{link if has_report else when}</th>'
        f"<td>{escape(visible(bag.job))}{clicked}</td><td>{_badge(bag.status)}</td>"
        f"<td>{_badge(verdict) if verdict else ''}</td><td>{escape(visible(ticket))}</td>"
        f"<td>{words_html(_shortened(bag.seen), bag.at)}{act}</td></tr>\n"
    )


def _shortened(text: str) -> str:
    if len(text) <= _SEEN:
        return text
    begin = text[:_SEEN]
    return f"{begin}`…" if begin.count("`") % 2 else f"{begin}…"  # `code` that was cut is code still


def _gone(bag: ArchivedBag) -> str:
    """The chain's numbers of bags that a tombstone or an excerpt lists, so that they do not count as missing."""
    numbers: list[int] = []
    for name in (PURGED, ELSEWHERE):
        with suppress(OSError, ValueError):
            numbers += [line.link.sequence for line in tombstones.read_tombstone(disk.read_file(bag.folder / name))]
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
