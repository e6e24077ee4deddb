"""`runbook archive expect`: declares what the archive should hold."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE, archive_option
from runbook_lib.cli.terminal import out
from runbook_lib.visible import visible


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=FILE)
@archive_option
def command(file: Path, archive: Path) -> None:
    """Declare which runs and tickets the archive should hold.

    FILE is YAML with jobs, how often they run and for which accounts; parameters/expected/nightly.yaml is a sample.
    """
    from runbook_lib.archive import chain
    from runbook_lib.archive.expectation import declare
    from runbook_lib.clock import SystemClock

    place, expectation = declare(archive, file, at=SystemClock().now(), environ=os.environ)
    out("Expected from now on:" if expectation.expected else "From now on no runs are expected.")
    names = [bag.name.partition("-")[2] for bag in chain.bags(archive)]
    for expected in expectation.expected:
        known = any(re.fullmatch(rf"{expected.job}(-[0-9]+)?", name) for name in names)
        out(visible(f"  {expected}" + ("" if known else "; no run of this job yet")))
    where = ", ".join(expectation.require_ticket) or "no environment"
    out(visible(f"Changes need a ticket in: {where}"))
    sys.stdout.write(f"{place.folder}\n")
