"""Lists every certificate of the service user in DigiCert ONE, joined with every certificate in this store.

Nothing is left out: an API without a response is a row that says so, an unreadable file is a row, and expired and
disabled certificates are rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbook_lib import given
from runbook_lib.clock import iso
from runbook_lib.credentials.certificates import CertificateFacts
from runbook_lib.digicert.listing import Listing
from runbook_lib.digicert.models import ClientAuthCertificate, User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.inventories import schemas
from runbook_lib.inventories.accounts import (
    ApiKeyOwner,
    OwnerAnswer,
    account_row,
    ask_all,
    connections_of,
    each_once,
)
from runbook_lib.inventories.folder_worker import Summary
from runbook_lib.inventories.folders import read_into_table, result_of
from runbook_lib.inventories.health import Health, Limits
from runbook_lib.inventories.local_store import LocalCertificate, LocalStore, Unfinished, read_store
from runbook_lib.inventories.long_tables import ResultTables, Rows, by_month, counted, nearness, result_tables
from runbook_lib.lifecycle.proof import refuse_wrong_clock
from runbook_lib.lifecycle.rotation import rotate_command
from runbook_lib.procedures.parameters import InventoryParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import Bar, Histogram, Result, Seen, Timeline, Verdict
from runbook_lib.schema import Schema
from runbook_lib.tables import SHOWN, tables_folder
from runbook_lib.words import quantity


@dataclass(frozen=True)
class InventoryRow:
    """One certificate: listed in DigiCert ONE, in this store, or both."""

    name: str
    health: Health
    why: str
    action: str
    listed: ClientAuthCertificate | None
    local: LocalCertificate | None
    start: datetime | None
    end: datetime | None
    effective_end: datetime | None
    owner: str
    id: str = ""


class Inventory(Procedure[InventoryParameters]):
    """Notebook 04."""

    slug = "inventory"
    notebook = "04_inventory"
    model = InventoryParameters
    tables = (
        *(schemas.SOURCES, schemas.SERVICE_USERS, schemas.INVENTORY, schemas.REASONS, schemas.BARE, schemas.UNCHECKED),
        *(schemas.FLAWED, schemas.SOONEST, schemas.FILES, schemas.ACTIONS),
    )

    _user: User | None
    _listed: Listing | None
    _others: list[OwnerAnswer]
    _owners: dict[str, User]
    _local: list[LocalCertificate]
    _unfinished: list[Unfinished]
    _rows: list[InventoryRow]
    _files: Summary | None
    _limits: Limits
    _by_serial: dict[int | None, ClientAuthCertificate]

    def _as_of_now(self) -> Limits:
        return Limits.days(self.session.clock.now(), due=self.parameters.due_days, urgent=self.parameters.urgent_days)

    def _long(self, schema: Schema, title: str, rows: Rows, head: Rows) -> ResultTables:
        return result_tables(tables_folder(self.session.environ), schema, title, rows, head=head)

    # --- step 1 ---------------------------------------------------------------------------------------------------

    @check("Ask DigiCert ONE, and read the store")
    def collect(self) -> Result:
        self._user, self._listed, problem = self._ask()
        self._others = self._ask_others()
        users = (self._user, *(answer.user for answer in self._others))
        self._owners = {user.id: user for user in users if user is not None}
        store, environment = self.session.store, self.session.environment
        self._local, self._unfinished = read_store(store, environment.name, self.session.clock)
        silent = [answer.problem for answer in self._others if answer.problem is not None]
        unreadable = sum(local.seen is None for local in self._local)
        stored = quantity(len(self._local), "certificate") + (f", {unreadable} unreadable" if unreadable else "")
        listed = f"NO LIST: {problem.reason}: {problem.what}" if problem else _listing(self._listed or Listing())
        sources = [
            ("Account Manager API", environment.api_url, listed),
            ("Store", str(store.root / environment.name), stored),
        ]
        headline, shown = "Both sources answered.", ResultTables()
        if problem is not None:
            headline = f"DigiCert ONE sent no list, so only the other sources are shown. {problem.what}"
        part = self._listed.problem if self._listed is not None else None
        if part is not None:
            headline = f"The list may be incomplete: a certificate without a row may exist. {part.what}"
        if self._others:
            count = f"{len(self._others) - len(silent):,} of {len(self._others):,}"
            headline += f" Further service users with a response: {count}."
            sources.insert(1, ("Further service users", environment.api_url, f"responses: {count}"))
            rows = [account_row(answer) for answer in self._others]
            worst_first = sorted(rows, key=lambda row: row[1] == schemas.ANSWERED)
            shown = self._long(schemas.SERVICE_USERS, "Further service users", rows, worst_first[:SHOWN])
        problems = [error for error in (problem, part, *silent) if error is not None]
        return Result(
            verdict=Verdict.UNCHECKED if problems else Verdict.OK,
            headline=headline,
            next=tuple(dict.fromkeys(error.remedy for error in problems)),
            reason=problems[0].reason if problems else "",
            retry_after=problems[0].retry_after if problems else None,
            facts={"Service user": _owner(self._user, problem)},
            tables=(schemas.SOURCES.table("Sources", sources), *shown.tables),
            beside=shown.beside,
        )

    def _ask(self) -> tuple[User | None, Listing | None, RunbookError | None]:
        try:
            with self.session.api() as api:
                user, listed = api.me(), api.certificates()
                refuse_wrong_clock(self.session, api)  # else the days left would be wrong
                return user, listed, None
        except RunbookError as error:
            return None, None, error

    def _ask_others(self) -> list[OwnerAnswer]:
        if not self.parameters.api_keys:
            return []
        answers = ask_all(
            [ApiKeyOwner(reference, self.session.environment, reference) for reference in self.parameters.api_keys],
            already=len(self._listed or ()),
            per_second=self.parameters.requests_per_second,
            connections=self.parameters.connections,
            environ=self.session.environ,
            prompt=self.session.prompt,
        )
        # a thousand service users go into a table, not into the step's record of its connections
        self.session.seen.append(Seen(connections=connections_of(self.session.environment.api_url, answers)))
        return answers

    # --- step 2 ---------------------------------------------------------------------------------------------------

    @check("Show the state of each certificate", tutorial="Check certificate expiration")
    def classify(self) -> Result:
        lists = [(self._user, self._listed or ()), *((answer.user, answer.listed or ()) for answer in self._others)]
        store, listed = LocalStore(self._local), list(each_once(lists))
        self._limits, self._by_serial = self._as_of_now(), {entry.serial: entry for entry in reversed(listed)}
        rows = [self._row(entry, store.take(entry)) for entry in listed]
        rows += [self._row(None, local) for local in store.left]
        rows += list(self._unread())
        if self._listed is None:
            rows.insert(0, self._silent(f"no list from {self.session.environment.api_url}"))
        elif self._listed.doubt:
            rows.insert(0, self._silent(f"its list may be incomplete: {self._listed.doubt}"))
        now = self._limits.now
        far = datetime.max.replace(tzinfo=now.tzinfo)
        self._rows = rows = sorted(rows, key=lambda row: (row.effective_end or far, row.name))
        nearest = sorted(rows, key=lambda row: nearness(row.effective_end, now))
        shown = self._long(
            schemas.INVENTORY,
            "Certificates, earliest end first",
            [self._cells(row) for row in rows],
            [self._cells(row) for row in nearest[:SHOWN]],
        )
        counts = Counter(row.health for row in rows)
        needs = sum(1 for row in rows if row.action)
        dated = [row for row in rows if row.start and row.end]
        return Result(
            verdict=Verdict.UNCHECKED if counts[Health.UNCHECKED] else Verdict.ATTENTION if needs else Verdict.OK,
            headline=f"{quantity(len(rows), 'row')}: {counted(counts)}."
            if rows
            else "There are no certificates, neither in DigiCert ONE nor in the store.",
            facts={
                "As of": f"{iso(now)} ({self.session.clock.source})",
                "Due": f"fewer than {self.parameters.due_days} days left, capped at a third of the lifetime",
                "Urgent": f"fewer than {self.parameters.urgent_days} days left, capped at a ninth of the lifetime",
            },
            tables=shown.tables,
            beside=shown.beside,
            timeline=_timeline(dated, now) if dated and not shown.beside else None,
            histogram=_histogram(rows, now) if shown.beside else None,
            needs_action=needs,
        )

    def _unread(self) -> Iterator[InventoryRow]:
        """A row for each listed entry that could not be read."""
        others = dict.fromkeys(bad for answer in self._others for bad in answer.malformed)
        for entry in (*(self._listed.malformed if self._listed else ()), *others):
            name, why = entry.name or "(an entry of the list)", f"listed, but unreadable: {entry.why}"
            yield InventoryRow(name, Health.UNCHECKED, why, "00_start_here", None, None, None, None, None, "", entry.id)

    def _row(self, listed: ClientAuthCertificate | None, local: LocalCertificate | None) -> InventoryRow:
        seen = local.seen if local else None
        start = seen.not_before if seen else listed.start_date if listed else None
        end = seen.not_after if seen else listed.end_date if listed else None
        owner = self._owners.get(listed.user_id or "") if listed else None
        mine = listed is None or (self._user is not None and listed.user_id == self._user.id)
        bound = self._user if mine else owner
        effective = min(end, bound.end_date) if end and bound and bound.end_date else end
        health, why = self._judge(listed, local, start, effective, mine=mine)
        return InventoryRow(
            name=listed.name if listed else local.name if local else "",
            health=health,
            why=why,
            action=_action(health, local, mine=mine),
            listed=listed,
            local=local,
            start=start,
            end=end,
            effective_end=effective,
            owner="this service user" if mine else _other(owner, listed),
        )

    def _judge(
        self,
        listed: ClientAuthCertificate | None,
        local: LocalCertificate | None,
        start: datetime | None,
        end: datetime | None,
        *,
        mine: bool,
    ) -> tuple[Health, str]:
        if local is not None and local.problem is not None:
            mixed = local.problem.reason is Reason.KEY_MISMATCH
            return Health.MISMATCH if mixed else Health.UNREADABLE, local.problem.what
        if listed is None:
            if self._listed is None:
                return Health.UNCHECKED, "no list from DigiCert ONE"
            twin = self._by_serial.get(local.seen.serial) if local is not None and local.seen is not None else None
            if twin is not None:
                return Health.MISMATCH, f"a copy of the certificate listed as “{twin.name}”"
            if self._listed.problem is not None:
                return Health.UNCHECKED, "in the store, but not in the list, which may be incomplete"
            return Health.MISSING, "in the store, but DigiCert ONE does not list it"
        if local is not None and local.seen is not None:
            difference = _difference(listed, local.seen)
            if difference:
                return Health.MISMATCH, difference
        if end is not None and self._limits.expired(end):
            return Health.EXPIRED, self._limits.expired(end)
        if not listed.enabled:
            used = local is not None and local.is_current
            return Health.DISABLED, "listed with enabled = false" + (", and in use here" if used else "")
        if local is None and mine:
            return Health.ORPHAN, "enabled, but its key is not in this store"
        if end is None:
            return Health.UNCHECKED, "unknown end date"
        return self._limits.left(start, end)

    def _silent(self, why: str) -> InventoryRow:
        return InventoryRow("(DigiCert ONE)", Health.UNCHECKED, why, "runbook doctor", None, None, None, None, None, "")

    def _cells(self, row: InventoryRow) -> tuple[str, ...]:
        return (
            row.name,
            row.health.value,
            row.why,
            str((row.effective_end - self._limits.now).days) if row.effective_end else "",
            iso(row.end) if row.end else "",
            iso(row.effective_end) if row.effective_end else "",
            ("yes" if row.listed.enabled else "no") if row.listed else "unknown",
            row.local.where if row.local else "no",
            row.local.rotation if row.local else "",
            *(row.owner, _serial(row)),
            (row.listed.id or "") if row.listed else row.id,
            iso(row.start) if row.start else "",
        )

    # --- step 3 ---------------------------------------------------------------------------------------------------

    @check("Read the folders")
    def read_folders(self) -> Result:
        self._files = None
        if not self.parameters.folders:
            return Result(verdict=Verdict.NOTHING_TO_DO, headline="No folders given in `folders`.")
        limits = self._as_of_now()
        password = self.session.secret("folders_password") if self.parameters.folders_password else None
        self._files, table = read_into_table(
            [str(given.path(path)) for path in self.parameters.folders],
            tables_folder(self.session.environ),
            limits,
            password=password,
        )
        return result_of(self._files, table, limits)

    # --- step 4 ---------------------------------------------------------------------------------------------------

    @check("What to do, and with which notebook")
    def what_to_do(self) -> Result:
        todo = [(row.name, row.health.value, row.why, row.action) for row in self._rows if row.action]
        todo += [(begun.name, "unfinished", begun.why, begun.action) for begun in self._unfinished]
        todo += [
            (f"API key {answer.account.api_key}", "unchecked", answer.problem.what, answer.problem.explanation.notebook)
            for answer in self._others
            if answer.problem is not None
        ]
        if self._files is not None and self._files.states[Health.UNCHECKED]:
            why = f"not checked in the folders: {self._files.states[Health.UNCHECKED]:,}; see “Read the folders” above"
            todo.append(("(files)", "unchecked", why, ""))
        if self._files is not None and self._files.needs_action:
            why = f"action needed in the folders: {self._files.needs_action:,}; see “Read the folders” above"
            todo.append(("(files)", "attention", why, ""))
        if not todo:
            return Result(verdict=Verdict.OK, headline="No action needed.")
        shown = self._long(schemas.ACTIONS, "To do", todo, todo[:SHOWN])
        return Result(
            verdict=Verdict.ATTENTION,
            headline=f"Action needed: {len(todo):,} {'entry' if len(todo) == 1 else 'entries'}.",
            tables=shown.tables,
            beside=shown.beside,
            next=("Work through the table “To do”, top to bottom.",),
        )


def _timeline(rows: list[InventoryRow], now: datetime) -> Timeline:
    bars = tuple(
        Bar(label=row.name, start=row.start, end=row.end, state=row.health.value)
        for row in rows
        if row.start and row.end
    )
    return Timeline(title="Validity", bars=bars, now=now)


def _histogram(rows: list[InventoryRow], now: datetime) -> Histogram:
    months = Counter((f"{row.effective_end:%Y-%m}", row.health.value) for row in rows if row.effective_end)
    return by_month(months, now)


def _owner(user: User | None, problem: RunbookError | None) -> str:
    if user is None:
        return f"unknown ({problem.reason})" if problem else "unknown"
    return user.friendly_name or user.id


def _listing(listing: Listing) -> str:
    problem = listing.problem
    return quantity(len(listing), "certificate") + (f". UNCHECKED: {problem.what}" if problem else "")


def _other(owner: User | None, listed: ClientAuthCertificate | None) -> str:
    if owner is not None:
        return f"another: {owner.friendly_name or owner.id}"
    return f"another: {listed.user_id}" if listed else ""


def _difference(listed: ClientAuthCertificate, seen: CertificateFacts) -> str:
    if listed.serial is not None and listed.serial != seen.serial:
        return f"serial {listed.serial_number} in the list, {seen.serial_hex} in the store"
    if abs(listed.end_date - seen.not_after) > timedelta(days=1):
        return f"end {iso(listed.end_date)} in the list, {iso(seen.not_after)} in the store"
    return ""


def _action(health: Health, local: LocalCertificate | None, *, mine: bool) -> str:
    """The notebook for a row that needs action; empty for one that needs none."""
    match health:
        case Health.DUE | Health.URGENT:
            if not mine:
                return "tell its owner"
            return rotate_command(local.name) if local is not None and local.is_current else "05_rotate, or 03_access"
        case Health.EXPIRED:
            return "01_issue (under a new name)" if local is not None and local.is_current else ""
        case Health.DISABLED:
            return "03_access (enable): programs use it" if local is not None and local.is_current else ""
        case Health.ORPHAN:
            return "03_access, if nobody else has its key"
        case Health.MISSING | Health.MISMATCH | Health.UNREADABLE:
            return "02_verify, then 01_issue"
        case Health.UNCHECKED:
            return "00_start_here"
        case _:
            return ""


def _serial(row: InventoryRow) -> str:
    if row.local is not None and row.local.seen is not None:
        return row.local.seen.serial_hex
    return (row.listed.serial_number or "") if row.listed else ""
