"""`runbook archive list`: lists the bags of an archive."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import POSITIVE, archive_argument
from runbook_lib.cli.terminal import out
from runbook_lib.clock import iso
from runbook_lib.visible import visible


@click.command(cls=Command)
@archive_argument
@click.option("--job", metavar="NAME", help="Only the bags of this job.")
@click.option("--last", metavar="N", type=POSITIVE, default=20, show_default=True, help="How many bags.")
def command(archive: Path, job: str | None, last: int) -> None:
    """List the last bags, the newest at the end.

    Each line shows the start (UTC), the status, how many certificates need action, and the path.
    """
    from runbook_lib.archive import reader
    from runbook_lib.archive.bag import archive_errors

    with archive_errors(archive):
        newest = list(islice((entry for entry in reader.archived_bags(archive) if job in (None, entry.job)), last))
    for entry in reversed(newest):
        number = entry.run.needs_action if entry.run else 0
        needs = f"{number} {'needs' if number == 1 else 'need'} action" if number else ""
        out(visible(f"{iso(entry.at)}  {entry.status:<12} {needs:<16} {entry.place}"))
