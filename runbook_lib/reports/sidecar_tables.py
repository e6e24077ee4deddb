"""Tables that a run left beside its notebook: found again, and held against what its steps said of them."""

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
    """What lies beside a notebook.

    Args:
        entries: what run.json says of the files.
        contents: the files, by their path from the notebook.
        texts: what is in them, to be searched for secrets.
        problem: TABLE_CHANGED, where one is not there, or not as the step left it. Such a file is not archived.
    """

    entries: list[TableFile] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problem: RunbookError | None = None


def collect_sidecars(steps: Iterable[StepRecord], folder: Path) -> SidecarTables:
    """The files of every table that a step says it left.

    Args:
        folder: what their paths start from.
    """
    found, missing = SidecarTables(), []
    for table in (table for step in steps if step.result for table in step.result.beside):
        for one in table.files:
            path = folder / one.file
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            text = _text(path, content) if disk.sha256(content) == one.sha256 else None
            if text is None:
                missing.append(one.file)
                continue
            found.contents[one.file], found.texts[one.file] = content, text
            found.entries.append(
                TableFile(
                    file=one.file, title=table.title, rows=table.rows, sha256=one.sha256, unchecked=table.unchecked
                )
            )
    if missing:
        what = f"{', '.join(missing)}: not there, not as the step left it, or no table."
        found.problem = RunbookError(Reason.TABLE_CHANGED, what)
    return found


def _text(path: Path, content: bytes) -> str | None:
    """A table's file as text; None where it is none. Parquet is compressed: a search would see nothing in it."""
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
