"""The histogram: bounded for any number of certificates, and equal bytes for equal counts."""

from __future__ import annotations

from datetime import UTC, datetime

from runbook_lib.result import Histogram
from runbook_lib.widgets.histogram import AFTER, BEFORE, bins, describe_histogram, histogram_svg
from tests.widgets.test_plots import texts

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


def histogram(*months: tuple[str, str, int]) -> Histogram:
    return Histogram(title="Ends", months=months, now=NOW)


def test_every_certificate_is_in_a_bar_those_far_away_in_the_outer_ones():
    labels, counts = bins(
        histogram(
            ("1999-01", "expired", 7),
            ("2026-05", "expired", 1),
            ("2026-11", "urgent", 2),
            ("2028-05", "healthy", 3),
            ("2028-06", "healthy", 10),
            ("9999-12", "healthy", 90),
        )
    )
    assert (labels[0], labels[1], labels[-2], labels[-1]) == ("earlier", "2026-05", "2028-05", "later")
    assert len(labels) == BEFORE + AFTER + 3
    assert labels[BEFORE + 1] == "2026-11"
    assert (counts["expired"][0], counts["expired"][1]) == (7, 1)
    assert (counts["healthy"][-2], counts["healthy"][-1]) == (3, 100)
    assert sum(map(sum, counts.values())) == 113


def test_a_drawing_of_a_hundred_thousand_is_as_small_as_one_of_ten():
    months = [(f"{2000 + number // 12}-{number % 12 + 1:02}", "expired", 1000) for number in range(600)]
    many, few = histogram_svg(histogram(*months)), histogram_svg(histogram(("2026-12", "due", 10)))
    assert len(many) < len(few) * 1.2
    assert many == histogram_svg(histogram(*months))
    assert "due" in texts(few)
    assert few.startswith('<svg role="img" aria-label="Ends: 2026-12 10"')


def test_its_counts_are_in_words_too():
    assert describe_histogram(histogram(("2026-12", "due", 1200), ("2026-12", "healthy", 34))) == "Ends: 2026-12 1,234"
    assert describe_histogram(histogram()) == "Ends: none"
    assert histogram_svg(histogram()).startswith("<svg")


def test_its_states_are_in_the_order_of_severity_the_worst_first():
    months = [("2026-12", state, 1) for state in ("due", "expired", "healthy", "something else", "unchecked", "urgent")]
    _, counts = bins(histogram(*months))
    assert list(counts) == ["unchecked", "urgent", "due", "expired", "healthy", "something else"]
    legend = [text for text in texts(histogram_svg(histogram(*months))) if text in counts]
    assert legend == list(counts)
