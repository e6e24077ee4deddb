"""Where the runs of a batch happen: on this machine, or on a dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.fleet import worker
from runbook_lib.fleet.batch import ExecutorLost

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class BatchExecutor:
    """An executor, how much it can do at a time, and how to end what it is doing."""

    name: str
    executor: Executor
    width: Callable[[], int]
    cut_off: Callable[[], None]


@contextmanager
def local(jobs: int) -> Iterator[BatchExecutor]:
    """This machine. A thread only waits for its run's process, so `jobs` is the number of processes."""
    with ThreadPoolExecutor(jobs, thread_name_prefix="account") as executor, worker.here() as cut_off:
        yield BatchExecutor("local", executor, lambda: jobs, cut_off)


@contextmanager
def dask(scheduler: str, jobs: int | None = None) -> Iterator[BatchExecutor]:
    """A dask cluster: its workers resolve the secrets, and need this software and what the references point to.

    A worker that is lost costs a repetition: dask gives its runs to another. What is under way when the batch is
    stopped cannot be ended from here.

    Args:
        scheduler: its address, `tcp://HOST:8786` or `tls://…`; certificates for TLS are dask's own configuration.
        jobs: at most so many runs at a time; else as many as the workers have threads.

    Raises:
        RunbookError: BAD_PARAMETER where dask is not installed, the scheduler does not answer, or has no worker.
    """
    try:
        from distributed import Client
    except ImportError:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "--engine dask: dask is not installed.",
            remedy="pip install 'digicert-one-runbooks[dask]', here and on every worker.",
        ) from None
    try:
        # how long it waits for a scheduler, or for a lost one to come back, is dask's own setting (30 s)
        client = Client(scheduler, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"--scheduler {scheduler}: nobody answers there ({type(error).__name__}).",
            remedy="Start it with `dask scheduler`, and workers with `dask worker ADDR`; then run again.",
        ) from None
    try:
        yield BatchExecutor("dask", client.get_executor(pure=False), lambda: _threads(client, jobs), lambda: None)
    finally:
        client.close(timeout=5)


def _threads(client: Client, jobs: int | None) -> int:
    """How many runs the workers of this moment can have under way. Raises ExecutorLost."""
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, RuntimeError, CancelledError, KeyError) as error:  # KeyError: an empty identity
        raise ExecutorLost(f"the scheduler was lost ({type(error).__name__})") from None
    threads = sum(int(worker["nthreads"]) for worker in workers.values())
    return threads if jobs is None else min(threads, jobs)
