"""papermill's side: the engine, and papermill's client with fewer saves.

`papermill --engine runbook` finds `ForkEngine` by its entry point. papermill and nbclient are unchanged and write
outputs, metadata and times. Import papermill before this module, because papermill imports it meanwhile.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from functools import cache
from pathlib import Path
from typing import Any

from jupyter_core.utils import run_sync
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager
from papermill.log import logger

from runbook_lib.engine.kernel_manager import ForkedKernelManager, forkable
from runbook_lib.engine.kernels import Kernels

_SAVED_AFTER_SECONDS, _UNSAVED_SECONDS = 0.1, 1.0
"""How long a cell runs before the notebook is saved in between, and how long quick cells run without a save. Most cells
take less, and writing a notebook costs as much as many cells."""


class _Client(PapermillNotebookClient):
    """papermill's client, which saves twice for every cell; this one saves while a cell is running.

    So after a kill, the saved notebook has everything but the last second.
    """

    def papermill_execute_cells(self) -> None:
        save = self._save = self.nb_man.save
        self.nb_man.save = _not_now
        try:
            super().papermill_execute_cells()  # type: ignore[no-untyped-call]
        finally:
            self.nb_man.save = save

    async def async_execute_cell(self, *args: Any, **kwargs: Any) -> NotebookNode:
        self.nb_man.save = self._save
        unsaved = (self.nb_man.now() - self.nb_man.last_save_time).total_seconds()
        delay = min(_SAVED_AFTER_SECONDS, max(0.0, _UNSAVED_SECONDS - unsaved))
        saving = asyncio.get_running_loop().call_later(delay, self._save)
        try:
            return await super().async_execute_cell(*args, **kwargs)
        finally:
            saving.cancel()
            self.nb_man.save = _not_now

    execute_cell = run_sync(async_execute_cell)


def _not_now(**_: object) -> None: ...


@cache
def _kernels(process: int) -> Kernels:
    """The kernels of a process until it ends. Its forked children get their own."""
    kernels = Kernels(users=True)
    atexit.register(kernels.stop)
    return kernels


class ForkEngine(NBClientEngine):
    """papermill's engine."""

    name = "runbook"

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        kernel: ForkedKernelManager | None = None,
        **kwargs: Any,
    ) -> NotebookNode:
        """As papermill's own engine, with its parameters.

        Args:
            kernel: the kernel to use; by default this process's server forks one.
        """
        keeper = None
        if kernel is None:
            if not forkable({**nb_man.nb.metadata, "kernelspec": {"name": kernel_name}}):
                logger.warning(f"Starting a kernel for this notebook: {kernel_name} cannot be forked.")
                started: NotebookNode = super().execute_managed_notebook(  # type: ignore[no-untyped-call]
                    nb_man,
                    kernel_name,
                    log_output=log_output,
                    stdout_file=stdout_file,
                    stderr_file=stderr_file,
                    start_timeout=start_timeout,
                    execution_timeout=execution_timeout,
                    **kwargs,
                )
                return started
            keeper = _kernels(os.getpid()).keeper()
            kernel = ForkedKernelManager(keeper, cwd=Path.cwd(), environ=os.environ)
        client = _Client(  # type: ignore[no-untyped-call]
            nb_man,
            km=kernel,
            timeout=execution_timeout or kwargs.get("timeout"),
            startup_timeout=start_timeout,
            kernel_name=kernel_name,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            on_cell_executed=kwargs.get("on_cell_executed"),
        )
        try:
            executed: NotebookNode = client.execute()  # type: ignore[no-untyped-call]
            nb_man.save = _not_now  # papermill writes it next
            return executed
        except BaseException:
            kernel.interrupt_kernel()  # a cell that is still running
            raise
        finally:
            kernel.shutdown_kernel()
            if keeper is not None:
                keeper.close()
