"""Tables as files: CSV for people and scripts, and for long tables Parquet, the same with types.

A table of a hundred thousand rows does not belong into a notebook. It is written beside it, into the folder `tables`,
and the step's record names it with its digest: whoever opens the notebook finds it, and sees whether it was changed.
"""

from __future__ import annotations

import csv
import errno
import glob
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.visible import visible

if TYPE_CHECKING:
    from runbook_lib.result import Table, TableBeside

FOLDER = "tables"
FOLDER_VARIABLE = "RUNBOOK_TABLES"
"""Names the folder instead, where a run has one of its own."""

SHOWN = 50
"""Rows that a report shows of a table that lies beside the notebook."""

DUCKDB: dict[str, Any] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
    "threads": 1,
}
"""It fetches nothing from the network, and leaves nothing on the disk but what it is asked for. A second thread would
take 740 MiB for a million rows in place of 210, and no less time: what is done out of its order waits in memory."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?|-")
_QUOTED = re.compile(r'[,"\r\n]')

_SIGNS = r"=+\-@＝＋－＠﹦﹢﹣﹫"
"""What a formula begins with, in all widths (OWASP, CSV injection; NFKC makes the others of the first four)."""
_MARKS = "\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff"
"""Marks of direction, line ends that only some programs know, and marks without a width."""
_HIDDEN = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_MARKS}]")
_CALM = re.compile(rf'(?![{_SIGNS}\s"])[^;\x00-\x1f\x7f-\x9f{_MARKS}]*')
"""Most cells: no formula, and nothing hidden in them."""
_FORMULA = re.compile(rf'(^[\s"]*|[;\t\r\n][\s"]*)(?=[{_SIGNS}]([^;\t\r\n]*))')
"""Where one may begin: also behind what another locale's spreadsheet takes for the end of a cell. Quotes do not keep it
from that, as they are not where it begins a cell."""


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as CSV: UTF-8, comma, CRLF (RFC 4180).

    Without a byte order mark: a script that reads UTF-8 would take it as part of the first column's name, and scripts
    rely on these names. docs/compliance.md says how a spreadsheet reads it. Our own readers take both.
    """
    return csv_lines(",".join(map(csv_cell, row)) or '""' for row in rows)


def csv_of(table: Table) -> bytes:
    """A table as CSV, header first. Its exact values are in run.ipynb."""
    return csv_bytes([table.columns, *table.rows])


def csv_lines(lines: Iterable[str]) -> bytes:
    """Lines of cells from `csv_cell`, which commas join, as CSV."""
    text = "".join(f"{line}\r\n" for line in lines)
    # half of a surrogate pair, as in the name of a file that is no UTF-8, is in no UTF-8
    return text.encode("utf-8", "backslashreplace")


def csv_cell(text: str) -> str:
    """A cell of a CSV, disarmed, in quotes where it needs them."""
    if not _CALM.fullmatch(text) and not _NUMBER.fullmatch(text):
        text = disarmed(text)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def disarmed(text: str) -> str:
    """Text from elsewhere as it stands in a cell: people open these files in spreadsheets and print them in terminals.

    What a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection), also behind a `;`, a
    tab or a line end. Plain numbers stay as they are. Control and direction marks become visible escapes. What is
    disarmed stays as it is when it is disarmed again.
    """
    text = _HIDDEN.sub(lambda found: visible(found[0]), text)
    if text[:1] in ("\t", "\r", "\n"):
        text = f"'{text}"
    return _FORMULA.sub(lambda found: found[0] if _is_number(found, text) else f"{found[1]}'", text)


def _is_number(found: re.Match[str], text: str) -> bool:
    piece = text[found.end() :][: 1 + len(found[2])]
    return _NUMBER.fullmatch(piece) is not None


def tables_folder(environ: Mapping[str, str]) -> Path:
    """Where tables go that lie beside the notebook: below the current folder, unless the run has one of its own."""
    return Path(environ.get(FOLDER_VARIABLE) or FOLDER)


class LongTable:
    """Writes a table that lies beside the notebook, in bounded memory. As a context manager: nothing stays of one that
    was not finished.

    Args:
        folder: made where it is missing.
        name: of the files, as in `result.Table`.
        moments, numbers: columns that Parquet has as UTC timestamps and as integers; all others are text.

    Raises:
        OSError: here, and from every method.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        title: str,
        columns: tuple[str, ...],
        *,
        moments: Iterable[str] = (),
        numbers: Iterable[str] = (),
    ) -> None:
        self._name, self._title, self._columns = name, title, columns
        self._moments, self._numbers = frozenset(moments), frozenset(numbers)
        self._rows = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._csv, self._parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
        self._stream = self._aside(self._csv).open("wb")
        self._stream.write(csv_bytes([columns]))

    def __enter__(self) -> LongTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        for path in (self._csv, self._parquet):
            self._aside(path).unlink(missing_ok=True)

    @staticmethod
    def _aside(path: Path) -> Path:
        return path.with_name(f".{path.name}.part")

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Append rows."""
        self.add_csv(csv_bytes(rows), len(rows))

    def add_csv(self, data: bytes, rows: int) -> None:
        """Append rows that are CSV of ours already, in another process."""
        self._stream.write(data)
        self._rows += rows

    def finish(self, *, unchecked: int) -> TableBeside:
        """Write the Parquet, put both files in their place, and tell where they are.

        Args:
            unchecked: how many of the rows are of something that could not be looked at.
        """
        # it brings pydantic, which processes that only make rows are not to wait for
        from runbook_lib.result import FileBeside, TableBeside

        self._stream.close()
        parquet(self._aside(self._csv), self._aside(self._parquet), moments=self._moments, numbers=self._numbers)
        files = []
        for path in (self._csv, self._parquet):
            with self._aside(path).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            self._aside(path).replace(path)
            files.append(FileBeside(file=f"{FOLDER}/{path.name}", sha256=digest))
        return TableBeside(
            name=self._name,
            title=self._title,
            columns=self._columns,
            rows=self._rows,
            unchecked=unchecked,
            files=tuple(files),
        )


def parquet(source: Path, target: Path, *, moments: Iterable[str] = (), numbers: Iterable[str] = ()) -> None:
    """Write a CSV file of ours as Parquet. An empty cell of a moment or number is null. DuckDB holds the CSV meanwhile.

    Raises:
        OSError: the file cannot be written.
    """
    import duckdb  # 0.14 s, which a run without long tables does not need

    with source.open("rb") as stream:
        names = next(csv.reader([stream.readline().decode("utf-8")]))
    types = dict.fromkeys(names, "VARCHAR")
    types |= dict.fromkeys(moments, "TIMESTAMPTZ") | dict.fromkeys(numbers, "BIGINT")
    texts = [name for name, kind in types.items() if kind == "VARCHAR"]
    place = str(target).replace("'", "''")
    statement = (  # a place cannot be a parameter of the statement
        "COPY (SELECT * FROM read_csv(?, columns = ?, force_not_null = ?, header = true, delim = ',', "  # noqa: S608
        "quote = '\"', escape = '\"', nullstr = '', parallel = false, max_line_size = 16777216)) "
        f"TO '{place}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 50000)"
    )
    with duckdb.connect(config=DUCKDB) as engine:
        try:
            engine.execute(statement, [glob.escape(str(source)), types, texts])
        except duckdb.IOException as error:
            raise OSError(errno.EIO, str(error)) from None
