"""What is missing from an archive: held against what was declared, period by period, in UTC.

Whether the archive is unchanged is another question: `archive.verify`. Here its bags are taken at their word.
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

CLOCK_SLACK = timedelta(minutes=15)
"""Sealing takes time, and machines that share an archive may differ a little."""


class DeviationKind(StrEnum):
    """What is not as expected, from worst to best."""

    MISSING = "missing"
    FAILED = "failed"
    UNCHECKED = "unchecked"
    LATE = "late"


@dataclass(frozen=True)
class Gap:
    """Something that was expected and is not there, or not as it should be.

    Args:
        expected: the expectation that it is held against.
        start: when its period began.
        account: the account; empty where the whole period is meant.
        what: a sentence.
        bags: the runs that are there, below the archive, oldest first; none where nothing is.
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
    """An archive held against what was declared in it.

    Args:
        since, until: which periods: those that began from the first moment on and before the second.
        declarations: all of the archive, in the order of the chain.
        periods: how many were expected and are over, or have their run already.
        met: how many of them leave nothing to say.
        open: how many have no good run yet and time for one.
        purged: how many runs of these periods are left as a line in a tombstone, or left out of an excerpt. They count
            as having been there, of every account and on every environment that was expected: what they held is gone.
        gaps: oldest first. Nothing is missing if this is empty, and something was expected: see `complete`.
        notes: what an auditor should know of the times: clocks that were set, bags that cannot be read.
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
        """Whether something was expected of these periods, and nothing of it is missing or not as it should be."""
        return bool(self.periods or self.open) and not self.gaps


def completeness(
    archive: Path, *, now: datetime, since: datetime | None = None, until: datetime | None = None
) -> Completeness:
    """Hold an archive against the expectations declared in it.

    Each period is judged by the declaration that held when it began; those before the first, by the first. A run
    belongs to the period in which it started, and one good run is enough, however many there were: `done`, also with
    nothing to do, and not merely planned.

    Args:
        now: until when runs can be there.
        since: only periods that began then or later; None: from the first that was expected.
        until: only periods that began before; None: `now`.

    Raises:
        RunbookError: UNREADABLE_FILE where the archive is no folder, cannot be read, or a declaration was damaged.
    """
    try:
        return _completeness(archive, now, since, until)
    except OSError as error:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{error.filename}: {error.strerror}.") from None


def spans(gaps: Iterable[Gap]) -> list[tuple[Gap, Gap]]:
    """Gaps for a reader: the first and the last of each row of periods that lack the same without a break.

    Those with runs to look at stay by themselves.
    """
    found: list[tuple[Gap, Gap]] = []
    last: dict[tuple[DeviationKind, Expected, str, str], int] = {}
    for gap in gaps:
        alike = (gap.kind, gap.expected, gap.account, gap.what)
        number = last.get(alike)
        if number is not None and not gap.bags and found[number][1].start + gap.expected.period == gap.start:
            found[number] = (found[number][0], gap)
        else:
            last[alike] = len(found)
            found.append((gap, gap))
    return found


def _completeness(archive: Path, now: datetime, since: datetime | None, until: datetime | None) -> Completeness:
    declared = declarations(archive)
    until = now if until is None else min(until, now)
    starts = [one.start for each in declared for one in each.expected]
    since = min([*starts, until]) if since is None else since
    todo = [(expected, start) for expected, start in _periods(declared, until) if start >= since]
    last = max((start + expected.period for expected, start in todo), default=since)
    there = runs(archive, frozenset(expected.job for expected, _ in todo), since, last)
    judged = [_judge(expected, start, there, now) for expected, start in todo]
    over = [gaps for gaps in judged if gaps is not None]
    return Completeness(
        since=since,
        until=until,
        declarations=declared,
        periods=len(over),
        met=sum(not gaps for gaps in over),
        open=len(judged) - len(over),
        purged=sum(one.purged for one in there),
        gaps=tuple(sorted((gap for gaps in over for gap in gaps), key=lambda one: (one.start, one.job, one.account))),
        notes=tuple(_notes(there)),
    )


def _periods(declared: tuple[Declaration, ...], until: datetime) -> Iterator[tuple[Expected, datetime]]:
    """Each period that was expected, and when it began."""
    for number, each in enumerate(declared):
        followed = declared[number + 1].at if number + 1 < len(declared) else until
        for expected in each.expected:
            start = expected.start
            if number and start < each.at:  # it holds for what begins after it; its periods keep their hour
                start += -((start - each.at) // expected.period) * expected.period
            while start < min(followed, expected.until or until, until):
                yield expected, start
                start += expected.period


def _judge(expected: Expected, start: datetime, there: tuple[AttendedRun, ...], now: datetime) -> list[Gap] | None:
    """What is wrong with a period; None while there is still time for a good run."""
    first, after = (bisect_left(there, at, key=lambda one: one.started) for at in (start, start + expected.period))
    mine = [one for one in there[first:after] if one.job == expected.job and _concerns(expected, one)]
    gaps = _of_accounts(expected, start, mine) if expected.accounts else _of_runs(expected, start, mine)
    bad = any(gap.kind in (DeviationKind.MISSING, DeviationKind.FAILED) for gap in gaps)
    return None if bad and now < start + expected.grace else gaps


def _concerns(expected: Expected, run: AttendedRun) -> bool:
    if expected.accounts and run.is_batch:
        return True  # each of its accounts is asked
    there = run.on(expected.environment)
    # a run that was killed may not tell where it was: it is there, and does not count
    return bool(run.why_not) if there is None else there


def _of_runs(expected: Expected, start: datetime, mine: list[AttendedRun]) -> list[Gap]:
    good = [(one, one.unchecked) for one in mine if not one.why_not]
    if good:
        return _of_good(expected, start, "", good)
    if mine:
        return [_failed(expected, start, "", [(one, one.why_not) for one in mine])]
    where = f" on {expected.environment}" if expected.environment else " at all"
    return [Gap(DeviationKind.MISSING, expected, start, "", f"There is no run{where}.")]


def _of_accounts(expected: Expected, start: datetime, mine: list[AttendedRun]) -> list[Gap]:
    if all(one.why_not and not one.tells_accounts for one in mine):
        return _of_runs(expected, start, mine)
    gaps = []
    for name in expected.accounts:
        found = [(one, account) for one in mine if (account := one.account(name, expected.environment)) is not None]
        good = [(one, account.unchecked) for one, account in found if not account.why_not]
        if good:
            gaps += _of_good(expected, start, name, good)
        elif found:
            gaps.append(_failed(expected, start, name, [(one, account.why_not) for one, account in found]))
        else:
            places = tuple(one.place for one in mine)
            gaps.append(
                Gap(DeviationKind.MISSING, expected, start, name, "It is in none of the runs that are there.", places)
            )
    return gaps


def _of_good(expected: Expected, start: datetime, account: str, good: list[tuple[AttendedRun, int]]) -> list[Gap]:
    gaps = []
    run, unchecked = min(good, key=lambda one: one[1])
    if unchecked:
        what = f"Done, and {unchecked} rows were not checked."
        gaps.append(Gap(DeviationKind.UNCHECKED, expected, start, account, what, (run.place,)))
    first = good[0][0]
    if first.started > start + expected.grace:
        what = f"Only started at {iso(first.started)}, after {iso(start + expected.grace)}."
        gaps.append(Gap(DeviationKind.LATE, expected, start, account, what, (first.place,)))
    return gaps


def _failed(expected: Expected, start: datetime, account: str, found: list[tuple[AttendedRun, str]]) -> Gap:
    what = f"There is no good run: {', '.join(dict.fromkeys(why for _, why in found))}."
    return Gap(DeviationKind.FAILED, expected, start, account, what, tuple(one.place for one, _ in found))


def _notes(there: tuple[AttendedRun, ...]) -> Iterator[str]:
    """Where the times of runs contradict each other or themselves."""
    latest: tuple[datetime, str] | None = None
    for one in sorted((ran.entry for ran in there), key=lambda entry: entry.link.sequence if entry.link else 0):
        if one.run is None and not one.problem:
            continue  # purged
        if one.run is None:
            yield f"{one.place}: {one.problem}."
            continue
        if one.status == Status.INTERRUPTED:
            continue  # when it ended was found out later
        off = one.run.finished - one.run.started - timedelta(seconds=one.run.duration)
        if abs(off) > CLOCK_SLACK:
            yield f"{one.place}: the clock was set by {off.total_seconds():+.0f} s while it ran."
        if latest is not None and one.run.finished < latest[0] - CLOCK_SLACK:
            yield (
                f"{one.place} was sealed after {latest[1]} and says that it ended before it: a clock was set back, or "
                "two machines differ. To which period these runs belong is not certain."
            )
        if latest is None or one.run.finished > latest[0]:
            latest = (one.run.finished, one.place)
