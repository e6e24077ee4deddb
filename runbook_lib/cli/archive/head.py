"""`runbook archive head`: prints the number and digest of the last bag."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from runbook_lib.catalogue import Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument
from runbook_lib.errors import RunbookError


@click.command(cls=Command)
@archive_argument
def command(archive: Path) -> None:
    """Print the number and digest of the last bag.

    Keep them in a ticket or an e-mail: later, 'runbook archive verify --head DIGEST' detects a cut-off end.
    """
    from runbook_lib.archive import bag, chain

    with bag.archive_errors(archive):
        last = chain.find_head(archive)
    if last == chain.GENESIS:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{archive} contains no bag.", title="The archive is empty")
    sys.stdout.write(f"{last.sequence} {last.digest}\n")
