"""`runbook archive release`: ends a hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument, why_option


@click.command(cls=Command)
@archive_argument
@click.argument("name")
@why_option
def command(archive: Path, name: str, why: str) -> None:
    """End a hold.

    The release becomes an archive entry.
    """
    from runbook_lib.archive import retention
    from runbook_lib.clock import SystemClock

    place = retention.release_hold(archive, name, why=why, at=SystemClock().now(), environ=os.environ)
    sys.stdout.write(f"{place.folder}\n")
