"""`runbook notices test`: sends a test message to every recipient."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE
from runbook_lib.cli.terminal import out, show_error
from runbook_lib.errors import RunbookError
from runbook_lib.visible import visible


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--to", "only", metavar="NAME", default="", help="Only this recipient.")
def command(file: Path, only: str) -> Exit:
    """Send a test message to every recipient of a notices file.

    Exit 0 if all were accepted, else 30.
    """
    from runbook_lib.clock import SystemClock
    from runbook_lib.notices.messages import trial
    from runbook_lib.notices.notices_file import read_notices
    from runbook_lib.notices.sender import Way

    notices, now = read_notices(file), SystemClock().now()
    if only and only not in notices.recipients:
        raise click.BadParameter(f"{file} has no recipient {only!r}", param_hint="--to")
    code = Exit.DONE
    for name, ways in notices.recipients.items():
        for reference in ways if only in ("", name) else ():
            try:
                problem = Way(reference).send(trial(reference, name, now))
            except RunbookError as error:
                show_error(error)
                code = Exit.CHECK_FAILED
                continue
            out(visible(f"{name}, {reference}: {problem or 'sent'}"), alarm=bool(problem))
            code = Exit.CHECK_FAILED if problem else code
    return code
