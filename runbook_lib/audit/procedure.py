"""Notebook 06: is the archive unchanged, what ran, who changed what, what is missing, what is different now.

Its report is the audit report of a period. It only reads; its own run is sealed into the same archive afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from runbook_lib import given
from runbook_lib.archive import reader
from runbook_lib.archive.expectation import declarations
from runbook_lib.archive.reader import ArchivedBag
from runbook_lib.archive.verify import verify_archive
from runbook_lib.audit import changes, inventory_diff
from runbook_lib.audit.completeness import Completeness, completeness
from runbook_lib.clock import iso
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import ArchiveParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import ParameterRow, ParametersRecord, Result, Table, Verdict
from runbook_lib.words import quantity

SHOWN = 500
"""Most rows of a table. Nobody reads a longer one; the title says how many there are."""


class Audit(Procedure[ArchiveParameters]):
    """Notebook 06."""

    slug = "archive"
    notebook = "06_archive"
    model = ArchiveParameters

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
                tables=(_table("findings", "Findings", ("finding",), rows),),
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
        tables = [_table("jobs", "Jobs", ("job", "runs", "done", "not done", "first", "last"), jobs)]
        if odd:
            columns = ("started", "job", "status", "what was seen", "run")
            tables.append(_table("not-done", "Runs that were not done", columns, odd))
        return Result(
            verdict=Verdict.ATTENTION if odd else Verdict.OK,
            headline=f"{_days(self._entries[0].at, self._entries[-1].at)}: {quantity(len(self._entries), 'run')}, "
            f"{f'{len(odd):,} not done' if odd else 'all done'}.",
            facts={"Period": f"{iso(max(since, self._entries[0].at))} to {iso(until)}", "Archive": str(self.archive)},
            tables=tuple(tables),
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
        tables = [_table("changes-made", "Changes, oldest first", changes.COLUMNS, rows)]
        if breaches:
            title = "Changes without the ticket that the policy requires"
            tables.append(_table("changes-without-ticket", title, changes.COLUMNS, breaches))
        return Result(
            verdict=Verdict.ATTENTION if failed or breaches or problem or len(known) < len(made) else Verdict.OK,
            headline=" ".join(filter(None, sentences)),
            facts={"Without a ticket": f"{without or 'none'} of {quantity(len(known), 'change')}"} if known else {},
            details=((Verdict.UNCHECKED, "Ticket policy", problem),) if problem else (),
            tables=tuple(tables),
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
        tables = []
        if gaps:
            columns = ("period from", "state", "job", "account", "what", "runs")
            tables.append(_table("missing", "Runs that are missing, failed, unchecked or late", columns, gaps))
        if quiet:
            tables.append(_table("quiet-days", "Days without runs", ("from", "to"), quiet))
        if not found.declarations:
            return Result(
                verdict=Verdict.ATTENTION,
                headline="No expectations declared, so gaps cannot be detected. Days without runs are listed.",
                tables=tuple(tables),
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
            tables=tuple(tables),
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
        table = comparison.table()
        return Result(
            verdict=Verdict.OK if comparison.complete else Verdict.ATTENTION,
            headline=comparison.headline,
            facts={
                "Before": str(comparison.before),
                "After": str(comparison.after),
                **({"Unknown": " ".join(comparison.warnings)} if comparison.warnings else {}),
            },
            tables=(_table("different", "What changed", table.columns, table.rows),) if table.rows else (),
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


def _table(name: str, title: str, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Table:
    if len(rows) > SHOWN:
        title = f"{title}: the first {SHOWN} of {len(rows):,}"
    return Table(name=name, title=title, columns=columns, rows=rows[:SHOWN])
