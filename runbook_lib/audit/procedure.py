"""Notebook 06: is the archive unchanged, what ran, who changed what, what is missing, what is different now.

Its report is the audit report of a period. It only reads; its own run is sealed into the same archive afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from runbook_lib import given
from runbook_lib.archive import reader
from runbook_lib.archive.expectation import declarations
from runbook_lib.archive.reader import ArchivedBag
from runbook_lib.archive.verify import verify_archive
from runbook_lib.audit import changes, inventory_diff
from runbook_lib.audit.completeness import Completeness, DeviationKind, completeness
from runbook_lib.clock import iso
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.inventories.long_tables import Rows, result_tables
from runbook_lib.procedures.parameters import ArchiveParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import ParameterRow, ParametersRecord, Result, Verdict
from runbook_lib.schema import INTEGER, MOMENT, TEXT, Schema, ordered
from runbook_lib.tables import tables_folder
from runbook_lib.words import quantity

FINDINGS = Schema("findings", {"finding": TEXT})
JOBS = Schema(
    "jobs", {"job": TEXT, "runs": INTEGER, "done": INTEGER, "not done": INTEGER, "first": MOMENT, "last": MOMENT}
)
NOT_DONE = Schema("not-done", {"started": MOMENT, "job": TEXT, "status": TEXT, "what was seen": TEXT, "run": TEXT})
MISSING = Schema(
    "missing",
    {
        "period from": MOMENT,
        "state": ordered(reversed(DeviationKind)),
        "job": TEXT,
        "account": TEXT,
        "what": TEXT,
        "runs": TEXT,
    },
)
QUIET_DAYS = Schema("quiet-days", {"from": MOMENT, "to": MOMENT})
DIFFERENT = Schema("different", inventory_diff.CHANGES.types)

SHOWN = 500
"""Most rows of a table that the report shows. A longer one is a file next to the notebook."""


class Audit(Procedure[ArchiveParameters]):
    """Notebook 06."""

    slug = "archive"
    notebook = "06_archive"
    model = ArchiveParameters
    tables = (FINDINGS, JOBS, NOT_DONE, changes.CHANGES_MADE, changes.WITHOUT_TICKET, MISSING, QUIET_DAYS, DIFFERENT)

    _entries: list[ArchivedBag]

    def begin(self, rows: tuple[ParameterRow, ...]) -> ParametersRecord:
        """The record of the parameters, without a target: an audit uses no DigiCert ONE."""
        return super().begin(rows).model_copy(update={"target": None})

    @cached_property
    def archive(self) -> Path:
        """The archive's folder. Raises RunbookError (UNREADABLE_FILE)."""
        try:
            folder = given.archive_folder(self.session.environ, self.parameters.archive)
        except ValueError as error:
            raise RunbookError(Reason.BAD_PARAMETER, f"archive: {error}.") from None
        if not folder.is_dir():
            raise RunbookError(
                Reason.UNREADABLE_FILE,
                f"{folder} is not a folder.",
                remedy="Set the parameter `archive` or the variable DIGICERT_ONE_ARCHIVE.",
                title="There is no archive",
            )
        return folder

    def _shown(self, *parts: tuple[Schema, str, Rows]) -> dict[str, Any]:
        """The tables that have rows, as arguments of a result."""
        folder = tables_folder(self.session.environ)
        shown = [result_tables(folder, schema, title, rows, head=rows[:SHOWN]) for schema, title, rows in parts if rows]
        return {
            "tables": tuple(table for each in shown for table in each.tables),
            "beside": tuple(long for each in shown for long in each.beside),
        }

    # --- step 1 ---------------------------------------------------------------------------------------------------

    @check("Verify the archive")
    def verify_archive(self) -> Result:
        proof = verify_archive(self.archive, head=self.parameters.known_head or None, clock=self.session.clock)
        last = f"{proof.head[0]} {proof.head[1]}" if proof.head else "none"
        facts = {"Archive": str(self.archive), "Bags": f"{proof.bags:,}", "Files": f"{proof.files:,}", "Head": last}
        facts |= {"First signer": proof.signer} if proof.signer else {}
        if proof.findings:
            rows = tuple((finding,) for finding in proof.findings)
            return Result(
                verdict=Verdict.FAILED,
                headline=f"This archive is not as it was sealed: {quantity(len(rows), 'finding')}.",
                facts=facts,
                **self._shown((FINDINGS, "Findings", rows)),
                next=(
                    "Compare this archive with a copy kept elsewhere before you rely on what follows.",
                    "To check it without this software, run `sh verify.sh` in the archive.",
                ),
            )
        stamps = proof.stamped
        covering = f", which also cover {quantity(proof.covered, 'unsigned bag')}" if proof.covered else ""
        details = [
            (Verdict.OK, "Files", "none changed, added, removed or renamed since its bag was sealed"),
            (Verdict.OK, "Chain", "complete from the first bag to the last"),
            (
                (Verdict.OK, "Signatures", f"{proof.signed:,} verified{covering}")
                if proof.signer
                else (Verdict.ATTENTION, "Signatures", "none: anyone who can write here could have rebuilt the archive")
            ),
            (
                (Verdict.OK, "Time stamps", f"{len(stamps):,} verified, from {iso(stamps[0])} to {iso(stamps[-1])}")
                if stamps
                else (Verdict.UNCHECKED, "Time stamps", "none: no third party confirms when a bag was sealed")
            ),
            (
                (Verdict.OK, "End", "the head kept elsewhere is in the chain")
                if self.parameters.known_head
                else (Verdict.UNCHECKED, "End", "without a head kept elsewhere, a cut-off end cannot be detected")
            ),
        ]
        if proof.purged:
            details.append((Verdict.OK, "Purged", f"{quantity(proof.purged, 'bag')}, as archive entries declare"))
        if proof.word:
            caveat = f"no binding data for {quantity(proof.word, 'bag')}: they and the chain before rest on its word"
            details.append((Verdict.ATTENTION, "Old tombstone", caveat))
        if proof.late:
            late = f"{quantity(proof.late, 'signature')}: the certificate was not valid at the stamped time"
            details.append((Verdict.ATTENTION, "Late", late))
        if proof.lapsed:
            lapsed = f"{quantity(proof.lapsed, 'time stamp')} not renewed before the authority's certificate ended"
            details.append((Verdict.ATTENTION, "Lapsed", lapsed))
        renew = proof.ends if proof.ends is not None and proof.ends > self.session.clock.now() else None
        if renew:
            details.append((Verdict.ATTENTION, "Renewal", f"the newest time stamp's certificate ends {iso(renew)}"))
        weak = proof.late or proof.word or proof.lapsed or renew
        init = "Create a signer, so that later runs are signed: `runbook archive init`."
        restamp = "Renew the time stamps before that: `runbook archive restamp`."
        return Result(
            verdict=Verdict.OK if proof.signer and not weak else Verdict.ATTENTION,
            headline="Unchanged since it was sealed." if proof.signer else "Complete and unchanged, but not signed.",
            facts=facts,
            details=tuple(details),
            next=(*(() if proof.signer else (init,)), *((restamp,) if renew else ())),
        )

    # --- step 2 ---------------------------------------------------------------------------------------------------

    @check("What ran")
    def what_ran(self) -> Result:
        since, until = self._period()
        found = (bag for bag in reader.archived_bags(self.archive) if since <= bag.at < until)
        self._entries = sorted(found, key=lambda bag: (bag.at, bag.place))
        if not self._entries:
            period = f"from {iso(since)} to {iso(until)}" if self.parameters.period_from else f"before {iso(until)}"
            return Result(
                verdict=Verdict.ATTENTION,
                headline=f"No runs {period}.",
                next=("Choose another period.",),
            )
        by_job: dict[str, list[ArchivedBag]] = defaultdict(list)
        for bag in self._entries:
            by_job[bag.job].append(bag)
        jobs = tuple(
            (job, str(len(runs)), str(sum(run.done for run in runs)), str(sum(not run.done for run in runs)),
             iso(runs[0].at), iso(runs[-1].at))
            for job, runs in sorted(by_job.items())
        )  # fmt: skip
        odd = tuple((iso(bag.at), bag.job, bag.status, bag.seen, bag.name) for bag in self._entries if not bag.done)
        return Result(
            verdict=Verdict.ATTENTION if odd else Verdict.OK,
            headline=f"{_days(self._entries[0].at, self._entries[-1].at)}: {quantity(len(self._entries), 'run')}, "
            f"{f'{len(odd):,} not done' if odd else 'all done'}.",
            facts={"Period": f"{iso(max(since, self._entries[0].at))} to {iso(until)}", "Archive": str(self.archive)},
            **self._shown((JOBS, "Jobs", jobs), (NOT_DONE, "Runs that were not done", odd)),
        )

    def _period(self) -> tuple[datetime, datetime]:
        """Its start, and the first moment after it."""
        first, last = self.parameters.period_from, self.parameters.period_to
        since = _midnight(first) if first else datetime.min.replace(tzinfo=UTC)
        until = _midnight(last) + timedelta(days=1) if last else self.session.clock.now()
        if since >= until:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                "`period_from` must not be later than `period_to` or today.",
                title="The period is not valid",
            )
        return since, until

    # --- step 3 ---------------------------------------------------------------------------------------------------

    @check("Who changed what")
    def who_changed_what(self) -> Result:
        made = changes.changes(self._entries)
        if not made:
            return Result(verdict=Verdict.OK, headline="No changes: every run only checked or had nothing to do.")
        known = [change for change in made if change.known]
        failed = sum(change.verdict not in (Verdict.OK, Verdict.ATTENTION) for change in known)
        unreadable = sum(change.unreadable for change in made)
        without = sum(not change.ticket for change in known)
        try:
            declared, problem = declarations(self.archive), ""
        except RunbookError as error:
            declared, problem = (), error.what
        breaches = tuple(change.row() for change in known if change.breaks(declared))
        sentences = [
            f"{quantity(len(known), 'change')}, {f'{failed:,}' if failed else 'none'} failed."
            if known
            else "No known changes.",
            _unknown(len(made) - len(known) - unreadable, "run was cut off", "runs were cut off"),
            _unknown(unreadable, "record cannot be read", "records cannot be read"),
            f"{quantity(len(breaches), 'change')} without the ticket that the policy requires." if breaches else "",
        ]
        rows = tuple(change.row() for change in made)
        return Result(
            verdict=Verdict.ATTENTION if failed or breaches or problem or len(known) < len(made) else Verdict.OK,
            headline=" ".join(filter(None, sentences)),
            facts={"Without a ticket": f"{without or 'none'} of {quantity(len(known), 'change')}"} if known else {},
            details=((Verdict.UNCHECKED, "Ticket policy", problem),) if problem else (),
            **self._shown(
                (changes.CHANGES_MADE, "Changes, oldest first", rows),
                (changes.WITHOUT_TICKET, "Changes without the ticket that the policy requires", breaches),
            ),
            next=("Find out who approved the changes without a ticket.",) if breaches else (),
        )

    # --- step 4 ---------------------------------------------------------------------------------------------------

    @check("What is missing")
    def what_is_missing(self) -> Result:
        since, until = self._period()
        first = since if self.parameters.period_from else None
        found = completeness(self.archive, now=self.session.clock.now(), since=first, until=until)
        gaps = tuple(
            (iso(gap.start), gap.kind.value, gap.job, gap.account, gap.what, ", ".join(map(_name, gap.bags)))
            for gap in found.gaps
        )
        quiet = tuple(_gaps(sorted({bag.at.date() for bag in self._entries})))
        shown = self._shown(
            (MISSING, "Runs that are missing, failed, unchecked or late", gaps),
            (QUIET_DAYS, "Days without runs", quiet),
        )
        if not found.declarations:
            return Result(
                verdict=Verdict.ATTENTION,
                headline="No expectations declared, so gaps cannot be detected. Days without runs are listed.",
                **shown,
                next=("Declare what the archive should hold: `runbook archive expect FILE`.",),
            )
        expected = "; ".join(map(str, found.declarations[-1].expected)) or "no runs"
        facts = {"Declared": expected, "Periods": f"{found.periods:,} expected, {found.met:,} without gaps"}
        facts |= {"Purged": f"{quantity(found.purged, 'run')}, counted as present"} if found.purged else {}
        return Result(
            verdict=Verdict.ATTENTION if gaps else Verdict.OK,
            headline=_completeness(found),
            facts=facts,
            details=tuple((Verdict.ATTENTION, "Note", note) for note in found.notes[:SHOWN]),
            **shown,
        )

    # --- step 5 ---------------------------------------------------------------------------------------------------

    @check("What is different")
    def what_is_different(self) -> Result:
        both = self._two_inventories()
        if both is None:
            return Result(
                verdict=Verdict.NOTHING_TO_DO,
                headline="Nothing to compare: the period has no two inventories of the same account.",
            )
        comparison = inventory_diff.compare_inventories(*both)
        rows = tuple(difference.row() for difference in comparison.differences)
        return Result(
            verdict=Verdict.OK if comparison.complete else Verdict.ATTENTION,
            headline=comparison.headline,
            facts={
                "Before": str(comparison.before),
                "After": str(comparison.after),
                **({"Unknown": " ".join(comparison.warnings)} if comparison.warnings else {}),
            },
            **self._shown((DIFFERENT, "What changed", rows)),
        )

    def _two_inventories(self) -> tuple[ArchivedBag, ArchivedBag] | None:
        first, last = self.parameters.compare_from, self.parameters.compare_to
        known = [bag for bag in self._entries if inventory_diff.holds_inventory(bag)]
        old = inventory_diff.named(self.archive, first) if first else known[0] if known else None
        new = inventory_diff.named(self.archive, last) if last else None
        if old is None:
            return None
        if new is None:
            new = next((bag for bag in reversed(known) if inventory_diff.alike(old, bag)), None)
        return (old, new) if new is not None and new.place != old.place else None


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)


def _days(first: datetime, last: datetime) -> str:
    begin, end = f"{first:%-d %b %Y}", f"{last:%-d %b %Y}"
    return f"On {begin}" if begin == end else f"From {begin} to {end}"


def _completeness(found: Completeness) -> str:
    short = found.periods - found.met
    if short:
        return f"{short:,} of {quantity(found.periods, 'expected period')} {'has' if short == 1 else 'have'} gaps."
    if found.periods:
        return f"Complete: {quantity(found.periods, 'expected period')}, no gaps."
    return "No expected period is over yet." if found.open else "No runs were expected in this period."


def _unknown(number: int, cause: str, causes: str) -> str:
    """A sentence that says how many changes are unknown, and why; empty for 0."""
    if not number:
        return ""
    return f"{number:,} {cause if number == 1 else causes}; {'its' if number == 1 else 'their'} changes are unknown."


def _name(place: str) -> str:
    return place.rpartition("/")[2]


def _gaps(days: list[date]) -> list[tuple[str, str]]:
    """The first and the last day of each gap between these days."""
    day = timedelta(days=1)
    return [(str(before + day), str(after - day)) for before, after in pairwise(days) if after - before > day]
