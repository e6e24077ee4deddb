"""`runbook notices use`: makes a notices file the policy of an archive."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE, archive_option
from runbook_lib.cli.terminal import out
from runbook_lib.errors import RunbookError


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=FILE, required=False)
@archive_option
@click.option("--nothing", is_flag=True, help="No file from now on.")
def command(file: Path | None, archive: Path, nothing: bool) -> None:
    """Follow a notices file after each run into an archive.

    Clicked sessions are included. The archive keeps the file's path, so later edits count at once.
    --notices of a run replaces it for that run.
    """
    from runbook_lib.notices.after_run import use

    if (file is None) is not nothing:
        raise RunbookError(Reason.BAD_PARAMETER, "Give a FILE, or --nothing.")
    use(archive, file)
    out(f"{archive}: {file.absolute() if file else 'no notices file'}")
