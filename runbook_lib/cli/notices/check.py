"""`runbook notices check`: reads a notices file and every reference in it, and sends nothing."""

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
def command(file: Path) -> Exit:
    """Check a notices file and every reference in it.

    Nothing is sent.

    Exit 0 if all can be read, else 2.
    """
    from runbook_lib.notices.notices_file import read_notices
    from runbook_lib.notices.sender import Way
    from runbook_lib.secrets import resolve

    notices = read_notices(file)
    code = Exit.DONE
    for name, ways in notices.recipients.items():
        for reference in ways:
            try:
                out(visible(f"{name}: {Way(reference).service}, from {reference}"))
            except RunbookError as error:
                show_error(error)
                code = Exit.USAGE
    for rule in notices.send:
        limits = [f"{', '.join(names)}" for names in (rule.states, rule.jobs, rule.environments) if names]
        how = "all changes of a run in one message" if rule.digest else "a message for each change"
        out(visible(f"To {', '.join(rule.to)}: {'; '.join(limits) or 'everything'}: {how}"))
    for job, reference in notices.heartbeat.items():
        try:
            resolve(reference)
            out(visible(f"Heartbeat of {job}: from {reference}"))
        except RunbookError as error:
            show_error(error)
            code = Exit.USAGE
    for what, path in (("Metrics", notices.metrics), ("Calendar", notices.calendar)):
        if path is not None:
            out(visible(f"{what}: {path}"))
    return code
