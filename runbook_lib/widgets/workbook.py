"""A DataFrame as an Excel workbook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.utils import get_column_letter

from runbook_lib.clock import iso
from runbook_lib.tables import disarmed

if TYPE_CHECKING:
    import pandas as pd

ROWS_MAX = 2**20 - 1
"""Rows of a sheet, without the header."""

_TEXT_MAX = 32_767
"""Characters of a cell. openpyxl cuts longer text without a word."""

_FIRST_YEAR = 1901
"""Excel has no dates before 1900, and a wrong leap day in that year."""

_WIDEST, _SAMPLE = 40, 200


def write_workbook(frame: pd.DataFrame, path: Path) -> None:
    """Write a DataFrame as a workbook of one sheet, with its types: dates, numbers and truth values.

    Times are in UTC, and their format says so. Excel runs nothing of a cell: text is disarmed as in our CSV.

    Raises:
        ValueError: more than `ROWS_MAX` rows.
        OSError: the file cannot be written.
    """
    if len(frame) > ROWS_MAX:
        raise ValueError(f"a workbook holds {ROWS_MAX:,} rows, and this table has {len(frame):,}")
    book = Workbook(write_only=True)
    sheet: Any = book.create_sheet("Table")
    sheet.freeze_panes = "A2"
    for number, (name, column) in enumerate(frame.head(_SAMPLE).items(), 1):
        longest = max(len(str(name)) + 3, *(len(str(value)) for value in column), 0)
        sheet.column_dimensions[get_column_letter(number)].width = min(longest, _WIDEST) + 2
    sheet.auto_filter.ref = f"A1:{get_column_letter(max(len(frame.columns), 1))}{len(frame) + 1}"
    sheet.append([disarmed(str(name)) for name in frame.columns])
    for row in _rows(frame):
        sheet.append([_cell(sheet, value) for value in row])
    book.save(path)


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    columns: list[Iterable[Any]] = []
    for name in frame.columns:
        column = frame[name]
        columns.append(column.astype(object).where(column.notna(), None))
    return zip(*columns, strict=True)


def _cell(sheet: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None or value.year < _FIRST_YEAR:
            return str(value) if value.tzinfo is None else iso(value)
        cell = WriteOnlyCell(sheet, value.replace(tzinfo=None))
        cell.number_format = 'yyyy-mm-dd hh:mm:ss" UTC"'
        return cell
    if value is None or isinstance(value, bool | int | float):
        return value
    text = disarmed(str(value))
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
