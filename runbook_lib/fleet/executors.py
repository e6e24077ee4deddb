"""Where the runs of a batch execute: on this machine or on a dask cluster."""

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
    """An executor, how many runs it can do at once, and how to cut them off."""

    name: str
    executor: Executor
    width: Callable[[], int]
    cut_off: Callable[[], None]


@contextmanager
def local(jobs: int) -> Iterator[BatchExecutor]:
    """This machine, with `jobs` processes at once. A thread only waits for its run's process."""
    with ThreadPoolExecutor(jobs, thread_name_prefix="account") as executor, worker.here() as cut_off:
        yield BatchExecutor("local", executor, lambda: jobs, cut_off)


@contextmanager
def dask(scheduler: str, jobs: int | None = None) -> Iterator[BatchExecutor]:
    """A dask cluster. Its workers resolve the secrets, so they need this software and what the references point to.

    After the loss of a worker, dask gives its runs to another. Runs in progress cannot be cut off when the batch stops.

    Args:
        scheduler: its address, `tcp://HOST:8786` or `tls://…`. TLS certificates are set in dask's own configuration.
        jobs: most runs at once; None for as many as the workers have threads.

    Raises:
        RunbookError: BAD_PARAMETER if dask is not installed or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "--engine dask: dask is not installed.",
            remedy="Run `pip install 'digicert-one-runbooks[dask]'` here and on every worker.",
        ) from None
    try:
        # dask's own setting says how long it waits for a scheduler (30 s)
        client = Client(scheduler, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"--scheduler {scheduler}: no answer ({type(error).__name__}).",
            remedy="Start it with `dask scheduler` and its workers with `dask worker ADDR`; then run again.",
        ) from None
    try:
        yield BatchExecutor("dask", client.get_executor(pure=False), lambda: _threads(client, jobs), lambda: None)
    finally:
        client.close(timeout=5)


def _threads(client: Client, jobs: int | None) -> int:
    """How many runs the present workers can do at once. Raises ExecutorLost."""
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, RuntimeError, CancelledError, KeyError) as error:  # KeyError: an empty identity
        raise ExecutorLost(f"the scheduler was lost ({type(error).__name__})") from None
    threads = sum(int(worker["nthreads"]) for worker in workers.values())
    return threads if jobs is None else min(threads, jobs)
