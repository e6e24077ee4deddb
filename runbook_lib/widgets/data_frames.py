"""The tables of a notebook as pandas DataFrames. pandas is imported when the first one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runbook_lib import disk
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.result import Table, TableBeside
from runbook_lib.schema import FIRST
from runbook_lib.tables import csv_of, tables_folder

if TYPE_CHECKING:
    import pandas as pd


class Tables(Mapping[str, "pd.DataFrame"]):
    """The tables of the steps that have run, by their names. docs/reference.md lists their columns and dtypes.

    A long table is read from its file, so it is complete. Each use makes a new frame. Text that a spreadsheet would run
    as a formula begins with an apostrophe, as in the CSV.

    Args:
        procedure: the procedure whose steps ran; None if none was started.

    Raises:
        KeyError: no step that has run showed a table of this name.
        RunbookError: TABLE_CHANGED if the file of a long table is not as its step left it.
    """

    def __init__(self, procedure: Procedure[Any] | None) -> None:
        self._procedure = procedure
        self._tables: dict[str, Table | TableBeside] = {}
        results = [record.result for record in procedure.records if record.result] if procedure else []
        for result in results:
            self._tables |= {table.name.removesuffix(FIRST): table for table in result.tables}
            self._tables |= {long.name: long for long in result.beside}

    def __getitem__(self, name: str) -> pd.DataFrame:
        table = self._tables.get(name)
        if table is None or self._procedure is None:
            known = ", ".join(self._tables) or "none"
            raise KeyError(f"no table {name!r}; the steps that have run made: {known}")
        schema = self._procedure.schema(name)
        if isinstance(table, Table):
            return schema.frame(csv_of(table))
        (file,) = table.files
        path = tables_folder(self._procedure.session.environ).parent / file.file
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        if disk.sha256(content) != file.sha256:
            raise RunbookError(Reason.TABLE_CHANGED, f"{path} is missing, or was changed since its step.")
        return schema.frame(content)

    def __contains__(self, name: object) -> bool:
        return name in self._tables  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"Tables({', '.join(self._tables)})"
