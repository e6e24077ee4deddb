"""The run process: `python -m runbook_lib.engine.run_process FD KEEPER_FD`. Runs what it is ordered to, one by one.

It executes no cell: those run in kernels that the keeper forks. It knows the jobs it ran, so no kernel is forked of it.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import socket
import sys
from types import FrameType

from papermill.engines import papermill_engines

from runbook_lib.engine import protocol
from runbook_lib.engine.kernels import Keeper, NoKernel
from runbook_lib.engine.papermill_engine import ForkedKernel, ForkEngine, engine_for
from runbook_lib.engine.processes import beside, end_with, write_to
from runbook_lib.errors import RunbookError, unexpected
from runbook_lib.reports import html
from runbook_lib.reports.execute import Ending, Plan, execute
from runbook_lib.reports.job import Order
from runbook_lib.reports.produce import started, tell
from runbook_lib.reports.runrecord import Engine
from runbook_lib.reports.supervise import End, Interruptions, environment


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


def _perform(order: Order, caller: socket.socket, keeper: Keeper) -> bytes:
    """One run; gives the answer."""
    interruptions = _Interruptions()
    caller.sendall(protocol.ACCEPTED)
    engine = "papermill" if order.job.engine == "papermill" else _suits(order.job.source.content)
    write_to(order.folder / "papermill.log")

    def run(plan: Plan) -> End:
        try:
            if order.end is not None:
                return order.end
            if engine == "papermill":
                return started(order.job, plan, order.folder, interruptions)
            return _forked(order, plan, keeper, interruptions)
        finally:
            caller.sendall(protocol.EXECUTED)

    try:
        result = tell(order.job, run, folder=order.folder, clock=order.clock, begun=order.begun, engine=engine)
        return protocol.RESULT + protocol.whole(pickle.dumps(result))
    except NoKernel:
        return protocol.NO_KERNEL
    except (RunbookError, OSError) as error:  # it is raised at the caller
        return protocol.ERROR + protocol.whole(pickle.dumps(error))
    except Exception as error:  # noqa: BLE001 - likewise, and not every kind comes out of a pickle again
        return protocol.ERROR + protocol.whole(pickle.dumps(unexpected(error)))


def _suits(notebook: bytes) -> Engine:
    try:
        return engine_for(json.loads(notebook)["metadata"])
    except (ValueError, KeyError, TypeError, AttributeError):  # whoever reads it properly says what is wrong
        return "papermill"


def _forked(order: Order, plan: Plan, keeper: Keeper, interruptions: _Interruptions) -> End:
    """Execute in a kernel that is forked for it."""
    job, private = order.job, order.folder / "private"
    private.mkdir(mode=0o700, exist_ok=True)  # an attempt that found no kernel has made it
    given = os.environ if job.environ is None else job.environ
    environ = environment(given, job.run, private, order.folder, job.keep_out)
    log = order.folder / "papermill.log"
    forked = ForkedKernel(keeper, cwd=order.cwd, environ=environ, log=log)
    ending = None
    compiling = beside(html.exporter)  # what the page needs, while the kernel works
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
        compiling.join()
    first = interruptions.signals[0] if interruptions.signals else None
    late = first is signal.SIGALRM
    text = log.read_text(encoding="utf-8", errors="replace")
    return End(ending or Ending(), 0, late, None if late else first, text)


def _order(caller: socket.socket) -> Order | None:
    found = bytearray()
    while (content := protocol.content_in(found)) is None:
        more = caller.recv(1 << 20)
        if not more:
            return None
        found += more
    order: Order = pickle.loads(content)  # noqa: S301 - our own caller's
    return order


def work(caller: socket.socket, keeper: Keeper) -> None:
    """Until the caller's end is closed."""
    end_with(caller)
    papermill_engines.register(ForkEngine.name, ForkEngine)
    gc.freeze()
    while (order := _order(caller)) is not None:
        caller.sendall(_perform(order, caller, keeper))


def main() -> None:
    gc.collect()
    work(socket.socket(fileno=int(sys.argv[1])), Keeper(socket.socket(fileno=int(sys.argv[2]))))


if __name__ == "__main__":
    main()
