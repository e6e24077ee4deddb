"""A run of which no more is known, or shown, than its record: run.json, and a page that says the same.

Light to import, and it depends on nothing that a notebook holds: it is what remains where all else fails.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime

from markupsafe import Markup

from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError, frames_of, unexpected
from runbook_lib.looks import withheld
from runbook_lib.reports.job import Job, Produced
from runbook_lib.reports.runrecord import Engine, RunRecord
from runbook_lib.result import Status
from runbook_lib.visible import visible

LOG = "unexpected.log"
"""Where an error comes from that nobody expected: types and places, no values."""

_PAGE = Markup("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{status}: {name} ({at})</title>
<style>body {{ font-family: sans-serif; max-width: 60em; margin: 2em auto }} dt {{ font-weight: bold }}</style></head>
<body><h1>{name}: {status}</h1>
<dl>{facts}</dl>
<p>This page is data/report.html of a BagIt bag; what else is known stands in data/run.json.</p>
</body></html>
""")


def bare_page(record: RunRecord) -> str:
    """report.html without templates: how the run ended, and what of the report is not drawn."""
    error = record.error or {}
    facts = {
        "What happened": error.get("what", ""),
        "What it means": error.get("means", ""),
        "What to do": error.get("remedy", ""),
        "Reason": error.get("reason", ""),
        "Job": record.job,
        "Account": record.account,
        "Started": iso(record.started),
        "Finished": iso(record.finished),
        "Run by": f"{record.who.user} on {record.who.host}",
        "Notebook": f"{record.notebook.name}, SHA-256 {record.notebook.sha256}",
        **{f"Not drawn: {what}": why for what, why in record.not_drawn.items()},
        **{f"Step: {step.title}": f"{step.verdict.value}: {step.headline}" for step in record.steps},
        **{f"Table: {table.file}": f"{table.title}, {table.rows} rows" for table in record.tables},
        "Run": record.run,
    }
    pair = Markup("<dt>{}</dt><dd>{}</dd>\n")
    shown = Markup("").join(pair.format(visible(name), visible(fact)) for name, fact in facts.items() if fact)
    name = visible(record.notebook.name)
    return str(_PAGE.format(status=record.status.value, name=name, at=iso(record.started), facts=shown))


def bare_files(record: RunRecord) -> dict[str, bytes]:
    """The payload of its bag."""
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
    """What remains of a run that ended in an error nobody expected: failed, and sealed as that.

    Args:
        executed: the notebook had been, at least in part. Its parameters and outputs were not searched for secrets to
            the end, so none of them is shown.
        engine: what executed it, if that is known.
    """
    problem = _without_secrets(job, error if isinstance(error, RunbookError) else unexpected(error))
    what = "The notebook had been executed; " if executed else "No cell has run: "
    problem = RunbookError(
        problem.reason, f"{problem.what} {what}neither its cells nor its parameters are shown.", remedy=problem.remedy
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
    """The error, or its reason alone where its words hold a secret of the run or could not be searched for one."""
    from runbook_lib.reports.scan import Scanner, references_in

    words = f"{problem.what}\n{problem.remedy}"
    try:
        references = references_in({"given": job.parameters, "": job.keep_out})
        scanner = Scanner(references, os.environ if job.environ is None else job.environ)
        if withheld(words) == words and not scanner.labels_in(words):
            return problem
    except Exception as error:  # noqa: BLE001  what kept the run from its end may keep this from its own
        logging.getLogger(__name__).warning("An error could not be searched for secrets: %s", type(error).__name__)
    return RunbookError(problem.reason, "The message of the error is withheld: it may hold a secret.")
