"""The least that a run leaves: run.json and a page that says the same.

The last resort: it imports little and depends on nothing in the notebook.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime

from markupsafe import Markup

from runbook_lib.errors import RunbookError, frames_of, unexpected
from runbook_lib.looks import withheld
from runbook_lib.reports.change_note import CHANGE_NOTE
from runbook_lib.reports.job import Job, Produced
from runbook_lib.reports.runrecord import Engine, RunRecord
from runbook_lib.result import Status
from runbook_lib.visible import visible
from runbook_lib.words import date_words, dates_html, quantity, time_html, words_html

LOG = "unexpected.log"
"""The types and places of an unexpected error, without values."""

_PAGE = Markup("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{status}: {name} ({at})</title>
<style>body {{ font-family: sans-serif; max-width: 60em; margin: 2em auto }} dt {{ font-weight: bold }}</style></head>
<body><h1>{name}: {status}</h1>
<dl>{facts}</dl>
<p>This page is data/report.html in a BagIt bag. data/run.json holds everything else that is known.</p>
</body></html>
""")


def bare_page(record: RunRecord) -> str:
    """report.html without templates: how the run ended, and what the page does not show."""
    error = record.error or {}
    facts: dict[str, str] = {
        "What happened": words_html(error.get("what", ""), record.finished),
        "What it means": words_html(error.get("means", ""), record.finished),
        "What to do": words_html(error.get("remedy", ""), record.finished),
        "Reason": error.get("reason", ""),
        "Job": record.job,
        "Account": record.account,
        "Started": time_html(record.started),
        "Finished": time_html(record.finished),
        "Run by": f"{record.who.user} on {record.who.host}",
        **{label: getattr(record, name) or "" for name, label in CHANGE_NOTE.items()},
        "Notebook": f"{record.notebook.name}, SHA-256 {record.notebook.sha256}",
        **{f"Not shown: {what}": why for what, why in record.not_drawn.items()},
        **{f"Step: {step.title}": f"{step.verdict.value}: {step.headline}" for step in record.steps},
        **{f"Table: {table.file}": f"{table.title}, {quantity(table.rows, 'row')}" for table in record.tables},
        "Run": record.run,
    }
    pair = Markup("<dt>{}</dt><dd>{}</dd>\n")
    shown = Markup("").join(
        pair.format(visible(name), fact if isinstance(fact, Markup) else dates_html(fact, record.finished))
        for name, fact in facts.items()
        if fact
    )
    name = visible(record.notebook.name)
    return str(_PAGE.format(status=record.status.value, name=name, at=date_words(record.started), facts=shown))


def bare_files(record: RunRecord) -> dict[str, bytes]:
    """The payload of the run's bag."""
    return {
        "run.json": (record.model_dump_json(indent=2) + "\n").encode("utf-8", "backslashreplace"),
        "report.html": bare_page(record).encode("utf-8", "backslashreplace"),
    }


def failed_unexpectedly(
    job: Job,
    error: BaseException,
    *,
    started: datetime,
    finished: datetime,
    clock: str,
    executed: bool,
    engine: Engine | None = None,
) -> Produced:
    """Make the record of a run that ended in an unexpected error: failed.

    It shows no parameters and no outputs: the search for secrets in them may be incomplete.

    Args:
        executed: the notebook was executed, at least in part.
        engine: what executed it, if known.
    """
    problem = _without_secrets(job, error if isinstance(error, RunbookError) else unexpected(error))
    what = "The notebook was executed." if executed else "No cell ran."
    problem = RunbookError(
        problem.reason, f"{problem.what} {what} Its cells and parameters are not shown.", remedy=problem.remedy
    )
    record = RunRecord.of(
        job.started(started),
        account=job.account,
        status=Status.FAILED,
        error=problem,
        finished=finished,
        duration=max(0.0, round((finished - started).total_seconds(), 3)),
        clock=clock,
        engine=engine,
    )
    return Produced(record, {**bare_files(record), LOG: frames_of(error).encode("utf-8", "backslashreplace")})


def _without_secrets(job: Job, problem: RunbookError) -> RunbookError:
    """The error; only its reason if its words hold a secret of the run or could not be searched."""
    from runbook_lib.reports.scan import Scanner, references_in

    words = f"{problem.what}\n{problem.remedy}"
    try:
        references = references_in({"given": job.parameters, "": job.keep_out})
        scanner = Scanner(references, os.environ if job.environ is None else job.environ)
        if withheld(words) == words and not scanner.labels_in(words):
            return problem
    except Exception as error:  # noqa: BLE001  what made the run fail may make this fail too
        logging.getLogger(__name__).warning("Searching an error for secrets failed: %s", type(error).__name__)
    return RunbookError(problem.reason, "The error message is withheld: it may contain a secret.")
