"""Shows tables of any length: a short one completely, a long one by its most pressing rows, with a file next to the
notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import Reason, RunbookError, no_room
from runbook_lib.inventories.health import Health
from runbook_lib.result import Histogram, Table, TableBeside, Verdict
from runbook_lib.schema import FIRST, Schema
from runbook_lib.tables import LongTable

LONG = 500
"""The most rows that a report shows completely."""

Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class ResultTables:
    """A table in a result: what the report shows, and the complete file if that is not all."""

    tables: tuple[Table, ...] = ()
    beside: tuple[TableBeside, ...] = ()


def result_tables(folder: Path, schema: Schema, title: str, rows: Rows, *, head: Rows) -> ResultTables:
    """Show a table, or write it next to the notebook and show `head`.

    Args:
        folder: for tables next to the notebook; touched only for a long table.
        head: the most pressing rows.

    Raises:
        RunbookError: TABLE_NOT_WRITTEN, DISK_FULL.
    """
    if len(rows) <= LONG:
        return ResultTables((schema.table(title, rows),))
    with written(folder), LongTable(folder, schema, title) as table:
        table.add(rows)
        states = [number for number, column in enumerate(schema.columns) if column in ("state", "verdict")]
        unchecked = sum(any(row[number] == Verdict.UNCHECKED for number in states) for row in rows)
        sidecar = table.finish(unchecked=unchecked)
    return ResultTables((shown_rows(schema, title, head, len(rows)),), (sidecar,))


def shown_rows(schema: Schema, title: str, head: Rows, count: int) -> Table:
    """The first rows of a table whose file lies next to the notebook."""
    return Schema(f"{schema.name}{FIRST}", schema.types).table(f"{title}: {len(head)} of {count:,}", head)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into TABLE_NOT_WRITTEN or DISK_FULL."""
    try:
        yield
    except OSError as error:
        raise RunbookError(
            Reason.DISK_FULL if no_room(error) else Reason.TABLE_NOT_WRITTEN,
            f"A table cannot be written into {folder.absolute()}: {error.strerror or error}.",
        ) from None


def counted(states: Mapping[Any, int]) -> str:
    """`3 healthy, 1 due`, in the order of `Health`."""
    return ", ".join(f"{states[health]:,} {health.value}" for health in Health if states.get(health))


def nearness(end: datetime | None, now: datetime) -> tuple[bool, float]:
    """A sort key: what ends next comes first, then what ended last, then what has no end."""
    if end is None:
        return True, float("inf")
    return end <= now, abs((end - now).total_seconds())


def by_month(months: Counter[tuple[str, str]], now: datetime) -> Histogram:
    """A histogram of how many certificates end in which month, by state."""
    counts = tuple((month, state, count) for (month, state), count in sorted(months.items()))
    return Histogram(title="Certificates by the month they end in", months=counts, now=now)
