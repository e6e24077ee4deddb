"""`runbook archive stamp`: requests missing time stamps."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument
from runbook_lib.cli.terminal import out
from runbook_lib.errors import RunbookError


@click.command(cls=Command)
@archive_argument
def command(archive: Path) -> None:
    """Request every missing time stamp.

    Exit 0 if none is missing afterwards.
    """
    from runbook_lib.archive import bag, timestamps
    from runbook_lib.archive import timestamp_authority as tsa

    with bag.archive_errors(archive):
        if tsa.configured(archive) is None:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"{archive} has no time-stamp authority.",
                remedy="Choose one: runbook archive authority DIR URL --roots FILE",
                title="The archive has no time-stamp authority",
            )
        done = timestamps.stamp_bags(archive)
    out(f"Time stamps received: {done.came}. Still missing: {done.waiting}.")
    if done.problem is not None:
        raise done.problem
