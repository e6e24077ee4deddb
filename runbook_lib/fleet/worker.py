"""One account's run, on whichever machine: what is sent to a worker, and what the worker does with it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runbook_lib.clock import SystemClock
from runbook_lib.job_server import JobServer
from runbook_lib.reports.job import Job, Produced
from runbook_lib.reports.supervise import Interruptions


@dataclass(frozen=True)
class AccountWork:
    """A run to do. It holds references to secrets and no secret: it travels.

    Args:
        job: what is to run; its environment is the worker's.
        hide: variables of the environment that hold other accounts' secrets. A run cannot show what it does not have.
        preload: modules that the notebook imports, for `JobServer`.
    """

    job: Job
    hide: frozenset[str] = frozenset()
    preload: tuple[str, ...] = ()


def perform_work(work: AccountWork) -> Produced:
    """Do it here. Called in a thread of a worker: of this process, or of a dask worker on another machine."""
    environ = {name: value for name, value in os.environ.items() if name not in work.hide}
    return _HERE.run(replace(work.job, environ=environ), work.preload)


class _Here:
    """What runs notebooks in this process: a server that is started with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._server: JobServer | None = None
        self.interruptions = Interruptions()

    def run(self, job: Job, preload: tuple[str, ...]) -> Produced:
        if sys.platform == "linux":
            return self._started(preload).run(job, clock=SystemClock(), interruptions=self.interruptions)
        from runbook_lib.reports.produce import produce

        with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
            return produce(job, folder=Path(folder), clock=SystemClock(), interruptions=self.interruptions)

    def close(self) -> None:
        """End it, and whatever it still runs."""
        with self._lock:
            self._open.close()
            self._server = None
            self.interruptions = Interruptions()

    def _started(self, preload: tuple[str, ...]) -> JobServer:
        with self._lock:
            if self._server is None:
                self._server = self._open.enter_context(JobServer(preload=preload))
            return self._server


_HERE = _Here()
atexit.register(_HERE.close)


@contextmanager
def here() -> Iterator[Callable[[], None]]:
    """Runs in this process, for as long as the block lasts; gives what cuts them off."""
    try:
        yield lambda: _HERE.interruptions.signals.append(signal.SIGINT)
    finally:
        _HERE.close()
