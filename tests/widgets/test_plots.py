"""The timeline: equal bytes for equal certificates, readable with 300 of them, and safe for any name."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest

from runbook_lib.result import Bar, Timeline
from runbook_lib.widgets import plots

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def timeline(*ends: int, label: str = "Certificate {}") -> Timeline:
    bars = tuple(
        Bar(
            label=label.format(number),
            start=NOW + (end - 396) * DAY,
            end=NOW + end * DAY,
            state="expired" if end < 0 else "healthy",
        )
        for number, end in enumerate(ends)
    )
    return Timeline(title="Validity", bars=bars, now=NOW)


def texts(svg: str) -> list[str]:
    # written by matplotlib a moment ago, and without a document type
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_the_same_certificates_give_the_same_bytes():
    assert plots.timeline_svg(timeline(10, 200)) == plots.timeline_svg(timeline(10, 200))
    assert plots.timeline_svg(timeline(10, 200)) != plots.timeline_svg(timeline(10, 201))


def test_a_bar_carries_its_name_and_its_state_in_words():
    words = texts(plots.timeline_svg(timeline(10, -5)))
    assert {"Certificate 0", "Certificate 1", "healthy", "expired"} <= set(words)
    assert any("23 Nov 2026, 14:00:00 UTC" in one for one in words)


LAST, FIRST = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "now"),
    [
        *((NOW, LAST, NOW), (FIRST, LAST, NOW), (FIRST, FIRST, NOW), (LAST, LAST, NOW), (LAST, FIRST, NOW)),
        *((NOW, NOW, LAST), (NOW, NOW, FIRST)),
    ],
)
@pytest.mark.parametrize("count", [1, 5])
def test_a_certificate_may_end_at_either_end_of_the_calendar(start: datetime, end: datetime, now: datetime, count: int):
    bars = (Bar(label="for ever", start=start, end=end, state="healthy"),) * count
    assert "for ever" in texts(plots.timeline_svg(Timeline(title="Validity", bars=bars, now=now)))


def test_of_300_certificates_the_most_pressing_are_drawn_and_the_others_counted():
    svg = plots.timeline_svg(timeline(*range(-100, 200)))
    words = texts(svg)
    assert sum(one.startswith("Certificate") for one in words) == plots.MOST_BARS
    assert "Certificate 100" in words  # ends today
    assert "Certificate 139" in words
    assert "Certificate 0" not in words  # expired a hundred days ago
    assert any("260 more" in one for one in words)
    assert "40 that end soonest are drawn, 260 not" in plots.describe(timeline(*range(-100, 200)))


def test_a_hostile_name_is_text_and_never_a_formula():
    svg = plots.timeline_svg(timeline(10, label='<b onload="x">$\\frac{{1}}{{2}}$ & "q" \u202e{}'))
    assert "<b" not in svg
    assert "\u202e" not in svg
    assert any("$\\frac" in one for one in texts(svg))


def test_a_name_in_any_script_is_drawn_without_a_warning():
    assert any("证书" in one for one in texts(plots.timeline_svg(timeline(10, label="证书 🔑 {}"))))


def test_the_drawing_has_a_name_for_screen_readers_and_styles_nothing_else():
    svg = plots.timeline_svg(timeline(10))
    assert svg.startswith('<svg role="img" aria-label="Validity: 1 certificate;')
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert "currentColor" in svg
    # namespaces are names; nothing is loaded
    assert set(re.findall(r'href="([^#][^"]*)"', svg)) == set()
    assert "url(http" not in svg


def test_no_certificate_at_all_is_an_empty_axis():
    assert plots.timeline_svg(timeline()).startswith("<svg")
    assert "no certificates" in plots.describe(timeline())


def test_bars_of_odd_lengths_are_drawn():
    odd = Timeline(
        title="Odd",
        now=NOW,
        bars=(
            Bar(label="ends before it starts", start=NOW, end=NOW - DAY, state="mismatch"),
            Bar(label="a moment", start=NOW, end=NOW, state="due"),
            Bar(label="a century", start=NOW - 20000 * DAY, end=NOW + 20000 * DAY, state="healthy"),
            Bar(label="long ago", start=NOW - 9000 * DAY, end=NOW - 8000 * DAY, state="expired"),
        ),
    )
    assert {"a century", "long ago"} <= set(texts(plots.timeline_svg(odd)))
