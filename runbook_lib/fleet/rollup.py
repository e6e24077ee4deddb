"""The roll-up of a batch: a row for each account, one page, one table and the batch's own run.json."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from runbook_lib import disk, tables
from runbook_lib.catalogue import CATALOGUE, Exit, Reason
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.fleet.ledger import Kept, Ledger
from runbook_lib.reports import TEMPLATES, bare
from runbook_lib.reports.change_note import CHANGE_NOTE
from runbook_lib.reports.runrecord import RunRecord, TableFile
from runbook_lib.reports.scan import Scanner
from runbook_lib.result import Status, Table, Verdict, worst
from runbook_lib.tone import tone
from runbook_lib.visible import visible
from runbook_lib.words import certificates_need_action, date_words, quantity, time_html, words_html

MISSING = "missing"
"""The status of an account that has not finished."""

RECORD, REPORT, TABLE = "run.json", "report.html", "tables/accounts.csv"
_NOTED = 5
"""Most different tickets that a batch's own record lists; the table has all."""

_OWN = Path(__file__).with_name("templates")
_COLUMNS = (
    *("account", "status", "verdict", "needs_action", "reason", "seen", "attempts", "started", "seconds", "host"),
    *("report", "bag", *CHANGE_NOTE),
)


@dataclass(frozen=True)
class AccountRow:
    """An account in a batch.

    Args:
        entry: its last run, if any.
        missing: why it has not finished; empty if it has.
        bag: the earlier bag with its last run, relative to the archive; empty if the run is in this bag or in none.
    """

    account: str
    entry: Kept | None
    missing: str
    bag: str = ""

    @property
    def status(self) -> str:
        return MISSING if self.missing or self.entry is None else self.entry.status.value

    @property
    def done(self) -> bool:
        return self.status == Status.DONE.value

    @property
    def needs_action(self) -> int:
        """Certificates that need action; 0 for an account that is not done, whose number is unknown."""
        return self.entry.needs_action if self.done and self.entry is not None else 0

    @property
    def seen(self) -> str:
        last = self.entry.seen if self.entry else ""
        return f"{self.missing}{'. Last run: ' if self.missing and last else ''}{last}"

    def note(self, name: str) -> str:
        """Its ticket, reason for change or approver; empty if none was given or known."""
        return getattr(self.entry, name) or "" if self.entry else ""

    @property
    def report(self) -> str:
        """The link from the batch's page to its report; empty if there is none."""
        if self.entry is None or REPORT not in self.entry.files:
            return ""
        page = f"accounts/{self.entry.slug}/{REPORT}"
        return f"../../../../../{quote(self.bag)}/data/{page}" if self.bag else page


def account_rows(accounts: Sequence[str], ledger: Ledger, missing: Mapping[str, str]) -> list[AccountRow]:
    """A row for each account, in order; and one for each run of an account that is no longer in the file."""
    here = {entry.account: entry for entry in ledger.unsealed}
    found = []
    for account in dict.fromkeys([*accounts, *here]):
        entry, place = here.get(account), ""
        if entry is None and account in ledger.sealed_in:
            entry, place = ledger.sealed_in[account]
        why = missing.get(account, "" if entry is not None and entry.ended else "not run")
        found.append(AccountRow(account, entry, why, place))
    return found


def redacted(row: AccountRow, scanner: Scanner) -> AccountRow:
    """The row without secrets."""
    entry = row.entry
    if entry is not None:
        texts = entry.model_dump(include={"account", "seen", "host", *CHANGE_NOTE})
        entry = entry.model_copy(update=scanner.redact(texts))
    return AccountRow(scanner.redact(row.account), entry, scanner.redact(row.missing), row.bag)


def kept_files(ledger: Ledger) -> dict[str, Path]:
    """The files of all unsealed runs: an account's last run in its folder, earlier ones below it."""
    last = {entry.account: entry.attempt for entry in ledger.unsealed}
    found: dict[str, Path] = {}
    for entry in ledger.unsealed:
        folder = f"accounts/{entry.slug}"
        folder += "" if entry.attempt == last[entry.account] else f"/attempt-{entry.attempt}"
        found |= {f"{folder}/{name}": path for name, path in ledger.files(entry).items()}
    return found


def verdict_on(rows: Sequence[AccountRow], stopped: Status) -> tuple[Status, Verdict, Exit, RunbookError | None]:
    """How the batch ended: its status, verdict, exit code, and the error if it is not done.

    The exit code is 40 if the outcome of a request is unknown, 1 if accounts are missing, 30 if some failed: what must
    run again comes before what needs a look.
    """
    missing = [row for row in rows if row.status == MISSING]
    failed = [row for row in rows if not row.done and row.status != MISSING]
    unknown = [row for row in rows if row.entry is not None and row.entry.exit == Exit.OUTCOME_UNKNOWN]
    parts = [f"{len(missing):,} not finished" if missing else "", f"{len(failed):,} failed" if failed else ""]
    what = f"Of {quantity(len(rows), 'account')}: {', '.join(filter(None, parts))}{_by_reason(failed)}."
    if not missing and not failed:
        verdicts = [row.entry.verdict for row in rows if row.entry is not None and row.entry.verdict is not None]
        return Status.DONE, worst(verdicts) if verdicts else Verdict.OK, Exit.DONE, None
    status = Status.FAILED if not missing or stopped is Status.DONE else stopped
    if unknown:
        names = ", ".join(visible(row.account) for row in unknown[:5]) + (" …" if len(unknown) > 5 else "")
        error = RunbookError(
            Reason.OUTCOME_UNKNOWN,
            f"{what} The outcome of a request is unknown for {quantity(len(unknown), 'account')}: {names}.",
            remedy="Run the same batch again: each of these accounts first finds out what became of its request.",
        )
    elif missing:
        error = RunbookError(Reason.ACCOUNTS_MISSING, what)
    else:
        title = f"{len(failed):,} of {quantity(len(rows), 'account')} failed{_common_cause(failed)}"
        error = RunbookError(Reason.ACCOUNTS_FAILED, what, title=title)
    return status, Verdict.FAILED, error.exit, error


def _common_cause(failed: Sequence[AccountRow]) -> str:
    """`: The server cannot be reached` if every account failed for this reason; else empty."""
    reasons = {row.entry.reason for row in failed if row.entry is not None}
    return f": {CATALOGUE[Reason(*reasons)].title}" if len(reasons) == 1 and reasons <= set(Reason) else ""


def _by_reason(failed: Sequence[AccountRow]) -> str:
    """` (2 × “The server cannot be reached”, …)`, the most frequent first."""
    counts = Counter(row.entry.reason for row in failed if row.entry is not None and row.entry.reason in set(Reason))
    shown = [f"{count} × “{CATALOGUE[Reason(reason)].title}”" for reason, count in counts.most_common(5)]
    return f" ({', '.join(shown)}{', …' if len(counts) > 5 else ''})" if shown else ""


def note_of(rows: Sequence[AccountRow]) -> dict[str, str | None]:
    """The tickets, reasons and approvers of the accounts, for the batch's own record; None if no account knows any."""
    found: dict[str, str | None] = {}
    for name in CHANGE_NOTE:
        known = [note for row in rows if row.entry and (note := getattr(row.entry, name)) is not None]
        each = list(dict.fromkeys(filter(None, known)))
        more = f" and {len(each) - _NOTED:,} more" if len(each) > _NOTED else ""
        found[name] = ", ".join(each[:_NOTED]) + more if known else None
    return found


def table(rows: Sequence[AccountRow]) -> tuple[TableFile, bytes]:
    """The accounts as CSV, and its entry for run.json."""
    cells = tuple(
        (
            row.account,
            row.status,
            row.entry.verdict or "" if row.entry else "",
            str(row.needs_action) if row.done else "",
            row.entry.reason if row.entry else "",
            row.seen,
            str(row.entry.attempt) if row.entry else "0",
            iso(row.entry.started) if row.entry else "",
            f"{row.entry.duration:.3f}" if row.entry else "",
            row.entry.host if row.entry else "",
            row.report,
            row.bag,
            *(row.note(name) for name in CHANGE_NOTE),
        )
        for row in rows
    )
    content = tables.csv_of(Table(name="accounts", title="Accounts", columns=_COLUMNS, rows=cells))
    return TableFile(file=TABLE, title="Accounts", rows=len(cells), sha256=disk.sha256(content)), content


def drawn(record: RunRecord, rows: Sequence[AccountRow], facts: Mapping[str, str]) -> tuple[RunRecord, str]:
    """The record and its page. If the page cannot be drawn, the record says why and the page is a bare one."""
    try:
        return record, batch_page(record, rows, facts)
    except Exception as error:  # noqa: BLE001 - the record reports it, and the batch is sealed all the same
        why = visible(f"{type(error).__name__}: {error}"[:300])
        record = record.model_copy(update={"not_drawn": {"the accounts": why}})
        return record, bare.bare_page(record)


def batch_page(record: RunRecord, rows: Sequence[AccountRow], facts: Mapping[str, str]) -> str:
    """The batch's report.html: its result, the accounts that are not done and why, and every account with its report.

    It loads nothing. Its one script searches and sorts the table, which is complete without it.
    """
    from runbook_lib.reports.html import lines_html  # nbconvert is slow to import

    script = (_OWN / "batch.js").read_text(encoding="utf-8")
    templates = Environment(
        loader=FileSystemLoader([_OWN, TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters.update(
        tone=tone,
        time=time_html,
        moment=date_words,
        lines=lines_html,
        words=words_html,
        quantity=quantity,
        need_action=certificates_need_action,
        visible=lambda value: visible(str(value)),
    )
    order = sorted(rows, key=lambda row: (row.done, -row.needs_action, row.account))
    return templates.get_template("batch.html.j2").render(
        run=record,
        rows=order,
        facts=facts,
        note=CHANGE_NOTE,
        counts=Counter(row.status for row in rows).most_common(),
        reasons=[
            (count, CATALOGUE[Reason(reason)] if reason in set(Reason) else None, reason)
            for reason, count in Counter(
                row.entry.reason for row in rows if row.entry is not None and row.entry.reason and not row.done
            ).most_common()
        ],
        elsewhere=sum(1 for row in rows if row.bag and not row.missing),
        script=Markup(script),  # noqa: S704  our own
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
