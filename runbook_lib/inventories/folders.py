"""Reads folders of certificates into one table: accounts for every file, on all cores and in bounded memory."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition

from runbook_lib.catalogue import CATALOGUE
from runbook_lib.clock import iso
from runbook_lib.errors import Reason
from runbook_lib.inventories import schemas
from runbook_lib.inventories.folder_process import Helper
from runbook_lib.inventories.folder_walk import Piece, pieces
from runbook_lib.inventories.folder_worker import FLAWS, UNCHECKED, PartialAnswer, Row, Summary
from runbook_lib.inventories.health import Health, Limits
from runbook_lib.inventories.long_tables import by_month, counted, shown_rows, written
from runbook_lib.result import Result, TableBeside, Verdict
from runbook_lib.secrets import Secret
from runbook_lib.tables import LongTable

PIECE = 256
"""Files that a process gets at a time."""

WAITING = 8 * 2**20
"""Bytes of rows that may wait to be written. Beyond them, only the process whose rows come next reads on."""

PIECE_OF_P12 = 8
"""The same if P12 files are opened, at some 30 ms each, so that no core waits long for the last piece."""


def read_folders(
    folders: Sequence[str], table: LongTable, limits: Limits, *, password: Secret | None = None, processes: int = 0
) -> Summary:
    """Read every file of some folders into a table, in the order of the folders and of the names in them.

    Args:
        folders: a folder that is itself a link is followed; a folder inside another counts once.
        password: for P12 files and Java key stores; None if there is none.
        processes: how many read at once; 0 for one on each core.

    Returns:
        the summary, of bounded size whatever the number of files.

    Raises:
        RunbookError: FILE_NOT_READ if the reading process cannot be started.
        OSError: if the table cannot be written.
    """
    work = pieces(folders, PIECE if password is None else PIECE_OF_P12)
    processes = processes or _cores()
    # each process serves one thread; the answers are written in the order of the pieces
    summary = Summary()
    helpers: list[Helper] = []
    idle: SimpleQueue[Helper] = SimpleQueue()
    pool = ThreadPoolExecutor(processes)
    answers = _Waiting()
    begun: deque[tuple[int, Piece, Future[None]]] = deque()

    def read(number: int, piece: Piece) -> None:
        try:
            helper = idle.get_nowait()
        except Empty:  # one for each thread, and no more threads than pieces
            helper = Helper(limits, password)
            helpers.append(helper)
        try:
            for part in helper.read(piece.entries):
                if not answers.put(number, part):
                    break
        finally:
            idle.put(helper)

    def write_next() -> None:
        number, piece, future = begun.popleft()
        for part in answers.take(number, future):
            table.add_csv(part.csv, part.summary.rows)
            summary.add(part.summary)
            summary.count(piece.root, part.summary)

    try:
        for number, piece in enumerate(work):
            begun.append((number, piece, pool.submit(read, number, piece)))
            # bounds the answers in memory, however many files there are
            while len(begun) > 4 * processes:
                write_next()
        while begun:
            write_next()
    finally:
        answers.close()
        for helper in helpers:
            helper.stop()
        pool.shutdown(cancel_futures=True)
        for helper in helpers:
            helper.close()
    return summary


def read_into_table(
    folders: Sequence[str], target: Path, limits: Limits, *, password: Secret | None
) -> tuple[Summary, TableBeside]:
    """Read folders as `read_folders` does, into the table `files` next to the notebook.

    Args:
        target: the table's folder.

    Raises:
        RunbookError: FILE_NOT_READ; TABLE_NOT_WRITTEN or DISK_FULL.
    """
    with written(target), LongTable(target, schemas.FILES, "Certificates in the folders") as table:
        summary = read_folders(folders, table, limits, password=password)
        return summary, table.finish(unchecked=summary.states[Health.UNCHECKED])


def _brief(row: Row) -> Row:
    """What a report shows of a row."""
    full = dict(zip(schemas.FILES.columns, row, strict=True))
    if int(full["number"]) > 1:
        full["file"] += f", certificate {full['number']}"
    return tuple(full[column] for column in schemas.SOONEST.columns)


def result_of(summary: Summary, sidecar: TableBeside, limits: Limits) -> Result:
    """The result for a report: counts, when certificates end, the next to end, and those that need action."""
    unchecked = summary.states[Health.UNCHECKED]
    headline = f"{_many(summary.files, 'file')}, {_many(summary.rows, 'row')}: {counted(summary.states)}."
    if unchecked:
        headline += f" {_many(unchecked, 'row')} could not be checked."
    if summary.bare:
        headline += f" No certificates found in {len(summary.bare):,} of {_many(len(summary.folders), 'folder')}."
    soonest = [_brief(row) for _, row in summary.soonest]
    tables = [shown_rows(schemas.SOONEST, "Next to end", soonest, sum(summary.months.values()))]
    if summary.flawed:
        count = sum(summary.reasons[reason] for reason in FLAWS)
        rows = [_brief(row) for row in summary.flawed]
        tables.insert(0, shown_rows(schemas.FLAWED, "Need action", rows, count))
    if summary.unchecked:
        rows = [_brief(row) for row in summary.unchecked]
        tables.insert(0, shown_rows(schemas.UNCHECKED, "Not checked", rows, unchecked))
    if summary.bare:
        rows = [(folder, str(summary.folders[folder][0])) for folder in summary.bare]
        tables.insert(0, shown_rows(schemas.BARE, "Folders without a certificate", rows, len(rows)))
    if summary.reasons:
        reasons = tuple(
            (reason.value, str(summary.reasons[reason]), CATALOGUE[reason].title, CATALOGUE[reason].remedy)
            for reason in Reason
            if summary.reasons[reason]
        )
        tables.insert(0, schemas.REASONS.table("Findings and what to do", reasons))
    why = [reason for reason in UNCHECKED if summary.reasons[reason]] if unchecked else []
    return Result(
        verdict=Verdict.UNCHECKED if unchecked else Verdict.ATTENTION if summary.needs_action else Verdict.OK,
        headline=headline,
        next=tuple(CATALOGUE[reason].remedy for reason in why),
        reason=why[0] if why else "",
        facts={"As of": iso(limits.now)},
        tables=tuple(tables),
        beside=(sidecar,),
        histogram=by_month(summary.months, limits.now) if summary.months else None,
        needs_action=summary.needs_action,
    )


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Waiting:
    """Answers that wait to be written, in bounded memory. While there are too many bytes, a thread waits with its next
    answer, unless its piece is being written."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._parts: dict[int, deque[PartialAnswer]] = {}
        self._bytes = self._written = 0
        self._closed = False

    def put(self, piece: int, part: PartialAnswer) -> bool:
        """Add a part; False if nobody needs it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes < WAITING or piece == self._written)
            self._bytes += len(part.csv)
            self._parts.setdefault(piece, deque()).append(part)
            self._changed.notify_all()
            return not self._closed

    def take(self, piece: int, future: Future[None]) -> Iterator[PartialAnswer]:
        """Yield the parts of a piece as they come, until its thread ends. Raises what the thread raised."""
        with self._changed:
            self._written = piece
            self._changed.notify_all()
        future.add_done_callback(lambda _: self._wake())
        with self._changed:
            parts = self._parts.setdefault(piece, deque())
        while True:
            with self._changed:
                self._changed.wait_for(lambda: parts or future.done())
                if not parts:
                    break
                part = parts.popleft()
                self._bytes -= len(part.csv)
                self._changed.notify_all()
            yield part
        del self._parts[piece]
        future.result()

    def close(self) -> None:
        """Let every waiting thread go on; no further part is needed."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
