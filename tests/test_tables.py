"""A long table beside the notebook: whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.schema import INTEGER, MOMENT, TEXT, Schema
from runbook_lib.tables import LongTable, csv_bytes, disarmed

SCHEMA = Schema("t", {"name": TEXT, "days": INTEGER, "ends": MOMENT})
ROWS = [
    ("plain", "12", "2027-01-02T03:04:05Z"),
    ('=1+1 "q", é 证\nnext line', "-3", ""),
    ("", "", "2026-12-31T23:59:59Z"),
]


def write(folder: Path, rows: Sequence[tuple[str, ...]] = ROWS, *, finish: bool = True):
    with LongTable(folder, SCHEMA, "T") as table:
        table.add(rows)
        return table.finish(unchecked=0) if finish else None


def test_a_spreadsheet_runs_nothing_of_a_table() -> None:
    cells = ("=HYPERLINK(1)", "+1", "-2.5", "@x", "-", "- x", "a=b", 'q"', "two\nlines", "\tx", "é")
    assert csv_bytes([("c",), *((cell,) for cell in cells)]).decode() == (
        'c\r\n\'=HYPERLINK(1)\r\n+1\r\n-2.5\r\n\'@x\r\n-\r\n\'- x\r\na=b\r\n"q"""\r\n"two\nlines"\r\n\'\tx\r\né\r\n'
    )


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("\nx", '"\'\nx"'),
        ("\r=1", "\"'\r'=1\""),
        ("＝1+1", "'＝1+1"),
        ("－1", "'－1"),
        ("＠SUM(1)", "'＠SUM(1)"),
        ("﹦1+1", "'﹦1+1"),
        (" =1+1", " '=1+1"),
        ("\u00a0=1", "\u00a0'=1"),
        ("\ufeff=1+1", "\\ufeff=1+1"),
        ("a;=1+1", "a;'=1+1"),
        ("a; @x;+y", "a; '@x;'+y"),
        ('a;"=1+1"', '"a;""\'=1+1"""'),
        ("a\n=1", '"a\n\'=1"'),
        ("a,=1", '"a,=1"'),
        ("a;-5;+3.5;-", "a;-5;+3.5;-"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("a\u2028=1", "a\\u2028=1"),
        ("Société\u00a0Générale", "Société\u00a0Générale"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_neither_another_locale_s_spreadsheet_nor_a_terminal_does(cell: str, written: str) -> None:
    assert csv_bytes([(cell,)]).decode() == f"{written}\r\n"


def test_a_table_has_no_byte_order_mark() -> None:
    """Scripts rely on the columns' names, and to most the mark would be part of the first one's."""
    assert csv_bytes([("name",), ("Bäcker",)]).startswith(b"name")


@given(st.text() | st.text("a,\"'\r\n =-+@;\t1＝\x1b"))
def test_what_is_disarmed_stays_as_it_is_and_begins_no_formula(cell: str) -> None:
    once = disarmed(cell)
    assert disarmed(once) == once
    for piece in re.split(r"[;\t\r\n]", once):
        bare = piece.lstrip(' "')
        assert not bare.startswith(tuple("=@＝＋－＠"))
        assert not bare.startswith(("+", "-")) or re.fullmatch(r"[+-]?\d+(\.\d+)?|-", bare)


@given(st.lists(st.lists(st.text() | st.text("a,\"'\r\n =-+@\t1;"), min_size=1, max_size=4)))
def test_the_cells_are_written_as_python_s_own_writer_writes_them(rows: list[list[str]]) -> None:
    own = io.StringIO(newline="")
    csv.writer(own).writerows([list(map(disarmed, row)) for row in rows])
    assert csv_bytes(rows).decode() == own.getvalue()


def test_a_name_that_is_no_utf_8_is_written_all_the_same() -> None:
    assert csv_bytes([("caf\udce9",)]) == b"caf\\udce9\r\n"


def test_a_long_table_is_a_csv_with_its_digest(tmp_path: Path) -> None:
    told = write(tmp_path / "tables")
    assert told is not None
    assert (told.rows, [one.file for one in told.files]) == (3, ["tables/t.csv"])
    assert told.files[0].sha256 == hashlib.sha256((tmp_path / "tables/t.csv").read_bytes()).hexdigest()
    with (tmp_path / "tables/t.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert tuple(header) == SCHEMA.columns
    assert rows[1] == ['\'=1+1 "q", é 证\nnext line', "-3", ""]


def test_one_that_was_not_finished_leaves_nothing_and_does_not_touch_the_last_one(tmp_path: Path) -> None:
    write(tmp_path, finish=False)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write(tmp_path, ROWS[:1], finish=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    peaks = []
    for pieces in (20, 80):
        tracemalloc.start()
        with LongTable(tmp_path, SCHEMA, "T") as table:
            for _ in range(pieces):
                table.add([("x" * 200, "1", "2027-01-02T03:04:05Z")] * 500)
            assert table.finish(unchecked=0).rows == 500 * pieces
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        write(tmp_path / "file" / "tables")
