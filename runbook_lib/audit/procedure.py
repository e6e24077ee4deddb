"""What an auditor asks of an archive: is it whole, what ran, who changed what, what is missing, what is different now.

Its own report is the audit report of a period. It only reads: its own run is sealed into the same archive afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from runbook_lib import given
from runbook_lib.archive import reader
from runbook_lib.archive.reader import ArchivedBag
from runbook_lib.archive.verify import verify_archive
from runbook_lib.audit import changes, inventory_diff
from runbook_lib.audit.completeness import completeness
from runbook_lib.clock import iso
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import ArchiveParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import ParameterRow, ParametersRecord, Result, Table, Verdict

SHOWN = 500
"""Rows of a table. A report of more is read by nobody; what is left out is counted."""


class Audit(Procedure[ArchiveParameters]):
    """Notebook 06."""

    slug = "archive"
    notebook = "06_archive"
    model = ArchiveParameters

    _entries: list[ArchivedBag]

    def begin(self, rows: tuple[ParameterRow, ...]) -> ParametersRecord:
        """The first word. An audit works with no DigiCert ONE, whatever the parameters name."""
        return super().begin(rows).model_copy(update={"target": None})

    @cached_property
    def archive(self) -> Path:
        """The archive's folder. Raises RunbookError (UNREADABLE_FILE)."""
        named = self.parameters.archive or self.session.environ.get("DIGICERT_ONE_ARCHIVE") or "archive"
        try:
            folder = given.path(named, self.session.environ).absolute()
        except ValueError as error:
            raise RunbookError(Reason.BAD_PARAMETER, f"archive: {error}.") from None
        if not folder.is_dir():
            raise RunbookError(
                Reason.UNREADABLE_FILE,
                f"There is no archive {folder}.",
                remedy="Give the parameter `archive` or the variable DIGICERT_ONE_ARCHIVE.",
            )
        return folder

    # --- step 1 ---------------------------------------------------------------------------------------------------

    @check("Verify the archive")
    def verify_archive(self) -> Result:
        proof = verify_archive(self.archive, head=self.parameters.known_head or None)
        last = f"{proof.head[0]} {proof.head[1]}" if proof.head else "none"
        facts = {"Archive": str(self.archive), "Bags": f"{proof.bags:,}", "Files": f"{proof.files:,}", "Head": last}
        facts |= {"First signer": proof.signer} if proof.signer else {}
        if proof.findings:
            rows = tuple((one,) for one in proof.findings)
            return Result(
                verdict=Verdict.FAILED,
                headline=f"This archive is not as it was sealed: {_count(len(rows), 'finding')}.",
                facts=facts,
                tables=(_table("findings", "What does not hold", ("finding",), rows),),
                next=(
                    "Compare it with a copy kept elsewhere before you rely on what follows. "
                    "`sh verify.sh` in the archive asks the same without this software.",
                ),
            )
        stamps = proof.stamped
        details = [
            (Verdict.OK, "Every file", "none changed, added, removed or renamed since its bag was sealed"),
            (Verdict.OK, "The chain", "whole from the first bag to the last"),
            (
                (Verdict.OK, "Signatures", f"{proof.signed:,} hold; {proof.covered:,} more bags are covered by them")
                if proof.signer
                else (Verdict.ATTENTION, "Signatures", "none: whoever can write here could have made all of it anew")
            ),
            (
                (Verdict.OK, "Time stamps", f"{len(stamps):,} hold, from {iso(stamps[0])} to {iso(stamps[-1])}")
                if stamps
                else (Verdict.UNCHECKED, "Time stamps", "none: no third party says when anything was sealed")
            ),
            (
                (Verdict.OK, "The end", "the head that was kept elsewhere is in the chain")
                if self.parameters.known_head
                else (
                    Verdict.UNCHECKED,
                    "The end",
                    "without a head kept elsewhere, one that was cut off cannot be seen",
                )
            ),
        ]
        if proof.purged:
            details.append((Verdict.OK, "Purged", f"{proof.purged:,} bags are gone, as entries of the chain declare"))
        if proof.word:
            told = f"nothing binds {proof.word:,} of these bags: what lies before them rests on the tombstone's word"
            details.append((Verdict.ATTENTION, "Older tombstones", told))
        if proof.late:
            details.append((Verdict.ATTENTION, "Late", f"{proof.late:,} signatures by a certificate that had ended"))
        return Result(
            verdict=Verdict.OK if proof.signer and not proof.late and not proof.word else Verdict.ATTENTION,
            headline="Unchanged since it was sealed." if proof.signer else "Whole, and signed by nobody.",
            facts=facts,
            details=tuple(details),
            next=() if proof.signer else ("`runbook archive init` makes a signer; from then on every run is signed.",),
        )

    # --- step 2 ---------------------------------------------------------------------------------------------------

    @check("What ran")
    def what_ran(self) -> Result:
        since, until = self._period()
        found = (one for one in reader.archived_bags(self.archive) if since <= one.at < until)
        self._entries = sorted(found, key=lambda one: (one.at, one.place))
        if not self._entries:
            since_words = f" from {iso(since)} on and" if self.parameters.period_from else ""
            return Result(
                verdict=Verdict.ATTENTION,
                headline=f"Nothing ran{since_words} before {iso(until)}.",
                next=("Choose another period.",),
            )
        by_job: dict[str, list[ArchivedBag]] = defaultdict(list)
        for one in self._entries:
            by_job[one.job].append(one)
        jobs = tuple(
            (job, str(len(runs)), str(sum(one.done for one in runs)), str(sum(not one.done for one in runs)),
             iso(runs[0].at), iso(runs[-1].at))
            for job, runs in sorted(by_job.items())
        )  # fmt: skip
        odd = tuple((iso(one.at), one.job, one.status, one.seen, one.name) for one in self._entries if not one.done)
        tables = [_table("jobs", "Jobs", ("job", "runs", "done", "not done", "first", "last"), jobs)]
        if odd:
            columns = ("started", "job", "status", "what was seen", "run")
            tables.append(_table("not-done", "Runs that were not done", columns, odd))
        return Result(
            verdict=Verdict.ATTENTION if odd else Verdict.OK,
            headline=f"From {self._entries[0].at:%Y-%m-%d} to {self._entries[-1].at:%Y-%m-%d}: "
            f"{_count(len(self._entries), 'run')}, {len(odd):,} of them not done.",
            facts={"Period": f"{iso(max(since, self._entries[0].at))} to {iso(until)}", "Archive": str(self.archive)},
            tables=tuple(tables),
        )

    def _period(self) -> tuple[datetime, datetime]:
        """The first moment, and the first one after it."""
        first, last = self.parameters.period_from, self.parameters.period_to
        since = _midnight(first) if first else datetime.min.replace(tzinfo=UTC)
        until = _midnight(last) + timedelta(days=1) if last else self.session.clock.now()
        if since >= until:
            raise RunbookError(Reason.BAD_PARAMETER, "`period_from` is later than `period_to`, or than now.")
        return since, until

    # --- step 3 ---------------------------------------------------------------------------------------------------

    @check("Who changed what")
    def who_changed_what(self) -> Result:
        made = changes.changes(self._entries)
        if not made:
            return Result(
                verdict=Verdict.OK, headline="Nothing was changed: every run only looked, or had nothing to do."
            )
        failed = sum(one.verdict not in (Verdict.OK, Verdict.ATTENTION) for one in made if one.known)
        doubt = sum(not one.known for one in made)
        told = f"{_count(len(made) - doubt, 'change')}, {failed:,} of them failed"
        rows = tuple(one.row() for one in made)
        return Result(
            verdict=Verdict.ATTENTION if failed or doubt else Verdict.OK,
            headline=f"{told}; and {_count(doubt, 'run')} of which it is not known what they changed."
            if doubt
            else f"{told}.",
            tables=(_table("changes-made", "Changes, oldest first", changes.COLUMNS, rows),),
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
        quiet = tuple(_gaps(sorted({one.at.date() for one in self._entries})))
        tables = []
        if gaps:
            columns = ("period from", "state", "job", "account", "what", "runs")
            tables.append(_table("missing", "Expected, and not there or not as it should be", columns, gaps))
        if quiet:
            tables.append(_table("quiet-days", "Days on which nothing ran", ("from", "to"), quiet))
        expected = "; ".join(str(one) for one in found.declarations[-1].expected) if found.declarations else "nothing"
        facts = {"Declared": expected, "Periods": f"{found.periods:,}, of which {found.met:,} left what was expected"}
        facts |= {"Purged": f"{found.purged:,} runs, counted as having been there"} if found.purged else {}
        if not found.declarations:
            return Result(
                verdict=Verdict.ATTENTION,
                headline="Nothing was declared, so nothing can be called missing; days without any run are told.",
                tables=tuple(tables),
                next=("Declare what the archive should hold: `runbook archive expect FILE`.",),
            )
        return Result(
            verdict=Verdict.ATTENTION if gaps else Verdict.OK,
            headline=f"Of {found.periods:,} expected periods {found.periods - found.met:,} are not as they should be."
            if gaps
            else f"Complete: each of {found.periods:,} expected periods left its run.",
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
                headline="There are no two inventories of the same account in the period to compare.",
            )
        comparison = inventory_diff.compare_inventories(*both)
        table = comparison.table()
        return Result(
            verdict=Verdict.OK if comparison.complete else Verdict.ATTENTION,
            headline=comparison.headline,
            facts={
                "Before": str(comparison.before),
                "After": str(comparison.after),
                **({"Not known": " ".join(comparison.warnings)} if comparison.warnings else {}),
            },
            tables=(_table("different", "What changed", table.columns, table.rows),) if table.rows else (),
        )

    def _two_inventories(self) -> tuple[ArchivedBag, ArchivedBag] | None:
        first, last = self.parameters.compare_from, self.parameters.compare_to
        known = [one for one in self._entries if inventory_diff.holds_inventory(one)]
        old = inventory_diff.named(self.archive, first) if first else known[0] if known else None
        new = inventory_diff.named(self.archive, last) if last else None
        if old is None:
            return None
        if new is None:
            new = next((one for one in reversed(known) if inventory_diff.alike(old, one)), None)
        return (old, new) if new is not None and new.place != old.place else None


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _name(place: str) -> str:
    return place.rpartition("/")[2]


def _gaps(days: list[date]) -> list[tuple[str, str]]:
    """The first and the last day of each gap between these days."""
    day = timedelta(days=1)
    return [(str(one + day), str(other - day)) for one, other in pairwise(days) if other - one > day]


def _table(name: str, title: str, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Table:
    if len(rows) > SHOWN:
        title = f"{title}: the first {SHOWN} of {len(rows):,}"
    return Table(name=name, title=title, columns=columns, rows=rows[:SHOWN])
