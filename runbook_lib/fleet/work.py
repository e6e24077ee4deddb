"""One account's run, on whichever machine: what is sent to a worker, and what the worker does with it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runbook_lib.clock import SystemClock
from runbook_lib.reports.produce import Job, Produced, produce
from runbook_lib.reports.supervise import Interruptions

_INTERRUPTIONS = Interruptions()
"""Ends the runs of this process; signals reach its main thread only."""


@dataclass(frozen=True)
class Work:
    """A run to do. It holds references to secrets and no secret: it travels.

    Args:
        job: what is to run; its environment is the worker's.
        hide: variables of the environment that hold other accounts' secrets. A run cannot show what it does not have.
    """

    job: Job
    hide: frozenset[str] = frozenset()


def perform(work: Work) -> Produced:
    """Do it here. Called in a thread of a worker: of this process, or of a dask worker on another machine."""
    environ = {name: value for name, value in os.environ.items() if name not in work.hide}
    job = replace(work.job, environ=environ)
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        return produce(job, folder=Path(folder), clock=SystemClock(), interruptions=_INTERRUPTIONS)


@contextmanager
def here() -> Iterator[Callable[[], None]]:
    """Runs in this process, for as long as the block lasts; gives what cuts them off."""
    _INTERRUPTIONS.signals.clear()
    yield lambda: _INTERRUPTIONS.signals.append(signal.SIGINT)
