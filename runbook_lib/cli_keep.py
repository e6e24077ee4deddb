"""`runbook archive hold`, `release`, `purge`, `export`: what is kept, for how long, and for whom."""

from __future__ import annotations

import os
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.catalogue import Reason
from runbook_lib.cli_archive import Folder
from runbook_lib.errors import RunbookError
from runbook_lib.terminal import out, visible

keep_app = typer.Typer()

Why = Annotated[str, typer.Option("--why", help="In words, for whoever reads it in years.")]


@keep_app.command("hold")
def hold(
    archive: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="By which the hold is released.")],
    why: Why,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC); all before if not given.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); all after if not given.")
    ] = None,
) -> None:
    """Keep the runs of a period from every purge, until the hold is released. An entry of the chain."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.reports import retention

    what = retention.Hold(name, since.date() if since else None, until.date() if until else None, why)
    place = retention.hold(archive, what, at=SystemClock().now(), environ=os.environ)
    sys.stdout.write(f"{place.folder}\n")


@keep_app.command("release")
def release(
    archive: Folder, name: Annotated[str, typer.Argument(metavar="NAME", help="The hold's.")], why: Why
) -> None:
    """End a hold. An entry of the chain."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.reports import retention

    place = retention.release(archive, name, why=why, at=SystemClock().now(), environ=os.environ)
    sys.stdout.write(f"{place.folder}\n")


@keep_app.command("purge")
def purge(
    archive: Folder,
    before: Annotated[
        datetime, typer.Option("--before", formats=["%Y-%m-%d"], help="Runs that started before this day (UTC) go.")
    ],
    why: Why,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    confirm: Annotated[str, typer.Option(metavar="NAME", help="The name of the archive's folder.")] = "",
) -> None:
    """Remove old runs for good, and leave a signed tombstone by which the chain still holds. What is held stays."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.reports import bag, retention

    now = SystemClock().now()
    with bag.archive_errors(archive):
        plan = retention.plan(archive, before.date(), at=now)
    for one in plan.goes:
        out().print(f"  goes  {one.link.bag} ({one.link.status})")
    for held, name in plan.held:
        out().print(visible(f"  stays {held}: held by {name!r}"))
    out().print(f"{len(plan.goes)} runs from before {plan.before} would go for good; holds keep {len(plan.held)}.")
    if dry_run:
        return
    folder = archive.resolve().name
    if confirm != folder:
        raise RunbookError(
            Reason.CONFIRMATION_MISSING,
            f"--confirm {confirm!r} is not the name of the archive's folder." if confirm else "Nobody confirmed it.",
            remedy=f"Look at the plan above, then add --confirm {folder!r}.",
        )
    place = retention.purge(archive, plan, why=why, at=now, environ=os.environ)
    out().print("They are gone. This is their tombstone; keep the new head: runbook archive head")
    sys.stdout.write(f"{place.folder}\n")


@keep_app.command("export")
def export(
    archive: Folder,
    since: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).")],
    until: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC), itself included.")],
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER|FILE.zip", help="What is to be made.")],
) -> None:
    """Write the runs of a period into a folder or zip file that verifies by itself: `sh verify.sh` in it."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.reports import excerpt

    days: tuple[date, date] = (since.date(), until.date())
    made, bags = excerpt.export(archive, into, since=days[0], until=days[1], at=SystemClock().now(), environ=os.environ)
    out().print(f"{bags} bags, and the entry that says what is elsewhere. Whoever gets it runs: sh verify.sh")
    sys.stdout.write(f"{made}\n")
