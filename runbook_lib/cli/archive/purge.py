"""`runbook archive purge`: deletes old runs for good."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

import click

from runbook_lib.catalogue import Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import DAY, archive_argument, why_option
from runbook_lib.cli.terminal import out
from runbook_lib.errors import RunbookError
from runbook_lib.visible import visible
from runbook_lib.words import quantity


@click.command(cls=Command)
@archive_argument
@click.option(
    "--before", metavar="DAY", type=DAY, required=True, help="Delete runs that started before this day (UTC)."
)
@why_option
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--confirm", metavar="NAME", default="", help="Confirm with the name of the archive's folder.")
def command(archive: Path, before: date, why: str, dry_run: bool, confirm: str) -> None:
    """Delete old runs for good and leave a signed tombstone.

    With the tombstone the chain still verifies. Runs under a hold stay.
    """
    from runbook_lib.archive import bag, retention
    from runbook_lib.clock import SystemClock

    now = SystemClock().now()
    with bag.archive_errors(archive):
        plan = retention.plan(archive, before, at=now)
    for gone in plan.goes:
        out(f"  delete {gone.link.bag} ({gone.link.status})")
    for held, name in plan.held:
        out(visible(f"  keep   {held}: under the hold {name!r}"))
    for place in plan.waits:
        out(f"  keep   {place}: a later bag of the same batch stays")
    out(f"Would delete {quantity(len(plan.goes), 'run')} from before {plan.before}; under holds: {len(plan.held)}.")
    if dry_run:
        return
    folder = archive.resolve().name
    if confirm != folder:
        raise RunbookError(
            Reason.CONFIRMATION_MISSING,
            f"--confirm {confirm!r} is not the name of the archive's folder." if confirm else "--confirm is missing.",
            remedy=f"Read the plan above, then add --confirm {folder!r}.",
            title="The purge is not confirmed",
        )
    tombstone = retention.purge_runs(archive, plan, why=why, at=now, environ=os.environ)
    out(f"Deleted. Keep the new head: runbook archive head {archive}")
    out("The tombstone is:")
    sys.stdout.write(f"{tombstone.folder}\n")
