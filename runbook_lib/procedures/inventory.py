"""Every certificate of the service user as DigiCert ONE lists it, joined with every one this store holds.

Nothing is left out: an API that does not answer is a row that says so, an unreadable file is a row, and expired and
disabled certificates are rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from runbook_lib.clock import iso
from runbook_lib.credentials.certificates import CertificateFacts
from runbook_lib.credentials.store import Credential, Generation, read_public
from runbook_lib.digicert.models import ClientAuthCertificate, User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.journal import ISSUANCE, Entry, Journal, State
from runbook_lib.procedures.parameters import InventoryParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.procedures.proof import find, refuse_wrong_clock
from runbook_lib.procedures.rotation import Rotation, command, part_of, replay
from runbook_lib.result import Bar, Result, Table, Timeline, Verdict


class Health(StrEnum):
    """What a row of the inventory says, from what needs nobody to what needs somebody now."""

    HEALTHY = "healthy"
    DISABLED = "disabled"
    EXPIRED = "expired"
    DUE = "due"
    URGENT = "urgent"
    ORPHAN = "orphan"
    MISSING = "missing"
    MISMATCH = "mismatch"
    UNREADABLE = "unreadable"
    UNCHECKED = "unchecked"


COLUMNS = (
    *("name", "state", "why", "days left", "ends", "effective end", "enabled"),
    *("in the store", "rotation", "owner", "serial", "id"),
)
"""Of inventory.csv. Scripts read them: add at the end, rename none."""


@dataclass(frozen=True)
class Local:
    """A generation in the store: what it says, or why it cannot be read."""

    generation: Generation
    name: str
    is_current: bool
    rotation: str
    seen: CertificateFacts | None = None
    problem: RunbookError | None = None

    @property
    def where(self) -> str:
        return f"{self.name}/{self.generation.folder.name}" + (" (in use)" if self.is_current else "")


@dataclass(frozen=True)
class Row:
    """One certificate: as listed, as held, or both."""

    name: str
    health: Health
    why: str
    action: str
    listed: ClientAuthCertificate | None
    local: Local | None
    start: datetime | None
    end: datetime | None
    effective_end: datetime | None
    owner: str


class Inventory(Procedure[InventoryParameters]):
    """Notebook 04."""

    slug: ClassVar[str] = "inventory"
    notebook: ClassVar[str] = "04_inventory"
    model = InventoryParameters

    _user: User | None
    _listed: list[ClientAuthCertificate] | None
    _local: list[Local]
    _unfinished: list[tuple[str, str, str]]
    _rows: list[Row]

    # --- step 1 ---------------------------------------------------------------------------------------------------

    @check("Ask DigiCert ONE, and read the store")
    def collect(self) -> Result:
        self._user, self._listed, problem = self._ask()
        self._local, self._unfinished = self._read_store()
        unreadable = [one for one in self._local if one.seen is None]
        sources = (
            (
                "Account Manager API",
                self.environment.api_url,
                f"DID NOT ANSWER: {problem.reason}: {problem.what}"
                if problem
                else f"{len(self._listed or [])} certificates",
            ),
            (
                "Store",
                str(self.store.root / self.environment.name),
                f"{len(self._local)} certificates, {len(unreadable)} of them unreadable",
            ),
        )
        return Result(
            verdict=Verdict.OK if self._listed is not None else Verdict.UNCHECKED,
            headline="Both sources answered."
            if problem is None
            else f"DigiCert ONE gave no list, so what follows is only what this store knows. {problem.what}",
            next=(problem.remedy,) if problem else (),
            reason=problem.reason if problem else "",
            facts={"Service user": (self._user.friendly_name or self._user.id) if self._user else "unknown"},
            tables=(Table(name="sources", title="Sources", columns=("source", "where", "what it gave"), rows=sources),),
        )

    def _ask(self) -> tuple[User | None, list[ClientAuthCertificate] | None, RunbookError | None]:
        try:
            with self.api() as api:
                user, listed = api.me(), api.certificates()
                refuse_wrong_clock(self, api)  # days left would be counted from a wrong day
                return user, listed, None
        except RunbookError as error:
            return None, None, error

    def _read_store(self) -> tuple[list[Local], list[tuple[str, str, str]]]:
        """What the store holds, and what was begun there: name, why it is not finished, what next."""
        found: list[Local] = []
        unfinished: list[tuple[str, str, str]] = []
        for credential in self.store.credentials(self.environment.name):
            rotation = None
            try:
                entries = Journal(credential.journal_path, self.clock).entries()
            except RunbookError as error:
                unfinished.append((credential.name, error.what, "04_inventory"))
            else:
                rotation = replay(entries)
                unfinished += _unfinished_of(credential, entries, rotation)
            for one in credential.generations():
                found.append(_read(one, credential, current=_current(credential), rotation=rotation))
        return found, unfinished

    # --- step 2 ---------------------------------------------------------------------------------------------------

    @check("Tell how each certificate stands", tutorial="Check certificate expiration")
    def classify(self) -> Result:
        rest = list(self._local)
        rows: list[Row] = []
        for one in self._listed or []:
            local = _partner(one, rest)
            if local is not None:
                rest.remove(local)
            rows.append(self._row(one, local))
        rows += [self._row(None, local) for local in rest]
        if self._listed is None:
            rows.insert(0, self._silent())
        far = datetime.max.replace(tzinfo=self.clock.now().tzinfo)
        self._rows = rows = sorted(rows, key=lambda row: (row.effective_end or far, row.name))
        counts = Counter(row.health for row in rows)
        needs = sum(1 for row in rows if row.action)
        bars = tuple(
            Bar(label=row.name, start=row.start, end=row.end, state=row.health.value)
            for row in rows
            if row.start and row.end
        )
        return Result(
            verdict=Verdict.UNCHECKED if self._listed is None else Verdict.ATTENTION if needs else Verdict.OK,
            headline=(
                f"{len(rows)} rows: " + ", ".join(f"{counts[one]} {one.value}" for one in Health if counts[one]) + "."
            )
            if rows
            else "There is no certificate, neither in DigiCert ONE nor in the store.",
            facts={
                "As of": f"{iso(self.clock.now())} ({self.clock.source})",
                "Due": f"fewer than {self.parameters.due_days} days left, or less than a third of the lifetime",
                "Urgent": f"fewer than {self.parameters.urgent_days} days left, or less than a ninth of the lifetime",
            },
            tables=(self._table(rows),),
            timeline=Timeline(title="Validity", bars=bars, now=self.clock.now()) if bars else None,
            needs_action=needs,
        )

    def _row(self, listed: ClientAuthCertificate | None, local: Local | None) -> Row:
        seen = local.seen if local else None
        start = seen.not_before if seen else listed.start_date if listed else None
        end = seen.not_after if seen else listed.end_date if listed else None
        effective = min(end, self._user.end_date) if end and self._user and self._user.end_date else end
        mine = listed is None or self._user is None or listed.user_id in (None, self._user.id)
        health, why = self._judge(listed, local, start, effective, mine=mine)
        return Row(
            name=listed.name if listed else local.name if local else "",
            health=health,
            why=why,
            action=_action(health, local, mine=mine),
            listed=listed,
            local=local,
            start=start,
            end=end,
            effective_end=effective,
            owner="this service user" if mine else f"another: {listed.user_id}" if listed else "",
        )

    def _judge(
        self,
        listed: ClientAuthCertificate | None,
        local: Local | None,
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
                return Health.UNCHECKED, "DigiCert ONE did not answer"
            twin = find(self._listed, local.seen) if local is not None and local.seen is not None else None
            if twin is not None:
                return Health.MISMATCH, f"a copy of the certificate listed as “{twin.name}”"
            return Health.MISSING, "in the store, and DigiCert ONE does not list it"
        if local is not None and local.seen is not None:
            difference = _difference(listed, local.seen)
            if difference:
                return Health.MISMATCH, difference
        now = self.clock.now()
        if end is not None and end <= now:
            return Health.EXPIRED, f"ended on {iso(end)}"
        if not listed.enabled:
            used = local is not None and local.is_current
            return Health.DISABLED, "listed with enabled = false" + (", and in use here" if used else "")
        if local is None and mine:
            return Health.ORPHAN, "enabled, and its key is not in this store"
        if end is None:
            return Health.UNCHECKED, "no end date known"
        due, urgent = self._limits(start, end)
        if end - now < urgent:
            return Health.URGENT, f"fewer than {urgent.days} days left"
        if end - now < due:
            return Health.DUE, f"fewer than {due.days} days left"
        return Health.HEALTHY, ""

    def _limits(self, start: datetime | None, end: datetime) -> tuple[timedelta, timedelta]:
        """A 90-day limit on a 90-day certificate would always fire: never more than a third and a ninth of its life."""
        due, urgent = timedelta(days=self.parameters.due_days), timedelta(days=self.parameters.urgent_days)
        if start is None:
            return due, urgent
        return min(due, (end - start) / 3), min(urgent, (end - start) / 9)

    def _silent(self) -> Row:
        why = f"{self.environment.api_url} did not answer"
        return Row("(DigiCert ONE)", Health.UNCHECKED, why, "runbook doctor", None, None, None, None, None, "")

    def _table(self, rows: list[Row]) -> Table:
        now = self.clock.now()
        return Table(
            name="inventory",
            title="Certificates, the soonest to end first",
            columns=COLUMNS,
            rows=tuple(
                (
                    row.name,
                    row.health.value,
                    row.why,
                    str((row.effective_end - now).days) if row.effective_end else "",
                    iso(row.end) if row.end else "",
                    iso(row.effective_end) if row.effective_end else "",
                    ("yes" if row.listed.enabled else "no") if row.listed else "unknown",
                    row.local.where if row.local else "no",
                    row.local.rotation if row.local else "",
                    row.owner,
                    _serial(row),
                    (row.listed.id or "") if row.listed else "",
                )
                for row in rows
            ),
        )

    # --- step 3 ---------------------------------------------------------------------------------------------------

    @check("What to do, and with which notebook")
    def what_to_do(self) -> Result:
        todo = [(row.name, row.health.value, row.why, row.action) for row in self._rows if row.action]
        todo += [(name, "unfinished", why, what) for name, why, what in self._unfinished]
        if not todo:
            return Result(verdict=Verdict.OK, headline="Nothing needs anybody.")
        return Result(
            verdict=Verdict.ATTENTION,
            headline=f"{len(todo)} need somebody.",
            tables=(Table(name="actions", title="To do", columns=("name", "state", "why", "next"), rows=tuple(todo)),),
            next=("Work through the table above from its top.",),
        )


def _read(
    generation: Generation, credential: Credential, *, current: Generation | None, rotation: Rotation | None
) -> Local:
    local = Local(generation, credential.name, generation == current, part_of(rotation, generation.number))
    try:
        seen, _ = read_public(generation)
    except RunbookError as error:
        return replace(local, problem=error)
    return replace(local, seen=seen)


def _unfinished_of(
    credential: Credential, entries: list[Entry], rotation: Rotation | None
) -> list[tuple[str, str, str]]:
    if rotation is not None and not rotation.finished:
        since = f"a rotation stands at “{rotation.stage}” since {iso(rotation.at[rotation.stage])}"
        problem = f"; the hook {rotation.hook_problem}" if rotation.hook_problem else ""
        return [(credential.name, since + problem, command(credential.name))]
    last = next((one for one in reversed(entries) if one.state in ISSUANCE), None)
    if last is not None and last.state not in (State.CURRENT, State.ABANDONED):
        return [(credential.name, f"an issuance has stopped at “{last.state}” on {iso(last.at)}", "01_issue")]
    return []


def _current(credential: Credential) -> Generation | None:
    try:
        return credential.current()
    except RunbookError:
        return None  # the generations are rows all the same; `runbook doctor` tells about the link


def _partner(listed: ClientAuthCertificate, local: list[Local]) -> Local | None:
    """The local certificate of a listed one: by serial number, else by what was recorded with it.

    Of several copies the one under the listed name is meant.
    """
    same = [one for one in local if one.seen is not None and one.seen.serial == listed.serial]
    same = same or [one for one in local if _recorded(one, listed)]
    return min(same, key=lambda one: one.name != listed.name, default=None)


def _recorded(local: Local, listed: ClientAuthCertificate) -> bool:
    try:
        meta = local.generation.meta
    except RunbookError:
        return False
    return meta.id == listed.id if listed.id else meta.name == listed.name


def _difference(listed: ClientAuthCertificate, seen: CertificateFacts) -> str:
    if listed.serial is not None and listed.serial != seen.serial:
        return f"listed with serial {listed.serial_number}, held with {seen.serial_hex}"
    if abs(listed.end_date - seen.not_after) > timedelta(days=1):
        return f"listed as ending {iso(listed.end_date)}, held as ending {iso(seen.not_after)}"
    return ""


def _action(health: Health, local: Local | None, *, mine: bool) -> str:
    """The notebook for a row that needs somebody; empty for one that needs nobody."""
    match health:
        case Health.DUE | Health.URGENT:
            if not mine:
                return "tell its owner"
            return command(local.name) if local is not None and local.is_current else "05_rotate, or 03_access"
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


def _serial(row: Row) -> str:
    if row.local is not None and row.local.seen is not None:
        return row.local.seen.serial_hex
    return (row.listed.serial_number or "") if row.listed else ""
