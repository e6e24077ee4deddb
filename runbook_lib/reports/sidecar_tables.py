"""Finds the tables that a run left next to its notebook, and compares them with what its steps recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from runbook_lib import disk
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports.runrecord import TableFile
from runbook_lib.result import StepRecord


@dataclass
class SidecarTables:
    """The tables next to a notebook.

    Args:
        entries: the files' entries in run.json.
        contents: the files, by their path from the notebook.
        problem: TABLE_CHANGED if a file is missing or changed. Such a file is not archived.
    """

    entries: list[TableFile] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
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
            if disk.sha256(content) != file.sha256:
                missing.append(file.file)
                continue
            found.contents[file.file] = content
            found.entries.append(
                TableFile(
                    file=file.file, title=table.title, rows=table.rows, sha256=file.sha256, unchecked=table.unchecked
                )
            )
    if missing:
        what = f"Missing, or changed since the step: {', '.join(missing)}."
        found.problem = RunbookError(Reason.TABLE_CHANGED, what)
    return found
