"""`runbook archive export`: the runs of a period for somebody else."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import DAY, FILE, archive_argument
from runbook_lib.cli.terminal import out


@click.command(cls=Command)
@archive_argument
@click.option("--from", "since", metavar="DAY", type=DAY, required=True, help="First day (UTC).")
@click.option("--to", "until", metavar="DAY", type=DAY, required=True, help="Last day (UTC), itself included.")
@click.option("--into", metavar="FOLDER|FILE.zip", type=FILE, required=True, help="What to make.")
def command(archive: Path, since: date, until: date, into: Path) -> None:
    """Write the runs of a period as an archive of its own.

    Whoever gets it runs `sh verify.sh` in it.
    """
    from runbook_lib.archive import excerpt
    from runbook_lib.clock import SystemClock

    made, bags = excerpt.export_excerpt(
        archive, into, since=since, until=until, at=SystemClock().now(), environ=os.environ
    )
    out(f"{bags} bags, and the entry that says what is elsewhere. Whoever gets it runs: sh verify.sh")
    sys.stdout.write(f"{made}\n")
