"""A task under way, as the function that performs it in a run process sees it."""

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
        caller: who waits for the answer.
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
            log: where it writes what is no output of a cell; without it, to this process's standard error.

        Raises:
            NoKernel: it could not be forked. Let it pass: the task is then given to another run process.
        """
        return ForkedKernelManager(self._keeper, cwd=cwd, environ=environ, log=log)

    @contextmanager
    def interruptible(self, seconds: float) -> Iterator[None]:
        """Inside, the first signal raises KeyboardInterrupt: one that the caller passed on, or SIGALRM at the end."""
        try:
            self._interruptible = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            if self.signals:  # it came before
                raise KeyboardInterrupt
            yield
        finally:
            self._interruptible = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def executed(self) -> None:
        """Tell the caller that the notebook has been executed: what comes now is not cut off."""
        self._caller.sendall(protocol.EXECUTED)
