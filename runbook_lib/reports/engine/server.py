"""The server: `python -m runbook_lib.reports.engine.server FD FOLDER [MODULE…]`. Imports, and then only forks.

FD is a socket on which each request is one byte and a socket of its own: `r` forks a run, `k` a kernel. The server
never reads from those sockets: what is in a job, its secrets too, is only ever in the process forked for it. When the
other end of FD is closed, everything that it forked is killed, and FOLDER removed, unless that is empty.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from papermill.engines import papermill_engines

from runbook_lib.reports import html
from runbook_lib.reports.engine import channel, kernel, protocol
from runbook_lib.reports.engine.client import ForkedKernel, ForkEngine, engine_for
from runbook_lib.reports.engine.processes import adopt_orphans, end_children, end_with
from runbook_lib.reports.engine.rehearsal import rehearse
from runbook_lib.reports.execute import Ending, Plan, execute
from runbook_lib.reports.job import Order
from runbook_lib.reports.produce import started, tell
from runbook_lib.reports.runrecord import Engine
from runbook_lib.reports.supervise import End, Interruptions, environment

_ENDINGS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Server:
    """Forks on request.

    Args:
        control: where requests come from.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._forked: dict[int, socket.socket] = {}

    def work(self) -> None:
        """Until the other end is closed."""
        adopt_orphans()
        signal.signal(signal.SIGCHLD, self._reap)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides what an interruption means
        while True:
            request, (descriptor, *_), _, _ = _request(self._control)
            if not request:
                break
            with socket.socket(fileno=descriptor) as theirs:
                self._fork(_run if request == protocol.RUN else _keep_kernel, theirs)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        end_children()

    def _fork(self, child: Callable[[socket.socket], None], theirs: socket.socket) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        process = os.fork()
        if process == 0:
            self._control.close()
            for other in self._forked.values():
                other.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
            code = 1
            try:
                child(theirs)
                code = 0
            finally:
                os._exit(code)
        self._forked[process] = theirs.dup()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)

    def _reap(self, number: int, frame: FrameType | None) -> None:
        """Forget who has ended. One that was killed leaves children to us: they end, and its caller is told."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                process, status = found
                theirs = self._forked.pop(process, None)
                if theirs is None:
                    continue
                with theirs, suppress(OSError):
                    if status != 0:
                        end_children(spare=self._forked)
                        theirs.setblocking(False)
                        theirs.send(protocol.DIED + protocol.STATUS.pack(status))


def _request(control: socket.socket) -> tuple[bytes, list[int], int, object]:
    request, descriptors, flags, address = socket.recv_fds(control, 1, 1)
    return request, descriptors or [-1], flags, address


def _keep_kernel(theirs: socket.socket) -> None:
    """For papermill in another process: a kernel at the end of `theirs`, and the end of what it leaves behind."""
    adopt_orphans()
    process = _fork_kernel(theirs)
    theirs.close()
    os.waitpid(process, 0)
    end_children()


def _fork_kernel(to: socket.socket, *close: socket.socket) -> int:
    process = os.fork()
    if process == 0:
        for one in close:
            one.close()
        kernel.serve(to)
    return process


def _run(theirs: socket.socket) -> None:
    """One run, from its order to its result."""
    adopt_orphans()
    os.setsid()
    ours, kernels = channel.pair()
    # forked before the order is read: what is in it, or is looked up for it, is not in the kernel's memory
    _fork_kernel(kernels, theirs, ours)
    kernels.close()
    interruptions = _Interruptions()
    theirs.sendall(protocol.STATUS.pack(os.getpid()))
    with theirs.makefile("rb") as source:
        order: Order = pickle.load(source)  # noqa: S301 - our own caller's
    end_with(theirs)
    engine = "papermill" if order.job.engine == "papermill" else _suits(order.job.source.content)
    log = os.open(order.folder / "papermill.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)

    def run(plan: Plan) -> End:
        try:
            if order.end is not None:
                return order.end
            if engine == "papermill":
                return started(order.job, plan, order.folder, interruptions)
            return _forked(order, plan, ours, interruptions)
        finally:
            ours.close()
            end_children()
            theirs.sendall(protocol.EXECUTED)

    try:
        result = tell(
            order.job,
            run,
            folder=order.folder,
            clock=order.clock,
            begun=order.begun,
            engine=engine,
        )
        answer = protocol.answer(protocol.RESULT, pickle.dumps(result))
    except Exception as error:  # noqa: BLE001 - it is raised at the caller
        answer = protocol.answer(protocol.ERROR, pickle.dumps(error))
    theirs.sendall(answer)


def _suits(notebook: bytes) -> Engine:
    try:
        return engine_for(json.loads(notebook)["metadata"])
    except (ValueError, KeyError, TypeError, AttributeError):  # whoever reads it properly says what is wrong
        return "papermill"


class _Interruptions(Interruptions):
    """The signals that the caller passes on, and the deadline's. The first one interrupts papermill."""

    def __init__(self) -> None:
        super().__init__()
        self.executing = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        super()._note(number, frame)
        if self.executing:
            self.executing = False
            raise KeyboardInterrupt


def _forked(order: Order, plan: Plan, to: socket.socket, interruptions: _Interruptions) -> End:
    """Execute in the kernel that was forked with this process."""
    job, private = order.job, order.folder / "private"
    private.mkdir(mode=0o700)
    environ = environment(os.environ if job.environ is None else job.environ, job.run, private, order.folder)
    log = order.folder / "papermill.log"
    forked = ForkedKernel(to, cwd=order.cwd, environ=environ, log=log)
    ending = None
    try:
        interruptions.executing = True
        signal.setitimer(signal.ITIMER_REAL, job.deadline)
        if not interruptions.signals:
            ending = execute(plan, engine_name=ForkEngine.name, kernel=forked)
    except BaseException as error:  # noqa: BLE001 - papermill's word is the record's
        ending = Ending(exception=type(error).__name__, message=str(error))
    finally:
        interruptions.executing = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        forked.shutdown_kernel()
    first = interruptions.signals[0] if interruptions.signals else None
    late = first is signal.SIGALRM
    text = log.read_text(encoding="utf-8", errors="replace")
    return End(ending or Ending(), 0, late, None if late else first, text)


def main() -> None:
    # like `python -P`, but for this process only: what it forks, and what that starts, is a notebook's
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry) != Path.cwd()]
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in (*kernel.PRELOAD, *sys.argv[3:]):
        importlib.import_module(name)
    papermill_engines.register(ForkEngine.name, ForkEngine)
    html.exporter()
    if sys.argv[3:]:  # for many runs; a single one does at once what it needs
        rehearse()
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        sys.exit("A module that is imported beforehand starts threads: " + " ".join(sys.argv[3:]))
    gc.collect()
    gc.freeze()
    Server(control).work()
    if sys.argv[2]:
        shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
