"""Finds the tables that a run left next to its notebook, and compares them with what its steps recorded."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from runbook_lib import disk
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports.runrecord import TableFile
from runbook_lib.result import StepRecord
from runbook_lib.tables import DUCKDB


@dataclass
class SidecarTables:
    """The tables next to a notebook.

    Args:
        entries: the files' entries in run.json.
        contents: the files, by their path from the notebook.
        texts: their text, to be searched for secrets.
        problem: TABLE_CHANGED if a file is missing, changed or not a table. Such a file is not archived.
    """

    entries: list[TableFile] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problem: RunbookError | None = None


def collect_sidecars(steps: Iterable[StepRecord], folder: Path) -> SidecarTables:
    """Collect the files of every table that a step recorded.

    Args:
        folder: the folder in which the files' paths start.
    """
    found, missing = SidecarTables(), []
    for table in (table for step in steps if step.result for table in step.result.beside):
        for file in table.files:
            path = folder / file.file
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            text = _text(path, content) if disk.sha256(content) == file.sha256 else None
            if text is None:
                missing.append(file.file)
                continue
            found.contents[file.file], found.texts[file.file] = content, text
            found.entries.append(
                TableFile(
                    file=file.file, title=table.title, rows=table.rows, sha256=file.sha256, unchecked=table.unchecked
                )
            )
    if missing:
        what = f"Missing, changed since the step, or not a table: {', '.join(missing)}."
        found.problem = RunbookError(Reason.TABLE_CHANGED, what)
    return found


def _text(path: Path, content: bytes) -> str | None:
    """A table's file as text; None if it is not a table. Parquet is compressed, so its bytes cannot be searched."""
    if path.suffix != ".parquet":
        return content.decode("utf-8", "backslashreplace")
    import duckdb

    with duckdb.connect(config=DUCKDB) as engine:
        try:
            found = [
                engine.execute(f"SELECT {what} FROM {function}(?)", [glob.escape(str(path))]).fetchall()  # noqa: S608 - fixed text
                for what, function in (
                    ("columns(*)::VARCHAR", "read_parquet"),
                    ("name, type, logical_type", "parquet_schema"),
                    ("key::VARCHAR, value::VARCHAR", "parquet_kv_metadata"),
                )
            ]
        except duckdb.Error:
            return None
    return "\n".join("\t".join(map(str, row)) for rows in found for row in rows)
