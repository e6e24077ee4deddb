"""`runbook sandbox`: runs a local DigiCert ONE."""

from __future__ import annotations

import click

from runbook_lib.cli.commands import Commands
from runbook_lib.cli.options import FILE

state_option = click.option(
    "--state", metavar="DIR", type=FILE, required=True, help="The sandbox's folder, which holds its whole state."
)


@click.command(cls=Commands, package="runbook_lib.cli.sandbox", commands=("start", "stop"))
def command() -> None:
    """Run a local DigiCert ONE with real TLS and its own CA."""
