"""Every change of a period: when, by whom, to which certificate, in which run. Read from the records of the runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from pydantic import ValidationError

from runbook_lib.archive import reader
from runbook_lib.archive.expectation import Declaration
from runbook_lib.archive.reader import ArchivedBag, ToldRun
from runbook_lib.archive.ticket_policy import TicketPolicy
from runbook_lib.audit.attendance import ACCOUNTS
from runbook_lib.clock import iso
from runbook_lib.schema import MOMENT, TEXT, Schema

CHANGES_MADE = Schema(
    "changes-made",
    {
        "at": MOMENT,
        "who": TEXT,
        "service user": TEXT,
        "certificate": TEXT,
        "change": TEXT,
        "verdict": TEXT,  # that of another version may be a word that this one does not know
        "what was seen": TEXT,
        "run": TEXT,
        "ticket": TEXT,
        "approved by": TEXT,
        "mode": TEXT,
    },
)
WITHOUT_TICKET = Schema("changes-without-ticket", CHANGES_MADE.types)

_NOT_KNOWN, _UNREADABLE, _LOST = "not known", "unreadable", "unknown"
_CHECKING = frozenset({"doctor", "verify", "inventory", "troubleshoot", "archive"})
"""Our jobs that change nothing, even if they are cut off."""


@dataclass(frozen=True)
class ChangeMade:
    """A step that changed something or tried to; or a run whose changes are unknown."""

    at: datetime
    who: str
    user: str
    certificate: str
    what: str
    verdict: str
    seen: str
    run: str
    ticket: str = ""
    approved_by: str = ""
    mode: str = ""
    api_url: str = ""
    """The DigiCert ONE of the change; empty if unknown."""

    @property
    def known(self) -> bool:
        """Whether it is known what was changed."""
        return self.what != _NOT_KNOWN and self.verdict != _LOST

    @property
    def unreadable(self) -> bool:
        """Whether it is unknown because a record cannot be read."""
        return not self.known and self.verdict == _UNREADABLE

    def row(self) -> tuple[str, ...]:
        """Its cells, in the order of `CHANGES_MADE`."""
        what = (self.what, self.verdict, self.seen, self.run)
        return (iso(self.at), self.who, self.user, self.certificate, *what, self.ticket, self.approved_by, self.mode)

    def breaks(self, declared: Sequence[Declaration]) -> bool:
        """Whether it lacks the ticket that the archive's policy required when it was made.

        Args:
            declared: the archive's expectations, in the order of the chain.
        """
        policy = next((each.policy for each in reversed(declared) if each.at <= self.at), TicketPolicy())
        return self.known and not self.ticket and policy.requires(self.api_url)


def changes(entries: Iterable[ArchivedBag]) -> list[ChangeMade]:
    """The changes of these runs, oldest first.

    A run that was cut off counts as a change if its job changes anything, because its record does not show what it had
    begun. So does a bag that cannot be read. A clicked session shows each press, also one whose outcome is unknown.
    """
    found = [change for entry in entries for change in _of(entry)]
    return sorted(found, key=lambda change: (change.at, change.run))


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
    user = ", ".join(user.name or user.id for user in run.seen.service_users) if run.seen else ""
    name = str(run.parameters.get("name") or (run.defaults or {}).get("name") or "")
    note = (run.ticket or "", run.approved_by or "", run.mode, run.target.api_url if run.target else "")
    for step in run.steps:
        if step.changed:
            yield ChangeMade(step.finished, who, user, name, step.title, step.verdict, step.headline, place, *note)
    for click in run.clicks:
        if click.lost:
            seen = "The button was pressed, and the session ended before the step did."
            yield ChangeMade(click.at, who, user, name, click.title, _LOST, seen, place, *note)
    if run.clicks:
        return
    ended = run.status in ("done", "failed", "refused")  # a failed step is a row of its own
    if not ended and run.job not in _CHECKING:
        seen = "The run was cut off. Its record does not show what it had begun. Run it again."
        yield ChangeMade(run.finished, who, user, name, _NOT_KNOWN, run.status, seen, place, *note)


def _accounts(file: Path) -> list[dict[str, str]] | None:
    """The rows of a batch's accounts; None for any other run. The inventory of many service users has a table of the
    same name, without the column `report`."""
    table = reader.table_rows(file)
    return table[1] if table is not None and "report" in table[0] else None


def _of_batch(entry: ArchivedBag, accounts: list[dict[str, str]]) -> Iterator[ChangeMade]:
    """The changes of a batch, from the run.json of each account."""
    for row in accounts:
        report = unquote(row.get("report") or "")
        place = re.sub(r"/[^/]*$", "", report)
        if not report or report.startswith(".."):  # in another bag, and listed there
            continue
        try:
            run = reader.read_run(entry.folder / "data" / place / "run.json")
        except (OSError, ValidationError):
            seen = f"The record of the account {row.get('account', '')} cannot be read."
            yield ChangeMade(entry.at, "", "", "", _NOT_KNOWN, _UNREADABLE, seen, entry.name)
            continue
        yield from _of_run(run, f"{entry.name}/data/{place}")
