"""The caller's side: `ForkServer` has tasks performed, the cells of each in a fork."""

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
"""How long a new process may take until it reads its first task."""

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0
"""How long an interrupted task may take to stop its kernel and save what it has."""


@dataclass(frozen=True)
class Killed:
    """How a run process ended that gave no answer.

    Args:
        returncode: as subprocess has it: negative for a signal.
        deadline: it was killed because its time was over.
        interrupted: the first signal that the caller had collected.
    """

    returncode: int
    deadline: bool
    interrupted: signal.Signals | None


class ForkServer:
    """A server that has everything imported, and run processes whose kernels are forked from it. Linux only.

    Starting it costs the imports, each task a few milliseconds more than its cells. `perform` may be called from many
    threads at once; each call has its processes. A task whose processes are killed costs no other one anything. Leaving
    the block ends whatever still runs.

        with ForkServer(preload=["pandas"]) as server:
            server.perform(NotebookCall({"input_path": source, "output_path": output}))

    Args:
        folder: private, for what the processes write. Without one it makes its own, which the server removes when it
            ends, also when the caller was killed.
        preload: modules that notebooks import, imported once beforehand. They must start no thread and print nothing.
        function: `MODULE:FUNCTION`, what a run process does with a task and its `TaskContext`; task and answer
            are pickled.
        kernels: in place of `preload`, a server that runs already. The run process is then not started but forked from
            this one, which must have a single thread: for one task, all is imported once, half of it here and half of
            it there.
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
        """The server's process id, None while there is none."""
        return self._kernels.process

    @property
    def folder(self) -> Path:
        """The private folder."""
        return self._kernels.folder

    def perform(self, task: object, *, seconds: float = 3600, signals: Sequence[signal.Signals] = ()) -> Any:
        """Have a run process perform a task; gives what its function returned, or `Killed` where the process was.

        Args:
            seconds: after these, and ten more, everything of the task is killed, unless it has been executed.
            signals: a list that the caller appends to. The first one is passed on, so that the notebook is saved as it
                is; ten seconds later, or at a second one, everything of the task is killed.

        Raises:
            RunbookError: ENGINE_FAILED where no process can be forked; else what the function raised.
            OSError: what the function raised, or the private folder cannot be written.
            PapermillExecutionError: likewise.
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
        """The error to raise where the engine failed, with the last words of its processes."""
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
    """The process ended before the task began, or found no kernel for it."""


class _RunProcess:
    """A process that performs one task after the other, and its keeper of kernels.

    Args:
        function: what it does with each.
        fork: from this process, which has a single thread; else one is started.

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
        """Whether it can take a further task. One that got a signal cannot: that might come late, and hit the next.

        Nor one without its keeper, or whose keeper has lost the server: it would clean up what a keeper leaves.
        """
        alone = self._kernels.process != self._server or wait_for_end(self._gone, 0)
        return not alone and not self._interrupted and self._process.poll() is None

    def perform(self, task: object, seconds: float, signals: Sequence[signal.Signals]) -> Any:
        """Give it a task, and wait for the answer, or for its end: then a `Killed`.

        Args:
            seconds: what the task may take. It keeps to that itself, unless it is stopped.

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
        wait_for_end(self._gone, _GRACE_SECONDS)  # else something of it might still write while it is told of
        if not accepted:
            raise _NotBegun
        first = signals[0] if signals else None
        return Killed(self._process.wait(), killed and first is None, first)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """It kills itself when nobody listens any more."""
        self._socket.close()
        self._process.wait()
        os.close(self._gone)


def _started(function: str, kernels: Kernels, caller: socket.socket, keeper: Keeper) -> subprocess.Popen[bytes]:
    descriptors = caller.fileno(), keeper.socket.fileno()
    return kernels.program("run_process", function, *map(str, descriptors), keep=descriptors)


def _forked(function: str, kernels: Kernels, caller: socket.socket, keeper: Keeper) -> ForkedProcess:
    from runbook_lib.engine import run_process  # what takes long to import

    return ForkedProcess(
        partial(run_process.perform_tasks, pkgutil.resolve_name(function), caller, keeper),
        kernels.log,
        keep=(caller.fileno(), keeper.socket.fileno()),
    )


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 20)
    except ConnectionResetError:  # it was killed with a task unread
        return b""
