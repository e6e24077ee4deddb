"""`runbook archive hold`: protects runs from purges."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import DAY, archive_argument, why_option


@click.command(cls=Command)
@archive_argument
@click.argument("name")
@why_option
@click.option("--from", "since", metavar="DAY", type=DAY, help="First day (UTC). [default: the first of the archive]")
@click.option("--to", "until", metavar="DAY", type=DAY, help="Last day (UTC). [default: no end]")
def command(archive: Path, name: str, why: str, since: date | None, until: date | None) -> None:
    """Protect the runs of a period from every purge.

    The hold becomes an archive entry and lasts until NAME is released.
    """
    from runbook_lib.archive import retention
    from runbook_lib.clock import SystemClock

    what = retention.Hold(name, since, until, why)
    place = retention.hold_runs(archive, what, at=SystemClock().now(), environ=os.environ)
    sys.stdout.write(f"{place.folder}\n")
