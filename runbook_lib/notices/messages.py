"""The text and the HTML of messages: what happened, where, how long, what to do, and where the report is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runbook_lib.looks import withheld
from runbook_lib.notices.notice_state import Message
from runbook_lib.notices.notices_file import Notices, NoticeState
from runbook_lib.notices.state_changes import StateChange
from runbook_lib.visible import visible
from runbook_lib.words import dates_text, quantity

TOGETHER = 20
"""From this many changes of a run on, a recipient gets one message with all of them, whatever the rule says."""

SHOWN = 50
"""Changes in one message; the report has all."""

_LONGEST, _SUBJECT, _TITLE = 600, 150, 100

KINDS = {
    NoticeState.DUE: "warning",
    NoticeState.URGENT: "warning",
    NoticeState.EXPIRED: "failure",
    NoticeState.FAILED: "failure",
    NoticeState.UNREACHABLE: "failure",
    NoticeState.RECOVERED: "success",
    NoticeState.ROTATED: "info",
    NoticeState.DISABLED: "info",
}
"""apprise's kind of message, by state: its colour."""

_ORDER = ("failure", "warning", "info", "success")


def messages(changes: Sequence[StateChange], notices: Notices, archive: Path) -> list[Message]:
    """The messages about the changes of one bag: one for each change, way and recipient, or a joined one."""
    singly: dict[str, list[StateChange]] = {}
    joined: dict[str, list[StateChange]] = {}
    for way in dict.fromkeys(reference for ways in notices.recipients.values() for reference in ways):
        names = {name for name, ways in notices.recipients.items() if way in ways}
        rules = [rule for rule in notices.send if names & set(rule.to)]
        for change in changes:
            fitting = [rule for rule in rules if rule.takes(change.state, change.job, change.environment)]
            if fitting:
                target = joined if all(rule.digest for rule in fitting) else singly
                target.setdefault(way, []).append(change)
    found = []
    for way, some in singly.items():
        groups = [some] if len(some) >= TOGETHER else [[change] for change in some]
        found += [_message(way, group, notices, archive) for group in groups]
    return [*found, *(_message(way, group, notices, archive) for way, group in joined.items())]


def trial(way: str, name: str, now: datetime) -> Message:
    """A message that proves that a way works."""
    subject = f"Test message for {_short(name, _TITLE)}"
    facts = [("Do", "Nothing. Messages about certificates and jobs will come the same way.")]
    return Message(way, "info", subject, _text([(subject, facts)], now), _html(subject, [(subject, facts)], now))


def _message(way: str, changes: Sequence[StateChange], notices: Notices, archive: Path) -> Message:
    now = changes[0].now
    parts = [(_short(change.title, _LONGEST), _facts(change, notices, archive)) for change in changes[:SHOWN]]
    kinds = {KINDS[change.state] for change in changes}
    kind = next(kind for kind in _ORDER if kind in kinds)
    first = changes[0]
    if len(changes) == 1:
        subject = f"{first.state.value.capitalize()}: {_short(first.title, _TITLE)}"
    else:
        counts = {state: sum(change.state is state for change in changes) for state in NoticeState}
        summary = ", ".join(f"{number:,} {state.value}" for state, number in counts.items() if number)
        subject = f"{quantity(len(changes), 'change')}: {summary}"
    left = f"{len(changes) - SHOWN:,} more are in the report." if len(changes) > SHOWN else ""
    # some services read a title as Markdown, whatever is declared: it may hold no link
    subject = withheld(_short(subject.replace("](", "] ("), _SUBJECT))
    return Message(way, kind, subject, withheld(_text(parts, now, left)), withheld(_html(subject, parts, now, left)))


def _facts(change: StateChange, notices: Notices, archive: Path) -> list[tuple[str, str]]:
    facts = [(label, _short(value, _LONGEST)) for label, value in change.facts]
    base = notices.reports or str(archive.absolute())
    path = quote(change.report) if notices.reports else change.report
    return [*facts, ("Report", _short(f"{base}/{path}", _LONGEST))]


def _short(text: str, most: int) -> str:
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


Parts = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""Titles, each with its facts."""


def _text(parts: Parts, now: datetime, left: str = "") -> str:
    def lines(title: str, facts: Iterable[tuple[str, str]]) -> str:
        return "\n".join([f"{title}.", "", *(f"{label}: {dates_text(value, now)}" for label, value in facts)])

    return "\n\n\n".join([*(lines(title, facts) for title, facts in parts), *filter(None, [left])])


def _html(subject: str, parts: Parts, now: datetime, left: str = "") -> str:
    folder = Path(__file__).with_name("templates")
    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = templates.get_template("message.html.j2")
    return template.render(
        subject=subject, parts=parts, left=left, dates=lambda text: dates_text(text, now), is_link=_is_link
    )


def _is_link(label: str, value: str) -> bool:
    return label == "Report" and value.startswith(("https://", "http://"))
