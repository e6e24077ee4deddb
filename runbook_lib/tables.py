"""Tables as files: CSV, for people and scripts. `schema` has the types of their columns.

A table of a hundred thousand rows does not belong in a notebook. It goes into the folder `tables` next to it. The
step's record names it with its digest, so that readers find it and see whether it was changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.visible import visible

if TYPE_CHECKING:
    from runbook_lib.result import Table, TableBeside
    from runbook_lib.schema import Schema

FOLDER = "tables"
FOLDER_VARIABLE = "RUNBOOK_TABLES"
"""The variable that names the folder instead, if a run has its own."""

SHOWN = 50
"""How many rows of a long table a report shows."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?|-")
_QUOTED = re.compile(r'[,"\r\n]')

_SIGNS = r"=+\-@＝＋－＠﹦﹢﹣﹫"
"""The first character of a formula, in all widths (OWASP, CSV injection; NFKC maps the others to the first four)."""
_MARKS = "\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff"
"""Direction marks, rare line ends and zero-width marks."""
_HIDDEN = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_MARKS}]")
_CALM = re.compile(rf'(?![{_SIGNS}\s"])[^;\x00-\x1f\x7f-\x9f{_MARKS}]*')
"""Most cells: no formula and no hidden character."""
_FORMULA = re.compile(rf'(^[\s"]*|[;\t\r\n][\s"]*)(?=[{_SIGNS}]([^;\t\r\n]*))')
"""Where a formula may begin: also after a character that ends a cell in another locale's spreadsheet. Quotes do not
prevent this: they do not stand at the beginning of such a cell."""


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as CSV: UTF-8, comma, CRLF (RFC 4180).

    Without a byte order mark: a script that reads UTF-8 would add it to the first column's name, on which scripts rely.
    docs/compliance.md says how to open the file in a spreadsheet. Our own readers accept both.
    """
    return csv_lines(",".join(map(csv_cell, row)) or '""' for row in rows)


def csv_of(table: Table) -> bytes:
    """A table as CSV, header first. run.ipynb has its exact values."""
    return csv_bytes([table.columns, *table.rows])


def csv_lines(lines: Iterable[str]) -> bytes:
    """Lines of `csv_cell` cells joined by commas, as CSV."""
    text = "".join(f"{line}\r\n" for line in lines)
    # a lone surrogate, as in a file name that is not UTF-8, has no UTF-8 form
    return text.encode("utf-8", "backslashreplace")


def csv_cell(text: str) -> str:
    """A cell of a CSV, disarmed, and quoted if necessary."""
    if not _CALM.fullmatch(text) and not _NUMBER.fullmatch(text):
        text = disarmed(text)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def disarmed(text: str) -> str:
    """Text from elsewhere, made safe for a cell: people open these files in spreadsheets and print them in terminals.

    An apostrophe precedes what a spreadsheet would run as a formula (OWASP, CSV injection), also after a `;`, a tab or
    a line end. Plain numbers stay as they are. Control and direction marks become visible escapes. Disarming text twice
    changes nothing more.
    """
    text = _HIDDEN.sub(lambda found: visible(found[0]), text)
    if text[:1] in ("\t", "\r", "\n"):
        text = f"'{text}"
    return _FORMULA.sub(lambda found: found[0] if _is_number(found, text) else f"{found[1]}'", text)


def _is_number(found: re.Match[str], text: str) -> bool:
    piece = text[found.end() :][: 1 + len(found[2])]
    return _NUMBER.fullmatch(piece) is not None


def tables_folder(environ: Mapping[str, str]) -> Path:
    """The folder for long tables: below the current folder, unless the run has its own."""
    return Path(environ.get(FOLDER_VARIABLE) or FOLDER)


class LongTable:
    """Writes a long table in bounded memory. A context manager: an unfinished table leaves no file.

    Args:
        folder: created if missing.

    Raises:
        OSError: here, and from every method.
    """

    def __init__(self, folder: Path, schema: Schema, title: str) -> None:
        self._schema, self._title, self._rows = schema, title, 0
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{schema.name}.csv"
        self._aside = folder / f".{schema.name}.csv.part"
        self._stream = self._aside.open("wb")
        self._stream.write(csv_bytes([schema.columns]))

    def __enter__(self) -> LongTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._aside.unlink(missing_ok=True)

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Append rows."""
        self.add_csv(csv_bytes(rows), len(rows))

    def add_csv(self, data: bytes, rows: int) -> None:
        """Append rows that another process has already formatted as our CSV."""
        self._stream.write(data)
        self._rows += rows

    def finish(self, *, unchecked: int) -> TableBeside:
        """Move the file into place, and return its record.

        Args:
            unchecked: how many rows describe something that could not be checked.
        """
        # it imports pydantic, which processes that only make rows do not need
        from runbook_lib.result import FileBeside, TableBeside

        self._stream.close()
        with self._aside.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self._aside.replace(self._path)
        return TableBeside(
            name=self._schema.name,
            title=self._title,
            columns=self._schema.columns,
            rows=self._rows,
            unchecked=unchecked,
            files=(FileBeside(file=f"{FOLDER}/{self._path.name}", sha256=digest),),
        )
