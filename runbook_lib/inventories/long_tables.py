"""Tables of any length: a short one is shown whole, a long one lies beside the notebook and its most pressing rows are
shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook_lib.errors import Reason, RunbookError, no_room
from runbook_lib.inventories.health import Health
from runbook_lib.result import Histogram, Table, TableBeside
from runbook_lib.tables import SHOWN, LongTable

LONG = 500
"""Rows that a report still shows whole."""

Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class ResultTables:
    """A table as a result tells it: what is shown of it, and where the whole is if that is not all."""

    tables: tuple[Table, ...] = ()
    beside: tuple[TableBeside, ...] = ()


def result_tables(
    folder: Path,
    name: str,
    title: str,
    columns: tuple[str, ...],
    rows: Rows,
    *,
    head: Rows,
    moments: Iterable[str] = (),
    numbers: Iterable[str] = (),
) -> ResultTables:
    """Show a table, or write it beside the notebook and show the first `SHOWN` rows of `head`.

    Args:
        folder: where tables beside the notebook go; touched only if this is one.
        head: the rows with the most pressing first.
        moments, numbers: columns that are typed in Parquet; those that this table has not do not matter.

    Raises:
        RunbookError: TABLE_NOT_WRITTEN, DISK_FULL.
    """
    if len(rows) <= LONG:
        return ResultTables((Table(name=name, title=title, columns=columns, rows=tuple(rows)),))
    with (
        written(folder),
        LongTable(
            folder,
            name,
            title,
            columns,
            moments=[column for column in moments if column in columns],
            numbers=[column for column in numbers if column in columns],
        ) as table,
    ):
        table.add(rows)
        state = columns.index("state")
        beside = table.finish(unchecked=sum(row[state] == Health.UNCHECKED for row in rows))
    return ResultTables((excerpt(name, title, columns, head, len(rows)),), (beside,))


def excerpt(name: str, title: str, columns: tuple[str, ...], head: Rows, count: int) -> Table:
    """The first rows of a table that lies beside the notebook."""
    rows = tuple(head[:SHOWN])
    return Table(name=f"{name}-first", title=f"{title}: {len(rows)} of {count:,}", columns=columns, rows=rows)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Turn what the file system says into TABLE_NOT_WRITTEN or DISK_FULL."""
    try:
        yield
    except OSError as error:
        raise RunbookError(
            Reason.DISK_FULL if no_room(error) else Reason.TABLE_NOT_WRITTEN,
            f"A table cannot be written into {folder.absolute()}: {error.strerror or error}.",
        ) from None


def counted(states: Mapping[Any, int]) -> str:
    """`3 healthy, 1 due`, the calm first."""
    return ", ".join(f"{states[health]:,} {health.value}" for health in Health if states.get(health))


def nearness(end: datetime | None, now: datetime) -> tuple[bool, float]:
    """What sorts those that end next first, then those that ended, the last first, then those without an end."""
    if end is None:
        return True, float("inf")
    return end <= now, abs((end - now).total_seconds())


def by_month(months: Counter[tuple[str, str]], now: datetime) -> Histogram:
    """How many end in which month, by state."""
    counts = tuple((month, state, count) for (month, state), count in sorted(months.items()))
    return Histogram(title="Certificates by the month they end in", months=counts, now=now)
