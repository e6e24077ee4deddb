"""A table's types: the same DataFrame from a notebook and from a CSV, whatever its rows."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.inventories.schemas import INVENTORY
from runbook_lib.schema import FLAG, INTEGER, MOMENT, TEXT, ColumnKind, Schema, texts
from runbook_lib.tables import csv_bytes, csv_of
from tests import reference

SIZES = (0, 1, 500, 501, 100_000)
SMALL = Schema("small", {"name": TEXT, "state": ("fine", "bad"), "n": INTEGER, "at": MOMENT, "on": FLAG})
CELLS = {
    TEXT: st.text() | st.sampled_from(["", "NA", "null", "nan", "0012", "1e5", "True", "=1+1", "a\r\nb", '"', "\x00"]),
    INTEGER: st.integers(-(10**9), 10**9).map(str) | st.just(""),
    MOMENT: st.sampled_from(["", "2026-11-23", "1950-01-01T00:00:00Z", "2026-12-31T23:59:59Z", "9999-12-31T23:59:59Z"]),
    FLAG: st.sampled_from(["", "yes", "no", "unknown"]),
}


def inventory(rows: int) -> bytes:
    """An inventory of so many rows, as a notebook's CSV; every fifth has no response."""
    states = INVENTORY.types["state"]
    made = [
        (
            *(f"=cmd|{number}", states[number % len(states)], "", "" if number % 5 == 0 else str(number - 9)),
            *("" if number % 5 == 0 else "2027-01-02T03:04:05Z", "", ("unknown", "yes", "no")[number % 3]),
            *("no", "", "NA", f"{number:040x}", ""),
        )
        for number in range(rows)
    ]
    return csv_of(INVENTORY.table("Certificates", made))


@pytest.mark.parametrize("rows", SIZES)
def test_a_frame_has_the_documented_dtypes_however_many_rows_it_has(rows: int) -> None:
    frame = INVENTORY.frame(inventory(rows))
    assert len(frame) == rows
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        name: str(kind) if isinstance(kind, ColumnKind) else "category" for name, kind in INVENTORY.types.items()
    }
    state: Any = frame["state"].cat
    assert state.ordered
    assert tuple(state.categories) == INVENTORY.types["state"]
    if rows > 2:
        first, second = frame.iloc[0], frame.iloc[1]
        assert (first["name"], second["owner"], second["serial"]) == ("'=cmd|0", "NA", f"{1:040x}")
        assert first[["days left", "ends", "enabled", "id", "rotation"]].isna().all()
        assert (second["days left"], bool(second["enabled"])) == (-8, True)
        assert second["ends"] == datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert (frame["state"] >= "due").sum() == sum(word >= 6 for word in frame["state"].cat.codes)


@pytest.mark.parametrize("rows", SIZES)
def test_the_documented_code_reads_the_csv_to_an_equal_frame(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inventory.csv").write_bytes(inventory(rows))
    names: dict[str, Any] = {}
    exec(reference.reading().removeprefix("```python\n").removesuffix("```"), names)  # noqa: S102
    assert_frame_equal(names["frame"], INVENTORY.frame(inventory(rows)))


@given(
    st.lists(
        st.tuples(*(st.sampled_from(kind) if isinstance(kind, tuple) else CELLS[kind] for kind in SMALL.types.values()))
    )
)
def test_nothing_is_lost_on_the_way_to_a_frame_and_back(rows: list[tuple[str, ...]]) -> None:
    written = csv_of(SMALL.table("Small", rows))
    frame = SMALL.frame(written)
    columns = texts(frame)
    again = csv_bytes([tuple(columns), *zip(*columns.values(), strict=True)])
    assert_frame_equal(SMALL.frame(again), frame)
    cells = list(csv.reader(io.StringIO(written.decode(), newline="")))[1:]
    assert [row[:3] for row in cells] == [
        [columns[name][number] for name in SMALL.columns[:3]] for number in range(len(rows))
    ]


@pytest.mark.parametrize(
    "row",
    [
        ("a", "worse", "1", "", ""),
        ("a", "bad", "many", "", ""),
        ("a", "bad", "1", "soon", ""),
        ("a", "bad", "1", "", "maybe"),
    ],
)
def test_a_cell_that_is_not_of_its_type_is_an_error_and_not_a_missing_value(row: tuple[str, ...]) -> None:
    with pytest.raises(RunbookError) as caught:
        SMALL.frame(csv_of(SMALL.table("Small", [row])))
    assert caught.value.reason is Reason.UNREADABLE_FILE


def test_a_table_of_an_earlier_version_lacks_a_column_and_is_read() -> None:
    frame = SMALL.frame(b"name,state\r\nA,bad\r\n")
    assert list(frame) == ["name", "state"]
    assert frame["state"].dtype == pd.CategoricalDtype(["fine", "bad"], ordered=True)
