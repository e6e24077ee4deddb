"""`runbook archive authority`: chooses who time-stamps the archive."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE, archive_argument
from runbook_lib.cli.terminal import out


@click.command(cls=Command)
@archive_argument
@click.argument("url", metavar="URL")
@click.option("--roots", metavar="FILE", type=FILE, required=True, help="The authority's root certificate (PEM).")
def command(archive: Path, url: str, roots: Path) -> None:
    """Choose the authority that time-stamps every bag.

    URL is that of an RFC 3161 time-stamp authority (http or https). The choice becomes an archive entry; existing bags
    are stamped soon.
    """
    from runbook_lib.archive import bag, entries
    from runbook_lib.archive import timestamp_authority as tsa
    from runbook_lib.clock import SystemClock

    with bag.archive_errors(archive):
        archive.mkdir(parents=True, exist_ok=True)
        chosen = tsa.chosen(archive, url, roots)
        place = entries.begin_stamping(archive, chosen, at=SystemClock().now(), environ=os.environ)
    out(f"It works. From now on every run asks {url}. To request missing time stamps: runbook archive stamp {archive}")
    sys.stdout.write(f"{place.folder}\n")
