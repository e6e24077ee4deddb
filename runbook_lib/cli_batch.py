"""`runbook batch`: the fleet file's accounts, one notebook each, and how far they are on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from runbook_lib.catalogue import CATALOGUE, Reason
from runbook_lib.clock import SystemClock
from runbook_lib.errors import RunbookError
from runbook_lib.fleet import engines, file
from runbook_lib.fleet.file import Fleet, Shard
from runbook_lib.fleet.run import Order, run_batch
from runbook_lib.looks import withheld
from runbook_lib.notebooks import NOTEBOOKS, find_notebook
from runbook_lib.reports.job import Source
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.result import Status
from runbook_lib.visible import visible

if TYPE_CHECKING:
    from runbook_lib.fleet.ledger import Kept

CHANGING = ("issue", "access", "rotate")
"""Notebooks that change something."""

EVERY_SECONDS = 30.0
"""Between two lines that say how far it is, where nobody watches a terminal."""


def run(
    path: Path,
    *,
    jobs: int | None,
    shard: str,
    engine: str,
    scheduler: str,
    archive: Path,
    environ: Mapping[str, str] | None = None,
) -> RunOutcome:
    """Run a fleet file into an archive. Arguments as on the command line. Raises RunbookError."""
    environ = os.environ if environ is None else environ
    err = console()
    fleet = file.read(path)
    order = _order(path, fleet, Shard.parse(shard), archive, environ)
    if engine == "dask":
        _store_is_shared(order)
    total = len(order.accounts)
    with _engine(engine, scheduler, jobs) as running, _watch(err, total) as watch:
        where = f"part {order.shard.number} of {order.shard.of}, " if order.shard.of > 1 else ""
        said = f"{order.name}: {where}{total} accounts, {running.width()} at a time ({running.name}), "
        err.print(withheld(f"{said}to be archived in {archive}"))
        return run_batch(order, running, clock=SystemClock(), watch=watch)


def console() -> Console:
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _order(path: Path, fleet: Fleet, shard: Shard, archive: Path, environ: Mapping[str, str]) -> Order:
    beside = fleet.notebook if fleet.notebook in NOTEBOOKS else str(path.parent / fleet.notebook)
    notebook, job = find_notebook(beside)
    preload: tuple[str, ...] = ()
    if job in NOTEBOOKS:
        preload = ("runbook_lib.widgets.preload",)
        fleet = fleet.model_copy(update={"parameters": {"mode": "headless"} | fleet.parameters})
    part = f"-{shard.number}-of-{shard.of}" if shard.of > 1 else ""
    return Order(
        fleet=fleet,
        file=path,
        source=Source.read(notebook),
        name=f"batch-{file.slug(path.stem)}"[: 63 - len(part)] + part,
        job=job,
        shard=shard,
        archive=archive,
        environ=environ,
        preload=preload,
    )


def _store_is_shared(order: Order) -> None:
    """A change that was cut off is taken up from its journal, so whichever worker repeats it has to find that."""
    own = [one.account for one in order.accounts if not order.fleet.given(one).get("store")]
    if order.job in CHANGING and own:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{order.job} keeps its credentials and their journals in `store`, and {visible(own[0])} names none: on a "
            "cluster each worker would have its own.",
            remedy="Give the parameter `store`: a folder that all workers share.",
        )


@contextmanager
def _engine(engine: str, scheduler: str, jobs: int | None) -> Iterator[engines.Engine]:
    if engine == "local":
        if scheduler:
            raise RunbookError(Reason.BAD_PARAMETER, "--scheduler is for --engine dask.")
        with engines.local(jobs or os.cpu_count() or 1) as running:
            yield running
    elif engine == "dask":
        if not scheduler:
            raise RunbookError(Reason.BAD_PARAMETER, "--engine dask needs --scheduler, for example tcp://HOST:8786.")
        with engines.dask(scheduler, jobs) as running:
            yield running
    else:
        raise RunbookError(Reason.BAD_PARAMETER, f"--engine: {engine!r} is neither local nor dask.")


# --- how far it is ----------------------------------------------------------------------------------------------------


@contextmanager
def _watch(err: Console, total: int) -> Iterator[_Lines]:
    if not err.is_terminal:
        yield _Lines(err, total)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[trouble]}"),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        yield _Bar(err, total, progress)


def _title(entry: Kept) -> str:
    return CATALOGUE[Reason(entry.reason)].title if entry.reason in set(Reason) else entry.seen


class _Lines:
    """A line for each account that is not done, and now and then one that says how far it is."""

    def __init__(self, err: Console, total: int) -> None:
        self._err, self._total = err, total
        self._ended = self._failed = self._needs = 0
        self._began = self._said = time.monotonic()

    def begun(self, already: int) -> None:
        if already:
            self._say(f"{already} have their end from earlier; {self._total - already} are to be done")
        self._total -= already

    def ended(self, entry: Kept) -> None:
        self._ended += 1
        self._needs += entry.needs_action
        if entry.status is not Status.DONE:
            self._failed += 1
            self._say(f"{entry.account}: {entry.status.value}: {_title(entry)}", style="red")
        self._show()

    def again(self, entry: Kept, seconds: float) -> None:
        self._say(f"{entry.account}: again in {seconds:.0f} s: {_title(entry)}", style="yellow")

    def lost(self, account: str, why: str) -> None:
        self._say(f"{account}: its worker was lost: {why}", style="yellow")

    def stopping(self, why: str, under_way: int) -> None:
        self._say(f"{why}: nothing more is begun; {under_way} are under way", style="yellow")

    def _say(self, text: str, style: str = "") -> None:
        self._err.print(Text(withheld(visible(text)), style=style))

    def _rate(self) -> float:
        return self._ended / max(time.monotonic() - self._began, 1e-9)

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._said < EVERY_SECONDS and self._ended < self._total:
            return
        self._said = now
        left = (self._total - self._ended) / max(self._rate(), 1e-9)
        more = f", about {left:.0f} s left" if self._ended < self._total else ""
        self._say(f"{self._ended} of {self._total}, {self._failed} not done, {self._rate():.1f}/s{more}")


class _Bar(_Lines):
    """The same below a bar."""

    def __init__(self, err: Console, total: int, progress: Progress) -> None:
        super().__init__(err, total)
        self._progress = progress
        self._task = progress.add_task("", total=total, rate="", trouble="")

    def begun(self, already: int) -> None:
        super().begun(already)
        self._progress.update(self._task, total=self._total)

    def _show(self) -> None:
        trouble = f"{self._failed} not done" if self._failed else ""
        self._progress.update(self._task, completed=self._ended, rate=f"{self._rate():.1f}/s", trouble=trouble)
