"""Whatever somebody else wrote is shown as what it holds, at once."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.visible import visible

DIRECTION = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def by_character(text: str) -> str:
    """What `visible` says it does, written down once more."""
    return "".join(
        char
        if char.isprintable() and char not in DIRECTION
        else f"\\u{ord(char):04x}"
        if ord(char) > 0xFF
        else f"\\x{ord(char):02x}"
        for char in text
    )


def test_every_character_is_shown_as_it_is_or_as_its_escape() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert visible(everything) == by_character(everything)
    for mark in DIRECTION:
        assert visible(f"a{mark}b") == f"a\\u{ord(mark):04x}b"


@given(st.text() | st.text("a\u202e\n\x1bé証"))
def test_any_text_is_shown_so(text: str) -> None:
    assert visible(text) == by_character(text)


@pytest.mark.parametrize("piece", ["plain ", "plain é ", "é\u202e", "\x1b[31m", "\x00"])
def test_a_long_line_takes_no_longer_than_it_must(piece: str) -> None:
    """0.66 s for a million characters once: 66 s for the 30 MB that a cell can print in one line."""
    line = piece * (3_000_000 // len(piece))
    began = time.process_time()
    visible(line)
    assert time.process_time() - began < 1.2
