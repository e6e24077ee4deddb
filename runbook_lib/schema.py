"""The columns of a table with their types: one definition, from which its CSV, its DataFrame and docs/reference.md are
made.

A cell of a table is text. A type says what the text stands for. An empty cell is a missing value in every type.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import Reason, RunbookError

if TYPE_CHECKING:
    import pandas as pd

    from runbook_lib.result import Table


class ColumnKind(StrEnum):
    """The types of columns, by their pandas dtype."""

    TEXT = "string"
    MOMENT = "datetime64[us, UTC]"
    INTEGER = "Int64"
    FLAG = "boolean"


TEXT, MOMENT, INTEGER, FLAG = ColumnKind

FIRST = "-first"
"""Ends the name of a table that holds only the first rows of a long one."""

YES, NO, UNKNOWN = "yes", "no", "unknown"
"""The cells of a flag. `unknown` is a missing value."""

Type = ColumnKind | tuple[str, ...]
"""A kind; or the words of a column of categories, from the least severe to the most severe."""


def ordered(words: Iterable[str]) -> tuple[str, ...]:
    """Categories in this order, for example the members of an enum."""
    return tuple(map(str, words))


@dataclass(frozen=True)
class Schema:
    """A table's name, and its columns in order with their types.

    Scripts rely on the columns: add at the end, rename none.
    """

    name: str
    types: Mapping[str, Type]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.types)

    def table(self, title: str, rows: Sequence[tuple[str, ...]]) -> Table:
        """A table for a step's result."""
        from runbook_lib.result import Table  # it imports pydantic, which processes that only make rows do not need

        return Table(name=self.name, title=title, columns=self.columns, rows=tuple(rows))

    def of_type(self, kind: ColumnKind) -> list[str]:
        """The columns of a kind."""
        return [name for name, its in self.types.items() if its is kind]

    def reading(self) -> dict[str, Any]:
        """The arguments with which `pandas.read_csv` reads the table's CSV. Columns of moments become text."""
        import pandas as pd

        return {
            "dtype": {
                name: pd.CategoricalDtype(list(kind), ordered=True)
                if isinstance(kind, tuple)
                else str(TEXT if kind is MOMENT else kind)
                for name, kind in self.types.items()
            },
            # “NA” and “null” are names like any other
            "keep_default_na": False,
            "na_values": {name: ["", UNKNOWN] if kind is FLAG else [""] for name, kind in self.types.items()},
            "true_values": [YES],
            "false_values": [NO],
        }

    def frame(self, source: Path | bytes) -> pd.DataFrame:
        """The table as a DataFrame with the documented dtypes, whatever its rows.

        Args:
            source: its CSV: a file, or the content. A column that it lacks is missing in the frame too.

        Raises:
            RunbookError: UNREADABLE_FILE if a cell is not of its column's type.
        """
        import pandas as pd

        opened = io.BytesIO(source) if isinstance(source, bytes) else source
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # an unknown category; it is refused below
                frame: pd.DataFrame = pd.read_csv(opened, **self.reading())
            frame = frame.astype({name: str(MOMENT) for name in self.of_type(MOMENT) if name in frame})
        except (OSError, ValueError) as error:
            raise RunbookError(Reason.UNREADABLE_FILE, f"the table “{self.name}”: {error}") from None
        for name, kind in self.types.items():
            # pandas makes a word that is not among the categories a missing value
            if isinstance(kind, tuple) and name in frame and frame[name].isna().any():
                raise RunbookError(
                    Reason.UNREADABLE_FILE,
                    f"the table “{self.name}”: a cell of the column “{name}” is none of {', '.join(kind)}.",
                )
        return frame


def texts(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    """The columns of any DataFrame as the cells of our CSV, from which `Schema.frame` reads the same values again."""
    import pandas as pd

    columns = {}
    for name in frame.columns:
        column = frame[name]
        text = column.astype(object)
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            text = column.dt.tz_convert("UTC").astype(object).map(lambda at: f"{at.isoformat()[:19]}Z")
        elif pd.api.types.is_bool_dtype(column.dtype):
            text = text.map({True: YES, False: NO})
        columns[str(name)] = text.map(str).where(column.notna(), "")
    return columns
