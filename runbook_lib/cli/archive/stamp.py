"""`runbook archive stamp`: requests missing time stamps."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument
from runbook_lib.cli.terminal import out


@click.command(cls=Command)
@archive_argument
def command(archive: Path) -> None:
    """Request every missing time stamp.

    Exit 0 if none is missing afterwards.
    """
    from runbook_lib.archive import bag, timestamps
    from runbook_lib.archive import timestamp_authority as tsa

    with bag.archive_errors(archive):
        tsa.required(archive)
        done = timestamps.stamp_bags(archive)
    out(f"Time stamps received: {done.came}. Still missing: {done.waiting}.")
    if done.problem is not None:
        raise done.problem
