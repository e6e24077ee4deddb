"""Every change of a period: when, by whom, to which certificate, under which run. Read from the runs' own records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from pydantic import ValidationError

from runbook_lib.archive import reader
from runbook_lib.archive.reader import ArchivedBag, ToldRun
from runbook_lib.audit.attendance import ACCOUNTS
from runbook_lib.clock import iso

COLUMNS = ("at", "who", "service user", "certificate", "change", "verdict", "what was seen", "run")

_NOT_KNOWN = "not known"
_CHECKING = frozenset({"doctor", "verify", "inventory", "troubleshoot", "archive"})
"""Jobs of ours that only look: one that was cut off has changed nothing."""


@dataclass(frozen=True)
class ChangeMade:
    """A step that changed something, or set out to; or a run of which it is not known."""

    at: datetime
    who: str
    user: str
    certificate: str
    what: str
    verdict: str
    seen: str
    run: str

    @property
    def known(self) -> bool:
        """Whether it is known what was changed."""
        return self.what != _NOT_KNOWN

    def row(self) -> tuple[str, ...]:
        """Its cells, as `COLUMNS`."""
        return iso(self.at), self.who, self.user, self.certificate, self.what, self.verdict, self.seen, self.run


def changes(entries: Iterable[ArchivedBag]) -> list[ChangeMade]:
    """The changes of these runs, oldest first.

    A run that ended before its time is a change too where it could change something: what it had begun is not in its
    record. A bag that cannot be read is one as well.
    """
    found = [change for entry in entries for change in _of(entry)]
    return sorted(found, key=lambda one: (one.at, one.run))


def _of(entry: ArchivedBag) -> Iterator[ChangeMade]:
    if entry.run is None:
        if entry.problem:
            yield ChangeMade(entry.at, "", "", "", _NOT_KNOWN, entry.status, entry.problem, entry.name)
        return
    accounts = _accounts(entry.folder / "data" / ACCOUNTS)
    if accounts is None:
        yield from _of_run(entry.run, entry.name)
    else:
        yield from _of_batch(entry, accounts)


def _of_run(run: ToldRun, place: str) -> Iterator[ChangeMade]:
    who = f"{run.who.user} on {run.who.host}"
    user = ", ".join(one.name or one.id for one in run.seen.service_users) if run.seen else ""
    name = str(run.parameters.get("name") or (run.defaults or {}).get("name") or "")
    for step in run.steps:
        if step.changed:
            yield ChangeMade(step.finished, who, user, name, step.title, step.verdict, step.headline, place)
    refused = run.status in ("done", "failed", "refused")  # a step that failed has told so itself
    if not refused and run.job not in _CHECKING:
        seen = "It was cut off, and what it had begun is not in its record. Run the same again."
        yield ChangeMade(run.finished, who, user, name, _NOT_KNOWN, run.status, seen, place)


def _accounts(file: Path) -> list[dict[str, str]] | None:
    """The rows of a batch's accounts; None where this is no batch. An inventory of many service users has a table of
    that name too, and no reports in it."""
    table = reader.table_rows(file)
    return table[1] if table is not None and "report" in table[0] else None


def _of_batch(entry: ArchivedBag, accounts: list[dict[str, str]]) -> Iterator[ChangeMade]:
    """The changes of a batch: each account has a report, and its run.json beside it."""
    for row in accounts:
        report = unquote(row.get("report") or "")
        place = re.sub(r"/[^/]*$", "", report)
        if not report or report.startswith(".."):  # in another bag, and told there
            continue
        try:
            told = reader.read_run(entry.folder / "data" / place / "run.json")
        except (OSError, ValidationError):
            seen = f"The record of the account {row.get('account', '')} cannot be read."
            yield ChangeMade(entry.at, "", "", "", _NOT_KNOWN, "unreadable", seen, entry.name)
            continue
        yield from _of_run(told, f"{entry.name}/data/{place}")
