"""Folders of certificates as one table: every file is accounted for, on all cores and in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from runbook_lib.catalogue import CATALOGUE
from runbook_lib.clock import iso
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.beside import by_month, counted, excerpt, written
from runbook_lib.procedures.folder_rows import COLUMNS, FLAWS, MOMENTS, NUMBERS, Answer, Reader, Row, Summary, order
from runbook_lib.procedures.health import Health, Limits
from runbook_lib.result import Result, Table, TableBeside, Verdict
from runbook_lib.secrets import Secret
from runbook_lib.tables import LongTable

PIECE = 256
"""Files that a process is given at a time."""

PIECE_OF_P12 = 8
"""The same where P12 files are opened, some 30 ms each: no core waits long for the last piece."""

Piece = tuple[str, ...]


def walk(folder: str) -> Iterator[str]:
    """Every entry below a folder that is no folder, sorted in each, and every folder that cannot be listed."""
    # not recursive: a tree may be deeper than Python's stack. Names alone: a folder may have a million of them
    left: list[tuple[str, list[str], set[str]]] = [("", [folder], {folder})]
    while left:
        above, names, folders = left[-1]
        if not names:
            left.pop()
            continue
        name = names.pop()
        path = os.path.join(above, name)  # noqa: PTH118  (a Path costs ten times as much)
        if name not in folders:
            yield path
            continue
        try:
            found, inside = _listed(path)
        except OSError:
            yield path
        else:
            left.append((path, found, inside))


def _listed(folder: str) -> tuple[list[str], set[str]]:
    """The names in a folder, the last first, and which of them are folders."""
    names, folders = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
    names.sort(reverse=True)
    return names, folders


def roots(folders: Sequence[str]) -> list[str]:
    """Folders by their real paths, without those that are inside of another: no file is to count twice."""
    real = dict.fromkeys(os.path.realpath(folder) for folder in folders)
    return [one for one in real if not any(str(above) in real for above in Path(one).parents)]


def read_folders(
    folders: Sequence[str], table: LongTable, limits: Limits, *, password: Secret | None = None, processes: int = 0
) -> Summary:
    """Read every file of some folders into a table, in the order of the folders and of the names in them.

    Args:
        folders: a folder that is itself a link is followed; links in it are rows. One inside of another counts once.
        password: of the P12 files, which are opened; None leaves them closed.
        processes: how many read at once; 0 for one on each core, and none where there is little to read.

    Returns:
        the summary, with bounds of its own whatever the number of files.

    Raises:
        RunbookError: FILE_NOT_READ where a process ended in the middle of its work.
        OSError: where the table cannot be written.
    """
    size = PIECE if password is None else PIECE_OF_P12
    pieces = _pieces(chain.from_iterable(map(walk, roots(folders))), size)
    first = next(pieces, ())
    second = next(pieces, None)
    if second is None and not processes:
        reader = Reader(limits, password)
        while first:
            answer = reader.rows(first)
            table.add_csv(answer.csv, answer.rows)
            first = first[answer.files :]
        return reader.end()
    pieces = chain([first], [] if second is None else [second], pieces)
    return _share_out(pieces, table, order(limits, password), processes or _cores())


def read(
    folders: Sequence[str], target: Path, limits: Limits, *, password: Secret | None
) -> tuple[Summary, TableBeside]:
    """Read folders as `read_folders` does, into the table `files` beside the notebook.

    Args:
        target: the folder of the table.

    Raises:
        RunbookError: FILE_NOT_READ; TABLE_NOT_WRITTEN or DISK_FULL.
    """
    with (
        written(target),
        LongTable(target, "files", "Certificates in the folders", COLUMNS, moments=MOMENTS, numbers=NUMBERS) as table,
    ):
        summary = read_folders(folders, table, limits, password=password)
        return summary, table.finish(unchecked=summary.states[Health.UNCHECKED])


_BRIEF = ("file", "state", "days left", "ends", "subject", "why")


def _brief(row: Row) -> Row:
    """What a report shows of a row."""
    full = dict(zip(COLUMNS, row, strict=True))
    if int(full["number"]) > 1:
        full["file"] += f", certificate {full['number']}"
    return tuple(full[one] for one in _BRIEF)


def result_of(summary: Summary, beside: TableBeside, limits: Limits) -> Result:
    """What a report tells of the folders: counts, when certificates end, the soonest, and those that need somebody."""
    unknown = sum(summary.reasons[one] for one in (Reason.FILE_NOT_READ, Reason.FILE_TOO_LARGE))
    headline = f"{summary.files:,} files, {summary.rows:,} rows: {counted(summary.states)}."
    if unknown:
        headline += f" {unknown:,} could not be looked into: what is there is not known."
    soonest = [_brief(row) for _, row in summary.soonest]
    tables = [excerpt("soonest", "The soonest to end", _BRIEF, soonest, sum(summary.months.values()))]
    if summary.flawed:
        count = sum(summary.reasons[one] for one in FLAWS)
        tables.insert(0, excerpt("flawed", "Need somebody", _BRIEF, [_brief(row) for row in summary.flawed], count))
    if summary.reasons:
        reasons = tuple(
            (reason.value, f"{summary.reasons[reason]:,}", CATALOGUE[reason].title, CATALOGUE[reason].remedy)
            for reason in Reason
            if summary.reasons[reason]
        )
        columns = ("reason", "rows", "what it means", "what to do")
        tables.insert(0, Table(name="reasons", title="What was found besides", columns=columns, rows=reasons))
    return Result(
        verdict=Verdict.UNCHECKED if unknown else Verdict.ATTENTION if summary.pressing else Verdict.OK,
        headline=headline,
        reason=Reason.FILE_NOT_READ if unknown else "",
        facts={"As of": iso(limits.now)},
        tables=tuple(tables),
        beside=(beside,),
        histogram=by_month(summary.months, limits.now) if summary.months else None,
        needs_action=summary.pressing,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _pieces(paths: Iterator[str], size: int) -> Iterator[Piece]:
    while piece := tuple(islice(paths, size)):
        yield piece


def _share_out(pieces: Iterator[Piece], table: LongTable, first_line: dict[str, Any], processes: int) -> Summary:
    """Each process answers one thread of ours; the answers are written in the order of the pieces."""
    with ExitStack() as stack:
        helpers = [stack.enter_context(_Helper(first_line)) for _ in range(processes)]
        idle: SimpleQueue[_Helper] = SimpleQueue()
        for helper in helpers:
            idle.put(helper)

        def read(piece: Piece) -> Answer:
            helper = idle.get()
            try:
                return helper.read(piece)
            finally:
                idle.put(helper)

        pool = ThreadPoolExecutor(processes)
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: deque[tuple[Piece, Future[Answer]]] = deque()

        def write_next() -> None:
            piece, answer = waiting.popleft()
            files, rows, csv = answer.result()
            table.add_csv(csv, rows)
            if rest := piece[files:]:
                waiting.appendleft((rest, pool.submit(read, rest)))

        for piece in pieces:
            waiting.append((piece, pool.submit(read, piece)))
            # so many answers are in memory at most, however many files there are
            while len(waiting) > 4 * processes:
                write_next()
        while waiting:
            write_next()
        summary = Summary()
        for helper in helpers:
            summary.add(helper.end())
        return summary


class _Helper:
    """A process that makes rows of files; `folder_rows` says how it is spoken to."""

    def __init__(self, first_line: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "runbook_lib.procedures.folder_rows"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._say(first_line)

    def __enter__(self) -> _Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self, piece: Piece) -> Answer:
        answer = self._ask(piece, f"{piece[0]} to {piece[-1]}")
        assert self._process.stdout is not None  # noqa: S101
        return Answer(answer["files"], answer["rows"], self._process.stdout.read(answer["bytes"]))

    def end(self) -> Summary:
        return Summary.from_json(self._ask(None, "the end"))

    def _ask(self, what: Piece | None, where: str) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._say(what)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise RunbookError(
                Reason.FILE_NOT_READ,
                f"A process that read files ended with {self._process.wait()}, at {where}.",
                remedy="Run again; if it ends there again, it lacks memory, or a file there should be moved away.",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _say(self, what: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()
