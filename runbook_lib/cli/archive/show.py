"""`runbook archive show`: shows one bag in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbook_lib import given
from runbook_lib.catalogue import Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_option
from runbook_lib.cli.terminal import out, plain
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.visible import visible
from runbook_lib.words import quantity

if TYPE_CHECKING:
    from runbook_lib.archive.reader import ArchivedBag


@click.command(cls=Command)
@click.argument("bag")
@archive_option
def command(bag: str, archive: Path) -> None:
    """Show what one bag holds: the run, its steps and its tables.

    BAG is a bag's path, or only its name, which is then searched in the archive. This verifies nothing; use 'runbook
    archive verify' for that.
    """
    entry = _find(archive, bag)
    run = entry.run
    facts = {"Bag": str(entry.folder), "Job": entry.job, "Status": entry.status, "Started": iso(entry.at)}
    if run is None:
        facts["Holds"] = entry.seen
    else:
        facts |= {"Duration": f"{run.duration:.1f} s", "By": f"{run.who.user} on {run.who.host}"}
        if run.target is not None:
            facts["Environment"] = f"{run.target.environment} ({run.target.api_url})"
        if run.seen is not None and run.seen.service_users:
            facts["Service user"] = ", ".join(user.name or user.id for user in run.seen.service_users)
        facts["Need action"] = str(run.needs_action)
        if run.error is not None:
            facts["Error"] = entry.seen
    for name, value in facts.items():
        out(plain(f"{name + ':':<14} {value}"))
    if run is None:
        return
    for step in run.steps:
        out(plain(f"  {step.verdict:<14} {step.title}: {step.headline}"))
    for table in run.tables:
        out(visible(f"  {quantity(table.rows, 'row')}: {entry.folder / 'data' / table.file}"))
    out(visible(f"{'Report:':<14} {entry.folder / 'data' / 'report.html'}"))


def _find(archive: Path, bag: str) -> ArchivedBag:
    from runbook_lib.archive import chain, reader
    from runbook_lib.archive.bag import archive_errors

    if (found := reader.bag_at(archive, bag)) is not None:
        return found
    name = Path(bag).absolute().name
    with archive_errors(archive):
        for folder in chain.bags(archive):
            if folder.name == name:
                return reader.entry(archive, folder)
    raise RunbookError(
        Reason.BAD_PARAMETER,
        f"{archive} holds no bag {given.shown(bag)}.",
        remedy=f"List its bags: runbook archive list {archive}",
        title="There is no such bag",
    )
