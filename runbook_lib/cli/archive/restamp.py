"""`runbook archive restamp`: renews the time stamps of an archive."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument
from runbook_lib.cli.terminal import out


@click.command(cls=Command)
@archive_argument
def command(archive: Path) -> None:
    """Renew every time stamp before its authority's certificate ends.

    Verifies the archive, then puts a new time stamp over its last bag and so over all before it. It is by the authority
    chosen now and becomes an archive entry.
    """
    from runbook_lib.archive import bag, entries, retention
    from runbook_lib.archive import timestamp_authority as tsa
    from runbook_lib.clock import SystemClock

    with bag.archive_errors(archive):
        source = tsa.required(archive)
        retention.must_be_whole(archive)
        place = entries.restamp(archive, at=SystemClock().now(), environ=os.environ)
    out(f"Renewed by {source.url}. Keep the new head: runbook archive head {archive}")
    sys.stdout.write(f"{place.folder}\n")
