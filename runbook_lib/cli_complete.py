"""`runbook archive expect` and `gaps`: what should be in the archive, and what of it is not."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.command import ARCHIVE, DIR, argument, command, day, path
from runbook_lib.errors import RunbookError
from runbook_lib.terminal import out
from runbook_lib.visible import visible


@command(
    argument("file", metavar="FILE", type=path, help="YAML; parameters/expected/nightly.yaml is a sample."), ARCHIVE
)
def expect(file: Path, archive: Path) -> None:
    """Declare what the archive should hold: which jobs, how often, for which accounts. It holds from now on."""
    from runbook_lib.archive import chain
    from runbook_lib.archive.expectation import declare
    from runbook_lib.clock import SystemClock

    place, expectation = declare(archive, file, at=SystemClock().now(), environ=os.environ)
    out("Expected from now on:" if expectation.expected else "From now on nothing is expected.")
    names = [bag.name.partition("-")[2] for bag in chain.bags(archive)]
    for one in expectation.expected:
        known = any(re.fullmatch(rf"{one.job}(-[0-9]+)?", name) for name in names)
        out(visible(f"  {one}" + ("" if known else "; no run of that name is here yet")))
    sys.stdout.write(f"{place.folder}\n")


@command(
    DIR,
    argument("--from", dest="since", metavar="DAY", type=day, help="YYYY-MM-DD, UTC; else all of it."),
    argument("--to", dest="until", metavar="DAY", type=day, help="The last day; else today."),
)
def gaps(archive: Path, since: date | None, until: date | None) -> Exit:
    """Exit 0 if everything that was declared is there, else 30 and a line for each thing that is not."""
    from runbook_lib.audit.completeness import completeness, spans
    from runbook_lib.clock import SystemClock, iso

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
        out(f"Purged or not in this excerpt, and counted as having been there: {found.purged} runs.")
    still = f" {found.open} more have time still." if found.open else ""
    if found.gaps:
        line = (
            f"NOT COMPLETE: {found.met} of the {found.periods} periods that began {span} left what was expected.{still}"
        )
        out(line, alarm=True)
        return Exit.CHECK_FAILED
    if not found.periods and not found.open:
        raise RunbookError(Reason.NOTHING_EXPECTED, f"Nothing was expected {span}.")
    out(f"COMPLETE: each of the {found.periods} periods that began {span} left what was expected.{still}")
    out("This takes the bags at their word. Whether they are unchanged is for `runbook archive verify`.")
    return Exit.DONE


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time.min, UTC) if day else None
