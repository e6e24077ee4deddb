"""`runbook batch`: one notebook for many accounts, archived in one bag."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE, POSITIVE, OneOf, archive_option, fail_on_option, notices_options


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--jobs", metavar="N", type=POSITIVE, help="Runs at a time. [default: one per processor]")
@click.option(
    "--shard",
    metavar="I/N",
    default="1/1",
    show_default=True,
    help="Run only part I of N. An account is always in the same part.",
)
@click.option(
    "--engine",
    type=OneOf(["local", "dask"]),
    default="local",
    show_default=True,
    help="Run on this machine or on a dask cluster.",
)
@click.option("--scheduler", metavar="ADDR", default="", help="dask's scheduler: tcp://HOST:8786 or tls://HOST:8786.")
@archive_option
@fail_on_option
@notices_options
def command(
    file: Path,
    jobs: int | None,
    shard: str,
    engine: str,
    scheduler: str,
    archive: Path,
    fail_on: str,
    notices: Path | None,
    metrics: Path | None,
    calendar: Path | None,
) -> Exit:
    """Run a notebook for many accounts and archive them in one bag.

    FILE lists the accounts: YAML, or CSV with a column 'account'. The last line on standard output is the bag's path.

    Exit code 0: all accounts are done; 30: some failed; 1: some are missing; 40: the outcome of a request is unknown.
    After 1 and 40, run the same command again: it does what is missing.
    """
    from runbook_lib.cli.batch_order import job_of, run_fleet_file
    from runbook_lib.cli.informing import after_runs, waiting_notices, with_heartbeat
    from runbook_lib.cli.outcome import report

    after = after_runs(archive, notices, metrics, calendar)

    def run() -> Exit:
        outcome = run_fleet_file(
            file,
            jobs=jobs,
            shard=shard,
            engine=engine,
            scheduler=scheduler,
            archive=archive,
            notices=waiting_notices(archive) if after is not None else "",
        )
        return report(file.stem, outcome, fail_on=fail_on, after=after)

    return with_heartbeat(after, job_of(file, shard), run) if after is not None else run()
