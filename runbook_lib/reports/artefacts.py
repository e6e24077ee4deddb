"""The files of a bag: the notebook, the report, run.json and the tables, all searched for secrets first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports import bag, beside, html
from runbook_lib.reports.outcome import Status
from runbook_lib.reports.runrecord import Found, RunRecord, Scan, TableFile
from runbook_lib.reports.scan import PATTERNS, Finding, Scanner
from runbook_lib.result import Seen, StepRecord, Table, Target, Verdict

NOTEBOOK, REPORT, RECORD, LOG = "run.ipynb", "report.html", "run.json", "papermill.log"


def make(
    nb: NotebookNode, record: RunRecord, steps: tuple[StepRecord, ...], log: str, scanner: Scanner, folder: Path
) -> tuple[RunRecord, dict[str, bytes]]:
    """Everything that goes below `data/`.

    A file that holds a secret is withheld; the report is then made without the notebook's cells, and the record says
    what was found where. Texts in the record and the log are redacted as well.

    Args:
        nb: the executed, annotated notebook.
        record: the record as far as it is known.
        log: what papermill wrote, empty where it adds nothing.
        folder: where the run's tables are that lie beside the notebook, in `tables`.

    Returns:
        The record as it was archived, and the files' contents by name.
    """
    tables, contents = _tables(steps)
    left = beside.collect(steps, folder)
    tables, contents = (*tables, *left.entries), contents | left.contents
    if left.problem is not None:
        record = _failed(record, left.problem)
    record = _redacted(record.model_copy(update={"tables": tables}), scanner)
    notebook = nbformat.writes(nb) + "\n"
    page = html.render(nb, _with_scan(record, scanner, [], []))
    found = scanner.in_notebook(NOTEBOOK, nb) or scanner.in_file(NOTEBOOK, notebook)
    found += scanner.in_file(REPORT, page)
    for name, content in contents.items():
        found += scanner.in_file(name, left.texts.get(name) or content.decode())
    withheld = {finding.file for finding in found}
    if withheld:
        # what is in one of them came from the notebook: none of its cells is shown
        withheld.add(NOTEBOOK)
        contents = {name: content for name, content in contents.items() if name not in withheld}
        record = _withheld(record, found, tables=tuple(table for table in tables if table.file in contents))
    record = _with_scan(record, scanner, found, sorted(withheld - {REPORT}))
    if withheld:
        page = html.render(nbformat.v4.new_notebook(), record)
    files = {
        RECORD: (record.model_dump_json(indent=2) + "\n").encode(),
        REPORT: _utf8(page),
        **contents,
    }
    if not withheld:
        files[NOTEBOOK] = _utf8(notebook)
    safe_log = scanner.redact(log)
    if log and not scanner.labels_in(safe_log):
        files[LOG] = _utf8(safe_log + "\n")
    return record, files


def _failed(record: RunRecord, problem: RunbookError) -> RunRecord:
    """The record of a run whose evidence is not whole; one that failed for another reason keeps that."""
    if record.status is not Status.DONE:
        return record
    update = {"status": Status.FAILED, "verdict": Verdict.FAILED, "exit": problem.exit, "error": problem.as_dict()}
    return record.model_copy(update=update)


def _utf8(text: str) -> bytes:
    # a kernel can print half of a surrogate pair, which no UTF-8 holds
    return text.encode("utf-8", "backslashreplace")


def _tables(steps: tuple[StepRecord, ...]) -> tuple[tuple[TableFile, ...], dict[str, bytes]]:
    entries: list[TableFile] = []
    contents: dict[str, bytes] = {}
    for step in steps:
        for table in step.result.tables if step.result else ():
            name, count = f"tables/{table.name}.csv", 1
            while name in contents:
                count += 1
                name = f"tables/{table.name}-{count}.csv"
            contents[name] = bag.csv_bytes(table)
            digest = bag.sha256(contents[name])
            entries.append(
                TableFile(
                    file=name, title=table.title, rows=len(table.rows), sha256=digest, unchecked=_unchecked(table)
                )
            )
    return tuple(entries), contents


def _unchecked(table: Table) -> int:
    telling = [number for number, column in enumerate(table.columns) if column in ("state", "verdict")]
    return sum(any(row[number] == Verdict.UNCHECKED.value for number in telling) for row in table.rows)


def _redacted(record: RunRecord, scanner: Scanner) -> RunRecord:
    """The record with every text that came from elsewhere redacted."""
    steps = tuple(
        step.model_copy(
            update=scanner.redact(step.model_dump(include={"slug", "title", "tutorial", "headline", "error", "reason"}))
        )
        for step in record.steps
    )
    texts = {"account", "error", "parameters", "defaults", "next"}
    update: dict[str, Any] = scanner.redact(record.model_dump(include=texts))
    if record.target is not None:
        update["target"] = Target.model_validate(scanner.redact(record.target.model_dump()))
    if record.seen is not None:
        update["seen"] = Seen.model_validate(scanner.redact(record.seen.model_dump()))
    tables = tuple(table.model_copy(update={"title": scanner.redact(table.title)}) for table in record.tables)
    return record.model_copy(update={**update, "next": tuple(update["next"]), "steps": steps, "tables": tables})


def _with_scan(record: RunRecord, scanner: Scanner, found: list[Finding], withheld: list[str]) -> RunRecord:
    done = Scan(
        searched=scanner.searched,
        not_searched=scanner.unsearched,
        patterns=tuple(PATTERNS),
        found=tuple(Found(file=one.file, where=one.where, what=one.what) for one in found),
        withheld=tuple(withheld),
    )
    return record.model_copy(update={"scan": done})


def _withheld(record: RunRecord, found: list[Finding], tables: tuple[TableFile, ...]) -> RunRecord:
    if record.status is Status.REFUSED:
        return record.model_copy(update={"tables": tables})
    shown = list(dict.fromkeys(str(finding) for finding in found if finding.file != REPORT)) or [str(found[0])]
    more = f"; and {len(shown) - 5} more (run.json has them all)" if len(shown) > 5 else ""
    what = f"Found: {'; '.join(shown[:5])}{more}. The run itself was {record.status.value}."
    return record.model_copy(
        update={
            "status": Status.WITHHELD,
            "verdict": Verdict.FAILED,
            "exit": Exit.UNEXPECTED,
            "error": RunbookError(Reason.SECRET_IN_ARTEFACT, what).as_dict(),
            "tables": tables,
        }
    )
