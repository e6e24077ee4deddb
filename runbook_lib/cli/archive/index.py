"""`runbook archive index`: rebuilds the page of all runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument


@click.command(cls=Command)
@archive_argument
def command(archive: Path) -> None:
    """Rebuild index.html from the bags.

    Prints its path.
    """
    from runbook_lib.archive.bag import archive_errors
    from runbook_lib.archive.index import write_index

    with archive_errors(archive):
        sys.stdout.write(f"{write_index(archive)}\n")
