"""The caller's side: `ForkServer` runs jobs, the cells of each in a fork."""

from __future__ import annotations

import os
import pickle
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from runbook_lib.clock import Clock
from runbook_lib.engine import protocol
from runbook_lib.engine.kernels import Keeper, Kernels, wait_for_end
from runbook_lib.engine.processes import Forked
from runbook_lib.reports import bare
from runbook_lib.reports.job import Begun, Job, Order, Produced
from runbook_lib.reports.supervise import GRACE_SECONDS, POLL_SECONDS, End, Interruptions

_START_SECONDS = 60.0
"""How long a new process may take until it reads its first order."""


class ForkServer:
    """A server that has everything imported, from which the kernel of each job is forked. Linux only.

    Starting it costs the imports, each job a few milliseconds more than its cells. `run` may be called from many
    threads at once; each call has its processes. A job whose processes are killed costs no other one anything, and its
    record is made all the same. Leaving the block ends whatever still runs.

        with ForkServer(preload=["runbook_lib.widgets"]) as server:
            produced = server.run(job, clock=SystemClock())

    Args:
        folder: private; each run gets a folder in it while it lasts. Without one it makes its own, which the server
            removes when it ends, also when the caller was killed: what lies there was not searched for secrets.
        preload: modules that notebooks import, imported once beforehand. They must start no thread and print nothing.
        kernels: in place of `preload`, a server that runs already. The process that runs papermill is then not started
            but forked from this one, which must have a single thread: for one run, all is imported once, half of it
            here and half of it there.
    """

    def __init__(
        self, folder: Path | None = None, *, preload: Sequence[str] = (), kernels: Kernels | None = None
    ) -> None:
        self._open = ExitStack()
        self._forks = kernels is not None
        self._kernels = kernels or Kernels(folder, preload=preload)
        self._lock = threading.Lock()
        self._idle: list[_RunProcess] = []
        self._busy: set[_RunProcess] = set()
        self._left = False

    def __enter__(self) -> ForkServer:
        if not self._forks:
            self._open.enter_context(self._kernels)
        self._idle.append(_RunProcess(self._kernels, self._forks))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._left = True
            for busy in self._busy:
                busy.kill()
            idle, self._idle = self._idle, []
        self._open.close()
        for one in idle:
            one.end()

    @property
    def process(self) -> int | None:
        """The server's process id, None while there is none."""
        return self._kernels.process

    def run(
        self, job: Job, *, clock: Clock, interruptions: Interruptions | None = None, folder: Path | None = None
    ) -> Produced:
        """Execute a notebook and make the files that tell of it.

        Args:
            clock: dates the run; it is sent to the process that runs it.
            interruptions: signals that the caller collects. At the first one papermill is interrupted, so that it
                saves the notebook; after GRACE_SECONDS, or at a second one, everything of the run is killed.
            folder: private, for what the run writes, in place of the server's.

        Returns:
            The record and the files, for every run: also a failed, killed, interrupted or refused one.

        Raises:
            RunbookError: ENGINE_FAILED where no process can be forked.
            OSError: the private folder cannot be written.
        """
        if job.environ is None:
            job = replace(job, environ=dict(os.environ))
        # absolute: the processes work in another folder
        folder = Path(tempfile.mkdtemp(dir=folder.absolute() if folder else self._kernels.folder))
        try:
            order = Order(job, folder, Path.cwd(), clock, Begun.now(clock))
            answer = self._ask(order, interruptions or Interruptions())
            if isinstance(answer, End):  # it was killed; what it left is told of by another process
                answer = self._ask(replace(order, end=answer), Interruptions())
            if isinstance(answer, End):  # telling it kills whoever does: it is not executed again for that
                problem = self._kernels.failed(f"The process of the run ended twice: {answer.returncode}.")
                now = clock.now()
                return bare.told(job, problem, started=order.begun.at, finished=now, clock=clock.source, executed=True)
            return answer
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ask(self, order: Order, interruptions: Interruptions) -> Produced | End:
        """Raises RunbookError: ENGINE_FAILED."""
        for _ in range(2):
            process = self._taken()
            try:
                answer = process.perform(order, interruptions)
            finally:
                self._give_back(process)
            if answer is not None:
                return answer
        raise self._kernels.failed("The processes of a run do not stay alive.")

    def _taken(self) -> _RunProcess:
        with self._lock:
            process = self._idle.pop() if self._idle else None
            if process is None:
                process = _RunProcess(self._kernels, self._forks)
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


class _RunProcess:
    """A process that runs one job after the other, and its keeper of kernels.

    Args:
        fork: from this process, which has a single thread; else one is started.

    Raises:
        RunbookError: ENGINE_FAILED.
    """

    def __init__(self, kernels: Kernels, fork: bool) -> None:
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
        self._process = (_forked if fork else _started)(kernels, theirs, keeper)
        theirs.close()
        keeper.close()
        self._interrupted = False

    @property
    def usable(self) -> bool:
        """Whether it can take a further job. One that got a signal cannot: that might come late, and hit the next.

        Nor one without its keeper, or whose keeper has lost the server: it would clean up what a keeper leaves.
        """
        alone = self._kernels.process != self._server or wait_for_end(self._gone, 0)
        return not alone and not self._interrupted and self._process.poll() is None

    def perform(self, order: Order, interruptions: Interruptions) -> Produced | End | None:
        """Have a run done; None where it never began.

        Raises:
            RunbookError: what the process raised.
            OSError: likewise.
        """
        with suppress(BrokenPipeError):
            self._socket.sendall(protocol.whole(pickle.dumps(order)))
        return self._answer(order.job.deadline, interruptions)

    def _answer(self, deadline: int, interruptions: Interruptions) -> Produced | End | None:
        """Wait for what a run answers, and for its end if it does not.

        Args:
            deadline: seconds that its execution may take. It keeps to that itself, unless it is stopped.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        kill_at, told, killed = time.monotonic() + _START_SECONDS, 0, False
        found, accepted, executed = bytearray(), False, False
        while True:
            if poll.poll(1000 * POLL_SECONDS):
                more = _received(self._socket)
                if not more:
                    break
                found += more
                if not accepted:
                    accepted, kill_at = True, time.monotonic() + deadline + GRACE_SECONDS
                    del found[0]
                if not executed and found.startswith(protocol.EXECUTED):
                    executed = True
                    del found[0]
                if found == protocol.NO_KERNEL or protocol.content_in(found, 1) is not None:
                    return self._end_of(found)
            if executed or killed:
                continue
            if accepted and len(interruptions.signals) > told:
                if told == 0:
                    self._interrupted = True
                    self._process.send_signal(interruptions.signals[0])
                    kill_at = min(kill_at, time.monotonic() + GRACE_SECONDS)
                told = len(interruptions.signals)
            if told > 1 or time.monotonic() > kill_at:
                self.kill()
                killed = True
        self.kill()
        wait_for_end(self._gone, GRACE_SECONDS)  # else something of it might still write while it is told of
        if not accepted:
            return None
        first = interruptions.signals[0] if interruptions.signals else None
        return End(None, self._process.wait(), killed and first is None, first, "")

    def _end_of(self, found: bytearray) -> Produced | None:
        content = protocol.content_in(found, 1)
        if content is None:
            return None
        answer = pickle.loads(content)  # noqa: S301 - our own process's
        if found.startswith(protocol.ERROR):
            raise answer
        produced: Produced = answer
        return produced

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """It kills itself when nobody listens any more."""
        self._socket.close()
        self._process.wait()
        os.close(self._gone)


def _started(kernels: Kernels, caller: socket.socket, keeper: Keeper) -> subprocess.Popen[bytes]:
    descriptors = caller.fileno(), keeper.socket.fileno()
    return kernels.program("run_process", *map(str, descriptors), keep=descriptors)


def _forked(kernels: Kernels, caller: socket.socket, keeper: Keeper) -> Forked:
    from runbook_lib.engine import run_process  # what takes long to import

    return Forked(
        partial(run_process.work, caller, keeper), kernels.log, keep=(caller.fileno(), keeper.socket.fileno())
    )


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 20)
    except ConnectionResetError:  # it was killed with an order unread
        return b""
