"""A running task, as the function that performs it in a run process sees it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from runbook_lib.engine import protocol
from runbook_lib.engine.kernel_manager import ForkedKernelManager
from runbook_lib.engine.kernels import Keeper


class TaskContext:
    """One task: kernels for it, and the signals that the caller passes on.

    Args:
        caller: the socket of the caller, who waits for the answer.
        keeper: forks the kernels.
    """

    def __init__(self, caller: socket.socket, keeper: Keeper) -> None:
        self._caller, self._keeper = caller, keeper
        self._interruptible = False
        self.signals: list[signal.Signals] = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(signal.Signals(number))
        if self._interruptible:
            self._interruptible = False
            raise KeyboardInterrupt

    def kernel(self, *, cwd: Path, environ: Mapping[str, str], log: Path | None = None) -> ForkedKernelManager:
        """A kernel for `papermill.execute_notebook(…, engine_name="runbook", kernel=…)`, which also ends it.

        Args:
            cwd: the kernel's working directory.
            environ: its environment.
            log: the file for its other output than that of cells; by default this process's standard error.

        Raises:
            NoKernel: it could not be forked. Do not catch this: another run process then gets the task.
        """
        return ForkedKernelManager(self._keeper, cwd=cwd, environ=environ, log=log)

    @contextmanager
    def interruptible(self, seconds: float) -> Iterator[None]:
        """Inside, the first signal raises KeyboardInterrupt: one from the caller, or SIGALRM at the time limit."""
        try:
            self._interruptible = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            if self.signals:  # it came earlier
                raise KeyboardInterrupt
            yield
        finally:
            self._interruptible = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def executed(self) -> None:
        """Tell the caller that the notebook has been executed: the rest is not interrupted."""
        self._caller.sendall(protocol.EXECUTED)
