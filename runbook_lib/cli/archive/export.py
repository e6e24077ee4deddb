"""`runbook archive export`: exports the runs of a period for somebody else."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import DAY, FILE, archive_argument
from runbook_lib.cli.terminal import out
from runbook_lib.words import quantity


@click.command(cls=Command)
@archive_argument
@click.option("--from", "since", metavar="DAY", type=DAY, required=True, help="First day (UTC).")
@click.option("--to", "until", metavar="DAY", type=DAY, required=True, help="Last day (UTC), inclusive.")
@click.option("--into", metavar="FOLDER|FILE.zip", type=FILE, required=True, help="The folder or ZIP file to create.")
def command(archive: Path, since: date, until: date, into: Path) -> None:
    """Export the runs of a period as a separate archive.

    The recipient verifies it with: sh verify.sh
    """
    from runbook_lib.archive import excerpt
    from runbook_lib.clock import SystemClock

    made, bags = excerpt.export_excerpt(
        archive, into, since=since, until=until, at=SystemClock().now(), environ=os.environ
    )
    out(
        f"Exported {quantity(bags, 'bag')}; an entry lists what was left out. The recipient verifies with: sh verify.sh"
    )
    sys.stdout.write(f"{made}\n")
