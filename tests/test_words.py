"""Counts agree with their nouns, and a date says how far away it is, from the moment it is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from runbook_lib.clock import parse_utc
from runbook_lib.words import (
    certificates_need_action,
    date_words,
    dates_html,
    dates_text,
    quantity,
    time_html,
    words_html,
)

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "words"), [(0, "no rows"), (1, "1 row"), (2, "2 rows"), (1_234_567, "1,234,567 rows")]
)
def test_a_count_agrees_with_its_noun(number: int, words: str) -> None:
    assert quantity(number, "row") == words


def test_a_plural_may_be_more_than_an_s() -> None:
    assert [quantity(number, "entry", "entries") for number in (0, 1, 2)] == ["no entries", "1 entry", "2 entries"]


def test_the_verb_agrees_too() -> None:
    assert [certificates_need_action(number) for number in (0, 1, 2)] == [
        "no certificates need action",
        "1 certificate needs action",
        "2 certificates need action",
    ]


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-12-08T23:59:59Z", "8 Dec 2026 (in 10 days)"),
        ("2026-12-08T00:00:00Z", "8 Dec 2026 (in 9 days)"),  # full days, as the column "days left" counts them
        ("2026-11-25T11:00:00Z", "25 Nov 2026 (3 days ago)"),
        ("2026-11-30T11:58:00Z", "30 Nov 2026, 11:58:00 UTC (in 1 day)"),
        ("2026-12-01T11:59:58Z", "1 Dec 2026 (in 3 days)"),  # a moment later the three days are still three
        ("2026-12-01T11:58:00Z", "1 Dec 2026 (in 2 days)"),
        ("2026-11-28T15:00:00Z", "28 Nov 2026, 15:00:00 UTC (in 3 hours)"),
        ("2026-11-28T11:58:59Z", "28 Nov 2026, 11:58:59 UTC (1 minute ago)"),
        ("2026-11-28T12:00:00Z", "28 Nov 2026, 12:00:00 UTC"),
        ("2028-11-27T12:00:00Z", "27 Nov 2028 (in 730 days)"),
        ("2029-11-28T12:00:00Z", "28 Nov 2029 (in 3 years)"),
        ("9999-12-31T23:59:59Z", "31 Dec 9999 (in 7,973 years)"),
        ("0001-01-01T00:00:00Z", "1 Jan 1 (2,025 years ago)"),
    ],
)
def test_a_date_is_for_people_and_says_how_far_it_is_from_the_given_moment(moment: str, words: str) -> None:
    assert date_words(parse_utc(moment), NOW) == words


def test_a_moment_by_itself_is_exact_and_in_utc() -> None:
    there = datetime(2026, 12, 9, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert date_words(there) == "8 Dec 2026, 23:30:00 UTC"
    assert date_words(there, NOW) == "8 Dec 2026 (in 10 days)"


END = '<time datetime="2026-12-08T23:59:59Z" title="2026-12-08T23:59:59Z">8 Dec 2026</time> (in 10 days)'


def test_the_exact_moment_is_in_the_element() -> None:
    assert time_html(parse_utc("2026-12-08T23:59:59Z"), NOW) == END
    assert dates_html("it ends 2026-12-08T23:59:59Z.", NOW) == f"it ends {END}."
    assert dates_text("it ends 2026-12-08T23:59:59Z.", NOW) == "it ends 8 Dec 2026 (in 10 days)."


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-08",
        "ci-2026-12-08T23:59:59Z",
        "2026-12-08T23:59:59Z-job",
        "2026-13-08T23:59:59Z",
        "2026-12-08T23:59:60Z",
        "20261208T235959Z",
    ],
)
def test_what_is_no_moment_or_part_of_a_name_stays_as_it_is(text: str) -> None:
    assert dates_html(text, NOW) == dates_text(text, NOW) == text


def test_all_else_is_text_whoever_sent_it() -> None:
    hostile = '<b title="2026-12-08T23:59:59Z">\u202e`<i>` 2026-12-08T23:59:59Z'
    for shown in (dates_html(hostile, NOW), words_html(hostile, NOW)):
        assert "<b" not in shown
        assert "<i>" not in shown
        assert "\u202e" not in shown
        assert shown.endswith(END)


def test_code_is_between_back_quotes_and_nothing_in_it_is_replaced() -> None:
    assert words_html("set `clock: 2026-12-08T23:59:59Z` & go", NOW) == (
        "set <code>clock: 2026-12-08T23:59:59Z</code> &amp; go"
    )
    assert words_html("one ` alone", NOW) == "one ` alone"
