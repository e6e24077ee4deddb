"""What `-f` and `-p` make of what was typed."""

from __future__ import annotations

import pytest

from runbook_lib.cli_run import read_parameters


@pytest.mark.parametrize(
    ("typed", "value"), [("30", 30), ("-5", -5), ("1.5", 1.5), ("true", True), ("False", False), ("a b", "a b")]
)
def test_what_looks_like_a_number_or_a_truth_is_one(typed: str, value: object) -> None:
    assert read_parameters([], [f"p={typed}"]) == {"p": value}


@pytest.mark.parametrize("typed", ["0012", "1_000", "nan", "Infinity", "1e5", "+7", " 7", "٣", ""])
def test_a_name_made_of_digits_is_not_changed(typed: str) -> None:
    assert read_parameters([], [f"name={typed}"]) == {"name": typed}
