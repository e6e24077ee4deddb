"""`runbook notices`: checks and tries the notices file, and makes it an archive's policy."""

from __future__ import annotations

import click

from runbook_lib.cli.commands import Commands


@click.command(cls=Commands, package="runbook_lib.cli.notices", commands=("check", "test", "use"))
def command() -> None:
    """Check, test or set who gets messages."""
