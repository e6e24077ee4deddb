"""The caller's side: `ForkServer` performs tasks, and runs the cells of each in a fork."""

from __future__ import annotations

import os
import pickle
import pkgutil
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runbook_lib.engine import protocol
from runbook_lib.engine.kernels import Keeper, Kernels, wait_for_end
from runbook_lib.engine.processes import ForkedProcess
from runbook_lib.errors import RunbookError

_START_SECONDS = 60.0
"""How long a new process may take to read its first task."""

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0
"""How long an interrupted task may take to stop its kernel and save what it has."""


@dataclass(frozen=True)
class Killed:
    """How a run process ended that did not answer.

    Args:
        returncode: as in subprocess: negative for a signal.
        deadline: whether it was killed because its time was over.
        interrupted: the first signal that the caller had collected.
    """

    returncode: int
    deadline: bool
    interrupted: signal.Signals | None


class ForkServer:
    """A server with everything imported, and run processes whose kernels are forked from it. Linux only.

    The start takes as long as the imports, a task a few milliseconds more than its cells. Many threads may call
    `perform` at once; each call has its own processes. A task whose processes are killed does not affect the others.
    Leaving the block ends everything that still runs.

        with ForkServer(preload=["pandas"]) as server:
            server.perform(NotebookCall({"input_path": source, "output_path": output}))

    Args:
        folder: private, for the processes' files. By default a new one, which the server removes when it ends, even if
            the caller was killed.
        preload: modules that notebooks import, imported once beforehand. They must start no thread and print nothing.
        function: `MODULE:FUNCTION`, called by a run process with a task and its `TaskContext`; task and answer are
            pickled.
        kernels: in place of `preload`, a running server. The run process is then forked from this process, which must
            have a single thread. For one task, everything is then imported only once, half here and half there.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        preload: Sequence[str] = (),
        function: str = "runbook_lib.engine.notebook_call:execute_notebook",
        kernels: Kernels | None = None,
    ) -> None:
        self._function = function
        self._open = ExitStack()
        self._forks = kernels is not None
        self._kernels = kernels or Kernels(folder, preload=preload)
        self._lock = threading.Lock()
        self._idle: list[_RunProcess] = []
        self._busy: set[_RunProcess] = set()
        self._left = False

    def __enter__(self) -> Self:
        if not self._forks:
            self._open.enter_context(self._kernels)
        self._idle.append(self._run_process())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._left = True
            for process in self._busy:
                process.kill()
            idle, self._idle = self._idle, []
        self._open.close()
        for process in idle:
            process.end()

    @property
    def process(self) -> int | None:
        """The server's process id; None if it does not run."""
        return self._kernels.process

    @property
    def folder(self) -> Path:
        """The private folder."""
        return self._kernels.folder

    def perform(self, task: object, *, seconds: float = 3600, signals: Sequence[signal.Signals] = ()) -> Any:
        """Perform a task in a run process; returns its function's result, or `Killed` if the process was killed.

        Args:
            seconds: after these and ten more, all processes of the task are killed, unless it has been executed.
            signals: a list to which the caller appends. The first signal is passed on, so that the notebook is saved
                as it is; ten seconds later, or at a second signal, all processes of the task are killed.

        Raises:
            RunbookError: ENGINE_FAILED if no process can be forked; else what the function raised.
            OSError: what the function raised, or the private folder cannot be written.
            PapermillExecutionError: what the function raised.
        """
        for _ in range(2):
            process = self._taken()
            try:
                return process.perform(task, seconds, signals)
            except _NotBegun:
                continue
            finally:
                self._give_back(process)
        raise self._kernels.failed("The processes of a run do not stay alive.")

    def failed(self, what: str) -> RunbookError:
        """The error for a failure of the engine, with the last output of its processes."""
        return self._kernels.failed(what)

    def _run_process(self) -> _RunProcess:
        return _RunProcess(self._function, self._kernels, self._forks)

    def _taken(self) -> _RunProcess:
        with self._lock:
            process = self._idle.pop() if self._idle else None
            if process is None:
                process = self._run_process()
            self._busy.add(process)
            return process

    def _give_back(self, process: _RunProcess) -> None:
        with self._lock:
            self._busy.discard(process)
            keep = process.usable and not self._left
            if keep:
                self._idle.append(process)
        if not keep:
            process.end()


class _NotBegun(Exception):
    """The process ended before the task began, or got no kernel for it."""


class _RunProcess:
    """A process that performs one task after another, and its keeper of kernels.

    Args:
        function: performs a task.
        fork: fork it from this single-threaded process, instead of starting it.

    Raises:
        RunbookError: ENGINE_FAILED.
    """

    def __init__(self, function: str, kernels: Kernels, fork: bool) -> None:
        self._gone, held = os.pipe()
        try:
            keeper = kernels.keeper(held)
            self._kernels, self._server = kernels, kernels.process
        except BaseException:
            os.close(self._gone)
            raise
        finally:
            os.close(held)
        self._socket, theirs = socket.socketpair()
        self._process = (_forked if fork else _started)(function, kernels, theirs, keeper)
        theirs.close()
        keeper.close()
        self._interrupted = False

    @property
    def usable(self) -> bool:
        """Whether it can take another task. After a signal it cannot: that might arrive late and hit the next task.

        Nor can it without its keeper, or after the keeper lost the server, which would clean up after a keeper.
        """
        alone = self._kernels.process != self._server or wait_for_end(self._gone, 0)
        return not alone and not self._interrupted and self._process.poll() is None

    def perform(self, task: object, seconds: float, signals: Sequence[signal.Signals]) -> Any:
        """Send it a task and wait for the answer; returns `Killed` if it ends without one.

        Args:
            seconds: the time limit of the task. It keeps to that itself, unless it is stopped.

        Raises:
            _NotBegun, and what the function raised.
        """
        with suppress(BrokenPipeError):
            self._socket.sendall(protocol.framed(pickle.dumps(task)))
        return self._answer(seconds, signals)

    def _answer(self, seconds: float, signals: Sequence[signal.Signals]) -> Any:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        kill_at, seen, killed = time.monotonic() + _START_SECONDS, 0, False
        found, accepted, executed = bytearray(), False, False
        while True:
            if poll.poll(1000 * _POLL_SECONDS):
                more = _received(self._socket)
                if not more:
                    break
                found += more
                if not accepted:
                    accepted, kill_at = True, time.monotonic() + seconds + _GRACE_SECONDS
                    del found[0]
                if not executed and found.startswith(protocol.EXECUTED):
                    executed = True
                    del found[0]
                if found == protocol.NO_KERNEL:
                    raise _NotBegun
                content = protocol.content_in(found, 1)
                if content is not None:
                    answer = pickle.loads(content)  # noqa: S301 - our own process's
                    if found.startswith(protocol.ERROR):
                        raise answer
                    return answer
            if executed or killed:
                continue
            if accepted and len(signals) > seen:
                if seen == 0:
                    self._interrupted = True
                    self._process.send_signal(signals[0])
                    kill_at = min(kill_at, time.monotonic() + _GRACE_SECONDS)
                seen = len(signals)
            if seen > 1 or time.monotonic() > kill_at:
                self.kill()
                killed = True
        self.kill()
        wait_for_end(self._gone, _GRACE_SECONDS)  # until nothing of it can still write
        if not accepted:
            raise _NotBegun
        first = signals[0] if signals else None
        return Killed(self._process.wait(), killed and first is None, first)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """End it: it kills itself when its caller's socket closes."""
        self._socket.close()
        self._process.wait()
        os.close(self._gone)


def _started(function: str, kernels: Kernels, caller: socket.socket, keeper: Keeper) -> subprocess.Popen[bytes]:
    descriptors = caller.fileno(), keeper.socket.fileno()
    return kernels.program("run_process", function, *map(str, descriptors), keep=descriptors)


def _forked(function: str, kernels: Kernels, caller: socket.socket, keeper: Keeper) -> ForkedProcess:
    from runbook_lib.engine import run_process  # slow to import

    return ForkedProcess(
        partial(run_process.perform_tasks, pkgutil.resolve_name(function), caller, keeper),
        kernels.log,
        keep=(caller.fileno(), keeper.socket.fileno()),
    )


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 20)
    except ConnectionResetError:  # it was killed before it read its task
        return b""
