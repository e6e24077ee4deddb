"""The progress of a batch on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from runbook_lib.catalogue import CATALOGUE, Reason
from runbook_lib.cli.terminal import err, is_watched
from runbook_lib.looks import withheld
from runbook_lib.result import Status
from runbook_lib.visible import visible
from runbook_lib.words import quantity

if TYPE_CHECKING:
    from runbook_lib.fleet.ledger import Kept

EVERY_SECONDS = 30.0
"""Seconds between two progress lines if standard error is not a terminal."""


@contextmanager
def watching(total: int) -> Iterator[ProgressLines]:
    """Shows the progress of a batch of so many accounts."""
    if not is_watched():
        yield ProgressLines(total)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[trouble]}"),
    )
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True) as progress:
        yield ProgressBar(total, progress)


def _title(entry: Kept) -> str:
    """The cause of a failure. NOT_PROVEN has none of its own: the run's title names it, which begins `seen`."""
    known = entry.reason in set(Reason) and entry.reason != Reason.NOT_PROVEN
    return CATALOGUE[Reason(entry.reason)].title if known else entry.seen


class ProgressLines:
    """A line for each account that failed, and a progress line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._ended = self._failed = 0
        self._began = self._said = time.monotonic()

    def begun(self, already: int) -> None:
        if already:
            self._say(f"{quantity(already, 'account')} finished earlier; {self._total - already} to run")
        self._total -= already

    def ended(self, entry: Kept) -> None:
        self._ended += 1
        if entry.status is not Status.DONE:
            self._failed += 1
            self._say(f"{entry.account}: {entry.status.value}: {_title(entry)}", style="red")
        self._show()

    def again(self, entry: Kept, seconds: float) -> None:
        self._say(f"{entry.account}: retry in {seconds:.0f} s: {_title(entry)}", style="yellow")

    def lost(self, account: str, why: str) -> None:
        self._say(f"{account}: worker lost: {why}", style="yellow")

    def stopping(self, why: str, under_way: int) -> None:
        self._say(f"{why}: no new runs start; {quantity(under_way, 'run')} still running", style="yellow")

    def _say(self, text: str, style: str = "") -> None:
        err(visible(text))

    def _rate(self) -> float:
        return self._ended / max(time.monotonic() - self._began, 1e-9)

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._said < EVERY_SECONDS and self._ended < self._total:
            return
        self._said = now
        left = (self._total - self._ended) / max(self._rate(), 1e-9)
        more = f", about {left:.0f} s left" if self._ended < self._total else ""
        failed = f"{self._failed or 'none'} failed"
        self._say(f"{self._ended} of {quantity(self._total, 'account')}, {failed}, {self._rate():.1f}/s{more}")


class ProgressBar(ProgressLines):
    """The same lines above a progress bar."""

    def __init__(self, total: int, progress: Progress) -> None:
        super().__init__(total)
        self._progress = progress
        self._task = progress.add_task("", total=total, rate="", trouble="")

    def begun(self, already: int) -> None:
        super().begun(already)
        self._progress.update(self._task, total=self._total)

    def _say(self, text: str, style: str = "") -> None:
        self._progress.console.print(Text(withheld(visible(text)), style=style))

    def _show(self) -> None:
        trouble = f"{self._failed} failed" if self._failed else ""
        self._progress.update(self._task, completed=self._ended, rate=f"{self._rate():.1f}/s", trouble=trouble)
