"""What `-f` and `-p` make of what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.audit.inventory_diff import named
from runbook_lib.catalogue import Exit
from runbook_lib.cli.parameters import read_parameters
from runbook_lib.errors import RunbookError


@pytest.mark.parametrize(
    ("typed", "value"), [("30", 30), ("-5", -5), ("1.5", 1.5), ("true", True), ("False", False), ("a b", "a b")]
)
def test_what_looks_like_a_number_or_a_truth_is_one(typed: str, value: object) -> None:
    assert read_parameters([], [("p", typed)]) == {"p": value}


@pytest.mark.parametrize("typed", ["0012", "1_000", "nan", "Infinity", "1e5", "+7", " 7", "٣", ""])
def test_a_name_made_of_digits_is_not_changed(typed: str) -> None:
    assert read_parameters([], [("name", typed)]) == {"name": typed}


@pytest.mark.parametrize("written", ["0012", "1_000", "0x1F", "1:30", "2026-01-01", "+7", "1e5"])
def test_nor_is_it_in_a_file(tmp_path: Path, written: str) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(f"name: {written}\ndue_days: 30\nfolders: [{written}]\nlater: -1.5\n")
    assert read_parameters([file], []) == {"name": written, "due_days": 30, "folders": [written], "later": -1.5}


def test_a_parameter_that_stands_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "given.yaml"
    file.write_text("name: one\nconfirm: one\nname: two\n")
    with pytest.raises(RunbookError, match="line 3: `name` is already in line 1"):
        read_parameters([file], [])


@pytest.mark.parametrize("digits", ["9" * 5000, "-" + "9" * 400, "9" * 400 + ".5"])
def test_a_number_nobody_can_mean_is_told_with_its_parameter_or_line(tmp_path: Path, digits: str) -> None:
    with pytest.raises(RunbookError, match=r"-p due_days: the number has [\d,]+ digits"):
        read_parameters([], [("due_days", digits)])
    (tmp_path / "given.yaml").write_text(f"name: a\ndue_days: {digits}\n")
    with pytest.raises(RunbookError, match=r"line 2: the number has [\d,]+ digits"):
        read_parameters([tmp_path / "given.yaml"], [])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: 1\non: 2\n", 'line 2: YAML reads the name `on` as a truth value.*quotes: "on":'),
        ("1: a\n", "line 1: YAML reads the name `1` as a number"),
        ("~: a\n", "line 1: YAML reads the name `~` as nothing"),
        ("? [a, b]\n: c\n", "line 1: a list or mapping in place of a name"),
        ("a b: 1\n", "line 1: 'a b' cannot be a parameter's name"),
        ("class: 1\n", "line 1: 'class' cannot be a parameter's name"),
        ("a: 1\nb: !!timestamp foo\n", "line 2: '!!timestamp' is not accepted here"),
        ("a: !!int ''\n", "line 1: '' is not written as a number"),
        ("a: !!bool perhaps\n", "line 1: 'perhaps' is not a truth value"),
        ("a: !!int [a]\n", "line 1: '!!int' is not accepted here"),
        ("a: &a [*a]\n", "line 1: a value that contains itself"),
        ("a: " + "[" * 60 + "]" * 60, "line 1: more than 50 levels"),
        ("a: " + "[" * 200_000, "more than 50 levels"),
        ("- " * 200_000, "more than 50 levels"),
        ("\0", "not YAML"),
        ('a: "\\ud800"\n', "not YAML in line 1"),
        (
            "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(10)),
            "more than 2,000,000 values",
        ),
    ],
)
def test_what_yaml_takes_and_nobody_means_is_told_with_its_line(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "given.yaml").write_text(content)
    with pytest.raises(RunbookError, match=rf"(?s)given\.yaml.*{told}") as refused:
        read_parameters([tmp_path / "given.yaml"], [])
    assert refused.value.exit is Exit.USAGE


def test_a_value_that_is_named_once_and_used_twice_is_read(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text("a: &all {x: 1, y: 0012}\nb:\n  <<: *all\n  y: 2\n")
    assert read_parameters([tmp_path / "given.yaml"], []) == {"a": {"x": 1, "y": "0012"}, "b": {"x": 1, "y": 2}}


@pytest.mark.parametrize("content", [b"\xff\xfea\0", b"a: 1\nb: M\xfcller\n"])
def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "given.yaml").write_bytes(content)
    with pytest.raises(RunbookError, match=r"given\.yaml, line \d: not UTF-8 text"):
        read_parameters([tmp_path / "given.yaml"], [])


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2026-02-30"])
def test_a_day_at_the_end_of_the_calendar_is_told(tmp_path: Path, day: str) -> None:
    with pytest.raises(RunbookError, match="is not a valid day"):
        named(tmp_path, day)


@pytest.mark.parametrize("pair", ["=", "=1", "a b=1", "1=2", "x;import os=1", "lambda=1", "a\udcff=1", "name=\udcff"])
def test_what_cannot_be_a_line_of_the_notebook_is_refused(pair: str) -> None:
    name, _, value = pair.partition("=")
    with pytest.raises(RunbookError, match="-p"):
        read_parameters([], [(name, value)])
