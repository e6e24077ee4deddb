"""The files of a bag: the notebook, the report, run.json and the tables, all searched for secrets first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from pydantic import ValidationError

from runbook_lib import disk, tables
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.errors import RunbookError
from runbook_lib.looks import PATTERNS
from runbook_lib.reports import html, sidecar_tables
from runbook_lib.reports.runrecord import WITHHELD, Found, RunRecord, Scan, Started, TableFile, Who
from runbook_lib.reports.scan import Scanner
from runbook_lib.result import Status, StepRecord, Table, Verdict

NOTEBOOK, REPORT, RECORD, LOG = "run.ipynb", "report.html", "run.json", "papermill.log"


@dataclass(frozen=True)
class More:
    """What a bag holds besides what its notebook's steps recorded.

    Args:
        tables: more tables.
        found: secrets that were left out before, when the session was written down.
    """

    tables: tuple[Table, ...] = ()
    found: tuple[Found, ...] = ()


def make_artefacts(
    nb: NotebookNode,
    record: RunRecord,
    steps: tuple[StepRecord, ...],
    log: str,
    scanner: Scanner,
    folder: Path,
    more: More | None = None,
) -> tuple[RunRecord, dict[str, bytes]]:
    """Make everything that goes below `data/`.

    Every file is searched for secrets exactly as it would be sealed, its name included. A file with a secret is
    withheld, and so is the notebook. The report is then made without cells, the record says what was found where, and
    both are redacted and searched again. If they still contain a secret, only the least remains (`least`).

    Args:
        nb: the executed, annotated notebook.
        record: the record so far.
        log: papermill's log; empty if it adds nothing.
        folder: the folder whose `tables` holds the run's sidecar tables.
        more: what else the bag holds.

    Returns:
        The record as archived, and the files' contents by name.
    """
    more = more or More()
    tables, contents = _tables(
        [*(table for step in steps if step.result for table in step.result.tables), *more.tables]
    )
    sidecars = sidecar_tables.collect_sidecars(steps, folder)
    tables, contents = (*tables, *sidecars.entries), contents | sidecars.contents
    if sidecars.problem is not None:
        record = _failed(record, sidecars.problem)
    record = _with_scan(record.model_copy(update={"tables": tables}), scanner, [], [])
    notebook = _utf8(nbformat.writes(nb) + "\n")
    page, not_drawn = html.notebook_page(nb, record)
    if not_drawn:
        record = record.model_copy(update={"not_drawn": not_drawn})
    files = {RECORD: as_json(record), REPORT: _utf8(page), **contents, NOTEBOOK: notebook}
    if log:
        files[LOG] = _utf8(scanner.redact(log) + "\n")
    found = [*more.found, *scanner.in_notebook(NOTEBOOK, nb, notebook)]
    for name, content in files.items():
        if name != NOTEBOOK:
            found += scanner.in_file(name, content)
    if not found:
        return record, files
    out = {finding.file for finding in found}
    if record.status is not Status.REFUSED or not out <= {RECORD, REPORT}:
        out.add(NOTEBOOK)  # the other files came from the notebook; those of a refused run, from its parameters
    kept = {name: content for name, content in files.items() if name not in out | {RECORD, REPORT}}
    shown = nb if NOTEBOOK in kept else nbformat.v4.new_notebook()
    return _without(record, found, out - {RECORD, REPORT}, kept, shown, scanner)


def _without(
    record: RunRecord,
    found: list[Found],
    out: set[str],
    kept: dict[str, bytes],
    nb: NotebookNode,
    scanner: Scanner,
) -> tuple[RunRecord, dict[str, bytes]]:
    """What remains of a run in which a secret was found, searched again."""
    tables = tuple(table for table in record.tables if table.file in kept)
    try:
        redacted = redacted_record(record.model_copy(update={"tables": tables}), found, out, scanner)
    except ValidationError:  # a field that cannot be redacted
        return least(record)
    files = _record_and_page(redacted, nb)
    if any(scanner.in_file(name, content) for name, content in files.items()):
        return least(record)
    return redacted, files | kept


def redacted_record(record: RunRecord, found: list[Found], files: set[str], scanner: Scanner) -> RunRecord:
    """The redacted record of a run in which a secret was found.

    Args:
        files: the files that are withheld.

    Raises:
        pydantic.ValidationError: a field cannot be redacted.
    """
    found = list(dict.fromkeys(found))
    failed = _with_scan(_failed_by(record, found), scanner, found, sorted(files))
    return RunRecord.model_validate(scanner.redact(failed.model_dump(mode="json")))


def least(record: RunRecord) -> tuple[RunRecord, dict[str, bytes]]:
    """The record and files that are always safe: nothing in them came from a notebook, parameters or a server."""
    safe = _least(record)
    return safe, _record_and_page(safe, nbformat.v4.new_notebook())


def _record_and_page(record: RunRecord, nb: NotebookNode) -> dict[str, bytes]:
    page, not_drawn = html.notebook_page(nb, record)
    record = record.model_copy(update={"not_drawn": not_drawn})
    return {RECORD: as_json(record), REPORT: _utf8(page)}


def _least(record: RunRecord) -> RunRecord:
    what = "The run's record contains a secret and is withheld."
    refused = record.status is Status.REFUSED
    started = Started(
        run=record.run,
        job=WITHHELD,
        at=record.started,
        notebook=WITHHELD,
        sha256=record.notebook.sha256,
        who=Who(user=WITHHELD, host=WITHHELD),
        lock_sha256=record.lock_sha256,
        mode=record.mode,
    )
    return RunRecord.of(
        started,
        status=Status.REFUSED if refused else Status.WITHHELD,
        error=RunbookError(Reason.SECRET_IN_ARTEFACT, what),
        exit=record.exit if refused else Exit.UNEXPECTED,
        finished=record.finished,
        duration=record.duration,
        clock=record.clock,
        engine=record.engine,
        software=record.software,
        cells=record.cells,
        scan=Scan(patterns=tuple(PATTERNS), withheld=(NOTEBOOK,)),
    )


def _failed(record: RunRecord, problem: RunbookError) -> RunRecord:
    """The record of a run whose evidence is incomplete. A run that failed already keeps its reason."""
    if record.status is not Status.DONE:
        return record
    update = {"status": Status.FAILED, "verdict": Verdict.FAILED, "exit": problem.exit, "error": problem.as_dict()}
    return record.model_copy(update=update)


def as_json(record: RunRecord) -> bytes:
    """The file run.json."""
    return (record.model_dump_json(indent=2) + "\n").encode()


def _utf8(text: str) -> bytes:
    # a kernel can print half of a surrogate pair, which is not UTF-8
    return text.encode("utf-8", "backslashreplace")


def _tables(made: Iterable[Table]) -> tuple[tuple[TableFile, ...], dict[str, bytes]]:
    entries: list[TableFile] = []
    contents: dict[str, bytes] = {}
    for table in made:
        name, count = f"tables/{table.name}.csv", 1
        while name in contents:
            count += 1
            name = f"tables/{table.name}-{count}.csv"
        contents[name] = tables.csv_of(table)
        digest = disk.sha256(contents[name])
        entries.append(
            TableFile(file=name, title=table.title, rows=len(table.rows), sha256=digest, unchecked=_unchecked(table))
        )
    return tuple(entries), contents


def _unchecked(table: Table) -> int:
    states = [number for number, column in enumerate(table.columns) if column in ("state", "verdict")]
    return sum(any(row[number] == Verdict.UNCHECKED.value for number in states) for row in table.rows)


def _with_scan(record: RunRecord, scanner: Scanner, found: list[Found], withheld: list[str]) -> RunRecord:
    scan = Scan(
        searched=scanner.searched,
        not_searched=scanner.unsearched,
        patterns=tuple(PATTERNS),
        found=tuple(found),
        withheld=tuple(withheld),
    )
    return record.model_copy(update={"scan": scan})


def _failed_by(record: RunRecord, found: list[Found]) -> RunRecord:
    if record.status is Status.REFUSED:
        return record
    elsewhere = [str(finding) for finding in found if finding.file not in (REPORT, RECORD)]
    shown = list(dict.fromkeys(elsewhere)) or [str(found[0])]
    more = f"; and {len(shown) - 5} more (see run.json)" if len(shown) > 5 else ""
    what = f"Found: {'; '.join(shown[:5])}{more}. The run's own status was “{record.status.value}”."
    return record.model_copy(
        update={
            "status": Status.WITHHELD,
            "verdict": Verdict.FAILED,
            "exit": Exit.UNEXPECTED,
            "error": RunbookError(Reason.SECRET_IN_ARTEFACT, what).as_dict(),
        }
    )
