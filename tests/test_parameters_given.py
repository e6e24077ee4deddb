"""What `-f` and `-p` make of what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.cli_run import read_parameters
from runbook_lib.errors import RunbookError


@pytest.mark.parametrize(
    ("typed", "value"), [("30", 30), ("-5", -5), ("1.5", 1.5), ("true", True), ("False", False), ("a b", "a b")]
)
def test_what_looks_like_a_number_or_a_truth_is_one(typed: str, value: object) -> None:
    assert read_parameters([], [f"p={typed}"]) == {"p": value}


@pytest.mark.parametrize("typed", ["0012", "1_000", "nan", "Infinity", "1e5", "+7", " 7", "٣", ""])
def test_a_name_made_of_digits_is_not_changed(typed: str) -> None:
    assert read_parameters([], [f"name={typed}"]) == {"name": typed}


@pytest.mark.parametrize("written", ["0012", "1_000", "0x1F", "1:30", "2026-01-01", "+7", "1e5"])
def test_nor_is_it_in_a_file(tmp_path: Path, written: str) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(f"name: {written}\ndue_days: 30\nfolders: [{written}]\nlater: -1.5\n")
    assert read_parameters([file], []) == {"name": written, "due_days": 30, "folders": [written], "later": -1.5}


def test_a_parameter_that_stands_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "given.yaml"
    file.write_text("name: one\nconfirm: one\nname: two\n")
    with pytest.raises(RunbookError, match="line 3: `name` is there already, in line 1"):
        read_parameters([file], [])
