"""`runbook run`: runs one notebook headlessly and archives it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import (
    FILE,
    POSITIVE,
    archive_option,
    fail_on_option,
    files_option,
    notices_options,
    parameters_option,
)
from runbook_lib.notebooks import NOTEBOOKS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _completed(ctx: click.Context, param: click.Parameter, word: str) -> list[CompletionItem] | list[str]:
    """Completions for a notebook: short names, else paths."""
    return [name for name in NOTEBOOKS if name.startswith(word)] or FILE.shell_complete(ctx, param, word)


@click.command(cls=Command)
@click.argument("notebook", shell_complete=_completed)
@files_option
@parameters_option
@archive_option
@click.option(
    "--cell-timeout", metavar="SECONDS", type=POSITIVE, default=600, show_default=True, help="Limit for one cell."
)
@click.option(
    "--deadline", metavar="SECONDS", type=POSITIVE, default=3600, show_default=True, help="Limit for the whole run."
)
@fail_on_option
@notices_options
@click.option(
    "--exit-detail", is_flag=True, help="For rotate: exit 10 if nothing is due, 11 if it progressed, 12 if it waits."
)
def command(
    notebook: str,
    files: tuple[Path, ...],
    parameters: tuple[tuple[str, str], ...],
    archive: Path,
    cell_timeout: int,
    deadline: int,
    fail_on: str,
    notices: Path | None,
    metrics: Path | None,
    calendar: Path | None,
    exit_detail: bool,
) -> Exit:
    """Run one notebook headlessly and archive it.

    NOTEBOOK is a short name (doctor, issue, verify, access, inventory, rotate, archive, troubleshoot) or the path of an
    .ipynb file. The last line on standard output is the bag's path.
    """
    from runbook_lib.cli.informing import after_runs, with_heartbeat
    from runbook_lib.cli.outcome import run_one
    from runbook_lib.cli.parameters import read_parameters
    from runbook_lib.notebooks import find_notebook

    given = read_parameters(files, parameters)
    after = after_runs(archive, notices, metrics, calendar)

    def run() -> Exit:
        return run_one(
            notebook,
            given,
            archive=archive,
            cell_timeout=cell_timeout,
            deadline=deadline,
            fail_on=fail_on,
            exit_detail=exit_detail,
            after=after,
        )

    return with_heartbeat(after, find_notebook(notebook)[1], run) if after is not None else run()
