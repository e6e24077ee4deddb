"""`runbook archive hold`, `release`, `purge`, `export`: what is kept, for how long, and for whom."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

from runbook_lib.catalogue import Reason
from runbook_lib.command import DIR, argument, command, day, path
from runbook_lib.errors import RunbookError
from runbook_lib.terminal import out
from runbook_lib.visible import visible

WHY = argument("--why", metavar="TEXT", required=True, help="In words, for whoever reads it in years.")


@command(
    DIR,
    argument("name", metavar="NAME", help="By which the hold is released."),
    WHY,
    argument("--from", dest="since", metavar="DAY", type=day, help="First day (UTC); all before if not given."),
    argument("--to", dest="until", metavar="DAY", type=day, help="Last day (UTC); all after if not given."),
)
def hold(archive: Path, name: str, why: str, since: date | None, until: date | None) -> None:
    """Keep the runs of a period from every purge, until the hold is released. An entry of the chain."""
    from runbook_lib.archive import retention
    from runbook_lib.clock import SystemClock

    what = retention.Hold(name, since, until, why)
    place = retention.hold(archive, what, at=SystemClock().now(), environ=os.environ)
    sys.stdout.write(f"{place.folder}\n")


@command(DIR, argument("name", metavar="NAME", help="The hold's."), WHY)
def release(archive: Path, name: str, why: str) -> None:
    """End a hold. An entry of the chain."""
    from runbook_lib.archive import retention
    from runbook_lib.clock import SystemClock

    place = retention.release(archive, name, why=why, at=SystemClock().now(), environ=os.environ)
    sys.stdout.write(f"{place.folder}\n")


@command(
    DIR,
    argument("--before", metavar="DAY", type=day, required=True, help="Runs that started before this day (UTC) go."),
    WHY,
    argument("--dry-run", action="store_true", help="Print the plan and change nothing."),
    argument("--confirm", metavar="NAME", default="", help="The name of the archive's folder."),
)
def purge(archive: Path, before: date, why: str, dry_run: bool, confirm: str) -> None:
    """Remove old runs for good, and leave a signed tombstone by which the chain still holds. What is held stays."""
    from runbook_lib.archive import bag, retention
    from runbook_lib.clock import SystemClock

    now = SystemClock().now()
    with bag.archive_errors(archive):
        plan = retention.plan(archive, before, at=now)
    for one in plan.goes:
        out(f"  goes  {one.link.bag} ({one.link.status})")
    for held, name in plan.held:
        out(visible(f"  stays {held}: held by {name!r}"))
    for place in plan.waits:
        out(f"  stays {place}: a later bag of the same batch stays")
    out(f"{len(plan.goes)} runs from before {plan.before} would go for good; holds keep {len(plan.held)}.")
    if dry_run:
        return
    folder = archive.resolve().name
    if confirm != folder:
        raise RunbookError(
            Reason.CONFIRMATION_MISSING,
            f"--confirm {confirm!r} is not the name of the archive's folder." if confirm else "Nobody confirmed it.",
            remedy=f"Look at the plan above, then add --confirm {folder!r}.",
        )
    tombstone = retention.purge(archive, plan, why=why, at=now, environ=os.environ)
    out("They are gone. This is their tombstone; keep the new head: runbook archive head")
    sys.stdout.write(f"{tombstone.folder}\n")


@command(
    DIR,
    argument("--from", dest="since", metavar="DAY", type=day, required=True, help="First day (UTC)."),
    argument("--to", dest="until", metavar="DAY", type=day, required=True, help="Last day (UTC), itself included."),
    argument("--into", metavar="FOLDER|FILE.zip", type=path, required=True, help="What is to be made."),
)
def export(archive: Path, since: date, until: date, into: Path) -> None:
    """Write the runs of a period into a folder or zip file that verifies by itself: `sh verify.sh` in it."""
    from runbook_lib.archive import excerpt
    from runbook_lib.clock import SystemClock

    made, bags = excerpt.export(archive, into, since=since, until=until, at=SystemClock().now(), environ=os.environ)
    out(f"{bags} bags, and the entry that says what is elsewhere. Whoever gets it runs: sh verify.sh")
    sys.stdout.write(f"{made}\n")
