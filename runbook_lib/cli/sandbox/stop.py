"""`runbook sandbox stop`: stops a sandbox."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.sandbox import state_option


@click.command(cls=Command)
@state_option
def command(state: Path) -> None:
    """Stop the sandbox; its state is kept."""
    from runbook_lib.sandbox import control

    control.stop(state)
