"""Finds gaps: compares an archive with the declared expectations, period by period, in UTC.

It trusts the bags. Whether they are unchanged is checked by `archive.verify`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from runbook_lib.archive.expectation import Declaration, Expected, declarations
from runbook_lib.audit.attendance import AttendedRun, runs
from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.result import Status
from runbook_lib.words import quantity

CLOCK_SLACK = timedelta(minutes=15)
"""Sealing takes time, and the clocks of machines that share an archive may differ a little."""


class DeviationKind(StrEnum):
    """The kinds of gaps, from worst to best."""

    MISSING = "missing"
    FAILED = "failed"
    UNCHECKED = "unchecked"
    LATE = "late"


@dataclass(frozen=True)
class Gap:
    """An expected run that is missing, failed, unchecked or late.

    Args:
        expected: the expectation.
        start: the start of its period.
        account: the account; empty for the whole period.
        what: a sentence.
        bags: the runs of the period, below the archive, oldest first.
    """

    kind: DeviationKind
    expected: Expected
    start: datetime
    account: str
    what: str
    bags: tuple[str, ...] = ()

    @property
    def job(self) -> str:
        return self.expected.job


@dataclass(frozen=True)
class Completeness:
    """The result of comparing an archive with its expectations.

    Args:
        since, until: the periods that were checked began at or after `since` and before `until`.
        declarations: all of the archive, in the order of the chain.
        periods: the number of expected periods that are over or already have their run.
        met: the number of them without a gap.
        open: the number of expected periods that have no successful run yet, and still time for one.
        purged: the number of runs of these periods that were purged or left out of an excerpt. Their content is gone,
            so they count as present for every expected account and environment.
        gaps: oldest first. If it is empty, see `complete`: perhaps nothing was expected.
        notes: for the auditor: clocks that were set, bags that cannot be read.
    """

    since: datetime
    until: datetime
    declarations: tuple[Declaration, ...]
    periods: int
    met: int
    open: int
    purged: int
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether runs were expected in these periods and there are no gaps."""
        return bool(self.periods or self.open) and not self.gaps


def completeness(
    archive: Path, *, now: datetime, since: datetime | None = None, until: datetime | None = None
) -> Completeness:
    """Compare an archive with its declared expectations.

    The declaration in force when a period began applies to it; before the first declaration, the first applies. A run
    belongs to the period in which it started. One successful run is enough: `done`, even with nothing to do, but not a
    dry run.

    Args:
        now: the current time; later periods are not checked.
        since: only periods that began then or later; None: from the first expected one.
        until: only periods that began before; None: `now`.

    Raises:
        RunbookError: UNREADABLE_FILE if the archive is not a folder or cannot be read, or a declaration is damaged.
    """
    try:
        return _completeness(archive, now, since, until)
    except OSError as error:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"{error.filename}: {error.strerror}.",
            remedy="Check the path and its permissions.",
            title="The archive cannot be read",
        ) from None


def spans(gaps: Iterable[Gap]) -> list[tuple[Gap, Gap]]:
    """Join equal gaps of consecutive periods for a reader: the first and the last gap of each span.

    Gaps with runs to look at are not joined.
    """
    found: list[tuple[Gap, Gap]] = []
    last: dict[tuple[DeviationKind, Expected, str, str], int] = {}
    for gap in gaps:
        key = (gap.kind, gap.expected, gap.account, gap.what)
        number = last.get(key)
        if number is not None and not gap.bags and found[number][1].start + gap.expected.period == gap.start:
            found[number] = (found[number][0], gap)
        else:
            last[key] = len(found)
            found.append((gap, gap))
    return found


def _completeness(archive: Path, now: datetime, since: datetime | None, until: datetime | None) -> Completeness:
    declared = declarations(archive)
    until = now if until is None else min(until, now)
    starts = [expected.start for declaration in declared for expected in declaration.expected]
    since = min([*starts, until]) if since is None else since
    todo = [(expected, start) for expected, start in _periods(declared, until) if start >= since]
    last = max((start + expected.period for expected, start in todo), default=since)
    present = runs(archive, frozenset(expected.job for expected, _ in todo), since, last)
    judged = [_judge(expected, start, present, now) for expected, start in todo]
    over = [gaps for gaps in judged if gaps is not None]
    return Completeness(
        since=since,
        until=until,
        declarations=declared,
        periods=len(over),
        met=sum(not gaps for gaps in over),
        open=len(judged) - len(over),
        purged=sum(run.purged for run in present),
        gaps=tuple(sorted((gap for gaps in over for gap in gaps), key=lambda gap: (gap.start, gap.job, gap.account))),
        notes=tuple(_notes(present)),
    )


def _periods(declared: tuple[Declaration, ...], until: datetime) -> Iterator[tuple[Expected, datetime]]:
    """Each expected period and its start."""
    for number, declaration in enumerate(declared):
        replaced = declared[number + 1].at if number + 1 < len(declared) else until
        for expected in declaration.expected:
            start = expected.start
            if number and start < declaration.at:  # it applies to later periods, which keep their hour
                start += -((start - declaration.at) // expected.period) * expected.period
            while start < min(replaced, expected.until or until, until):
                yield expected, start
                start += expected.period


def _judge(expected: Expected, start: datetime, present: tuple[AttendedRun, ...], now: datetime) -> list[Gap] | None:
    """The gaps of a period; None while there is still time for a successful run."""
    first, after = (bisect_left(present, at, key=lambda run: run.started) for at in (start, start + expected.period))
    mine = [run for run in present[first:after] if run.job == expected.job and _concerns(expected, run)]
    gaps = _of_accounts(expected, start, mine) if expected.accounts else _of_runs(expected, start, mine)
    bad = any(gap.kind in (DeviationKind.MISSING, DeviationKind.FAILED) for gap in gaps)
    return None if bad and now < start + expected.grace else gaps


def _concerns(expected: Expected, run: AttendedRun) -> bool:
    if expected.accounts and run.is_batch:
        return True  # its accounts are checked one by one
    matches = run.on(expected.environment)
    # a killed run may not say where it ran: it is present but does not count
    return bool(run.why_not) if matches is None else matches


def _of_runs(expected: Expected, start: datetime, mine: list[AttendedRun]) -> list[Gap]:
    good = [(run, run.unchecked) for run in mine if not run.why_not]
    if good:
        return _of_good(expected, start, "", good)
    if mine:
        return [_failed(expected, start, "", [(run, run.why_not) for run in mine])]
    where = f" on {expected.environment}" if expected.environment else ""
    return [Gap(DeviationKind.MISSING, expected, start, "", f"No run{where}.")]


def _of_accounts(expected: Expected, start: datetime, mine: list[AttendedRun]) -> list[Gap]:
    if all(run.why_not and not run.tells_accounts for run in mine):
        return _of_runs(expected, start, mine)
    gaps = []
    for name in expected.accounts:
        found = [(run, account) for run in mine if (account := run.account(name, expected.environment)) is not None]
        good = [(run, account.unchecked) for run, account in found if not account.why_not]
        if good:
            gaps += _of_good(expected, start, name, good)
        elif found:
            gaps.append(_failed(expected, start, name, [(run, account.why_not) for run, account in found]))
        else:
            places = tuple(run.place for run in mine)
            what = "No run of the period includes this account."
            gaps.append(Gap(DeviationKind.MISSING, expected, start, name, what, places))
    return gaps


def _of_good(expected: Expected, start: datetime, account: str, good: list[tuple[AttendedRun, int]]) -> list[Gap]:
    gaps = []
    run, unchecked = min(good, key=lambda pair: pair[1])
    if unchecked:
        what = f"Done, but {quantity(unchecked, 'row')} not checked."
        gaps.append(Gap(DeviationKind.UNCHECKED, expected, start, account, what, (run.place,)))
    first = good[0][0]
    if first.started > start + expected.grace:
        what = f"Started at {iso(first.started)}, later than {iso(start + expected.grace)}."
        gaps.append(Gap(DeviationKind.LATE, expected, start, account, what, (first.place,)))
    return gaps


def _failed(expected: Expected, start: datetime, account: str, found: list[tuple[AttendedRun, str]]) -> Gap:
    what = f"No successful run: {', '.join(dict.fromkeys(why for _, why in found))}."
    return Gap(DeviationKind.FAILED, expected, start, account, what, tuple(run.place for run, _ in found))


def _notes(present: tuple[AttendedRun, ...]) -> Iterator[str]:
    """Bags that cannot be read, and runs whose times contradict each other or themselves."""
    latest: tuple[datetime, str] | None = None
    for bag in sorted((run.entry for run in present), key=lambda entry: entry.link.sequence if entry.link else 0):
        if bag.run is None and not bag.problem:
            continue  # purged
        if bag.run is None:
            yield f"{bag.place}: {bag.problem}."
            continue
        if bag.status == Status.INTERRUPTED:
            continue  # its end is the time at which it was found
        off = bag.run.finished - bag.run.started - timedelta(seconds=bag.run.duration)
        if abs(off) > CLOCK_SLACK:
            yield f"{bag.place}: the clock was set by {off.total_seconds():+.0f} s during the run."
        if latest is not None and bag.run.finished < latest[0] - CLOCK_SLACK:
            yield (
                f"{bag.place} was sealed after {latest[1]} but says that it ended earlier: a clock was set back or two "
                "clocks differ. The periods of these runs are uncertain."
            )
        if latest is None or bag.run.finished > latest[0]:
            latest = (bag.run.finished, bag.place)
