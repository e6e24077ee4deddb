"""`runbook archive`: verifies, reads and manages the archive."""

from __future__ import annotations

import click

from runbook_lib.cli.commands import Commands


@click.command(
    cls=Commands,
    package="runbook_lib.cli.archive",
    commands=(
        *("verify", "list", "show", "head", "index", "diff", "expect", "gaps"),
        *("init", "authority", "stamp", "restamp", "hold", "release", "purge", "export"),
    ),
)
def command() -> None:
    """Verify, read and manage the archive."""
