"""Prepares the batch of `runbook batch`, and the engine that runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from runbook_lib.catalogue import Reason
from runbook_lib.cli.batch_progress import watching
from runbook_lib.cli.terminal import err
from runbook_lib.clock import SystemClock
from runbook_lib.errors import RunbookError
from runbook_lib.fleet import executors, file
from runbook_lib.fleet.file import Fleet, Shard
from runbook_lib.fleet.run_batch import BatchOrder, run_batch
from runbook_lib.notebooks import NOTEBOOKS, find_notebook
from runbook_lib.reports.job import Source
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.visible import visible
from runbook_lib.words import quantity

CHANGING = ("issue", "access", "rotate")
"""Notebooks that change something."""


def run_fleet_file(
    path: Path, *, jobs: int | None, shard: str, engine: str, scheduler: str, archive: Path, notices: str = ""
) -> RunOutcome:
    """Run a fleet file into an archive. Arguments as on the command line. Raises RunbookError.

    Args:
        notices: messages of earlier runs that wait, for the report.
    """
    fleet = file.read_fleet(path)
    order = replace(_order(path, fleet, Shard.parse(shard), archive), notices=notices)
    if engine == "dask":
        _store_is_shared(order)
    total = len(order.accounts)
    with _engine(engine, scheduler, jobs) as running, watching(total) as watch:
        where = f"part {order.shard.number} of {order.shard.of}, " if order.shard.of > 1 else ""
        work = f"{where}{quantity(total, 'account')}, {running.width()} at a time ({running.name})"
        err(f"{order.name}: {work}. Archive: {archive}")
        return run_batch(order, running, clock=SystemClock(), watch=watch)


def job_of(path: Path, shard: str) -> str:
    """The name of a batch's job, as in its bags. Raises RunbookError (BAD_PARAMETER) for a wrong shard."""
    return _job_of(path, Shard.parse(shard))


def _job_of(path: Path, shard: Shard) -> str:
    part = f"-{shard.number}-of-{shard.of}" if shard.of > 1 else ""
    return f"batch-{file.slug(path.stem)}"[: 63 - len(part)] + part


def _order(path: Path, fleet: Fleet, shard: Shard, archive: Path) -> BatchOrder:
    name = fleet.notebook if fleet.notebook in NOTEBOOKS else str(path.parent / fleet.notebook)
    notebook, job = find_notebook(name)
    preload: tuple[str, ...] = ()
    if job in NOTEBOOKS:
        preload = ("runbook_lib.widgets.preload",)
        fleet = fleet.model_copy(update={"parameters": {"mode": "headless"} | fleet.parameters})
    return BatchOrder(
        fleet=fleet,
        file=path,
        source=Source.read(notebook),
        name=_job_of(path, shard),
        job=job,
        shard=shard,
        archive=archive,
        environ=os.environ,
        preload=preload,
    )


def _store_is_shared(order: BatchOrder) -> None:
    """Refuse accounts without a `store`: any worker may resume an interrupted change, and needs its journal."""
    own = [account.account for account in order.accounts if not order.fleet.given(account).get("store")]
    if order.job in CHANGING and own:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{order.job} keeps credentials and journals in `store`, but {visible(own[0])} does not set it: on a "
            "cluster each worker would use its own.",
            remedy="Set the parameter `store` to a folder that all workers share.",
        )


@contextmanager
def _engine(engine: str, scheduler: str, jobs: int | None) -> Iterator[executors.BatchExecutor]:
    if engine == "local":
        if scheduler:
            raise RunbookError(Reason.BAD_PARAMETER, "--scheduler works only with --engine dask.")
        with executors.local(jobs or os.cpu_count() or 1) as running:
            yield running
    else:
        if not scheduler:
            raise RunbookError(Reason.BAD_PARAMETER, "--engine dask needs --scheduler, for example tcp://HOST:8786.")
        with executors.dask(scheduler, jobs) as running:
            yield running
