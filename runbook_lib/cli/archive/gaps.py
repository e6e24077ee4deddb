"""`runbook archive gaps`: reports the declared runs that are missing."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import click

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import DAY, archive_argument
from runbook_lib.cli.terminal import out
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.visible import visible
from runbook_lib.words import quantity


@click.command(cls=Command)
@archive_argument
@click.option("--from", "since", metavar="DAY", type=DAY, help="First day (UTC). [default: the first expected]")
@click.option("--to", "until", metavar="DAY", type=DAY, help="Last day (UTC). [default: today]")
def command(archive: Path, since: date | None, until: date | None) -> Exit:
    """Report which declared runs are missing.

    Exit 0 if none is missing, else 30 with a line for each.
    """
    from runbook_lib.audit.completeness import completeness, spans
    from runbook_lib.clock import SystemClock

    if since and until and since > until:
        raise RunbookError(Reason.BAD_PARAMETER, "--from is after --to.")
    after = until + timedelta(days=1) if until else None
    found = completeness(archive, now=SystemClock().now(), since=_midnight(since), until=_midnight(after))
    if not found.declarations:
        raise RunbookError(Reason.NOTHING_EXPECTED, f"{archive} holds no expectation.")
    span = f"from {iso(found.since)} to before {iso(found.until)}"
    for declared in found.declarations:
        out(visible(f"Declared {iso(declared.at)} by {declared.by}, in {declared.place}:"))
        for expected in declared.expected:
            out(visible(f"  {expected}"))
    for gap, end in spans(found.gaps):
        whose = f"{gap.job}, {gap.account}" if gap.account else gap.job
        when = iso(gap.start) if gap is end else f"{iso(gap.start)} to {iso(end.start)}"
        line = f"{gap.kind.value.upper()}  {when}  {whose}: {gap.what} {' '.join(gap.bags)}"
        out(visible(line.rstrip()))
    for note in found.notes:
        out(visible(f"Note: {note}"))
    if found.purged:
        out(f"{quantity(found.purged, 'run')} purged or not in this excerpt, counted as present.")
    still = f" {quantity(found.open, 'period')} still open." if found.open else ""
    present = f"expected runs present in {found.met} of {quantity(found.periods, 'period')} starting {span}.{still}"
    if found.gaps:
        out(f"NOT COMPLETE: {present}", alarm=True)
        return Exit.CHECK_FAILED
    if not found.periods and not found.open:
        when = span if found.since < found.until else f"before {iso(found.until)}"
        raise RunbookError(Reason.NOTHING_EXPECTED, f"No runs were expected {when}.")
    out(f"COMPLETE: {present}" if found.periods else f"COMPLETE: no period starting {span} has ended.{still}")
    out(f"This trusts what the bags say. To check that they are unchanged: runbook archive verify {archive}")
    return Exit.DONE


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time.min, UTC) if day else None
