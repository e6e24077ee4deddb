"""One account's run on any machine: what a worker receives, and what it does."""

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
    """A run to do. It travels, so it holds references and no secrets.

    Args:
        job: the run; it gets the worker's environment.
        hide: environment variables with other accounts' secrets, which the run does not get.
        preload: modules that the notebook imports, for `JobServer`.
    """

    job: Job
    hide: frozenset[str] = frozenset()
    preload: tuple[str, ...] = ()


def perform_work(work: AccountWork) -> Produced:
    """Do the run here: in a thread of this process, or of a dask worker on another machine."""
    environ = {name: value for name, value in os.environ.items() if name not in work.hide}
    return _HERE.run(replace(work.job, environ=environ), work.preload)


class _Here:
    """Runs notebooks in this process, with a server that starts with the first run."""

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
        """Stop the server and its runs."""
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
    """Runs in this process for the duration of the block; yields the function that cuts them off."""
    try:
        yield lambda: _HERE.interruptions.signals.append(signal.SIGINT)
    finally:
        _HERE.close()
