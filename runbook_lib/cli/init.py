"""`runbook init`: a copy of the notebooks and sample parameters."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE
from runbook_lib.cli.terminal import out
from runbook_lib.errors import RunbookError
from runbook_lib.notebooks import NOTEBOOK_FOLDER, PARAMETER_FOLDER


@click.command(cls=Command)
@click.argument("folder", metavar="DIR", type=FILE)
def command(folder: Path) -> None:
    """Copy the notebooks and sample parameters into DIR.

    Nothing is overwritten: if DIR already has one of the two folders, nothing is copied.
    """
    import shutil

    copies = {source: folder / source.name for source in (NOTEBOOK_FOLDER, PARAMETER_FOLDER)}
    there = [str(copy) for copy in copies.values() if copy.exists()]
    if there:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"Already there: {' and '.join(there)}. Nothing was copied.",
            remedy="Choose another folder.",
            title="DIR already has notebooks or parameters",
        )
    for source, copy in copies.items():
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".*"))
    out(f"Notebooks and sample parameters are in {folder}. Open {folder / 'notebooks' / '00_start_here.ipynb'} first.")
