"""The caller's side of the server: `ForkServer` runs jobs, each in a fork."""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock
from runbook_lib.errors import RunbookError
from runbook_lib.reports.engine import protocol
from runbook_lib.reports.job import Begun, Job, Order, Produced
from runbook_lib.reports.supervise import GRACE_SECONDS, POLL_SECONDS, End, Interruptions

_LIBRARIES = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
"""So that importing numpy starts no threads. A notebook's environment is its own."""

_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_KEPT_PREFIXES = ("LC_", "PYTHON", "CONDA_", "XDG_", "MPL")


class ForkServer:
    """A process that has everything imported and is forked for each job. Linux only.

    Starting it costs the imports, each job a few milliseconds more than its cells. `run` may be called from many
    threads at once; each call has its processes. A job whose processes are killed costs no other one anything, and its
    record is made all the same. Leaving the block ends whatever still runs.

        with ForkServer(preload=["runbook_lib.widgets"]) as server:
            produced = server.run(job, clock=SystemClock())

    Args:
        folder: private; each run gets a folder in it while it lasts. Without one it makes its own, which the server
            removes when it ends, also when the caller was killed: what lies there was not searched for secrets.
        preload: modules that notebooks import, imported once beforehand. They must start no thread and print nothing.
    """

    def __init__(self, folder: Path | None = None, *, preload: Sequence[str] = ()) -> None:
        self._own = folder is None
        self._folder = Path(tempfile.mkdtemp(prefix="runbook-")) if folder is None else folder.absolute()
        self._preload = tuple(preload)
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._left = False

    def __enter__(self) -> ForkServer:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._left = True
            self._stop()
        if self._own:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def process(self) -> int | None:
        """The server's process id, None while there is none."""
        return None if self._server is None else self._server.pid

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
        # absolute: the server works in another folder
        folder = Path(tempfile.mkdtemp(dir=folder.absolute() if folder else self._folder))
        try:
            order = Order(job, folder, Path.cwd(), clock, Begun.now(clock))
            answer = self._ask(order, interruptions or Interruptions())
            if isinstance(answer, End):  # it was killed; what it left is told of by another process
                answer = self._ask(replace(order, end=answer), Interruptions())
            if isinstance(answer, End):
                raise RunbookError(
                    Reason.ENGINE_FAILED, f"The process of the run ended twice: {answer.returncode}.{self._said()}"
                )
            return answer
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def connect(self) -> socket.socket:
        """A channel to a newly forked kernel, for papermill in this process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._request(protocol.KERNEL, theirs)
        return ours

    def _ask(self, order: Order, interruptions: Interruptions) -> Produced | End:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._request(protocol.RUN, theirs)
            head = _read(ours, protocol.STATUS.size)
            if len(head) < protocol.STATUS.size:
                return End(None, -signal.SIGKILL, False, None, "")
            try:
                # it waits for the order, so its number is still its own
                handle = os.pidfd_open(protocol.STATUS.unpack(head)[0])
            except ProcessLookupError:
                return End(None, -signal.SIGKILL, False, None, "")
            try:
                with suppress(BrokenPipeError):
                    ours.sendall(pickle.dumps(order))
                    ours.shutdown(socket.SHUT_WR)
                return _answer(ours, handle, order.job.deadline, interruptions)
            finally:
                os.close(handle)

    def _request(self, what: bytes, theirs: socket.socket) -> None:
        with self._lock:
            for _ in range(0 if self._left else 2):
                if self._control is not None:
                    try:
                        socket.send_fds(self._control, [what], [theirs.fileno()])
                    except OSError:  # somebody killed it
                        self._stop()
                    else:
                        return
                self._start()
        raise RunbookError(
            Reason.ENGINE_FAILED,
            "The server was ended." if self._left else f"The server does not stay alive.{self._said()}",
        )

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {
            name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
        }
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self._folder.mkdir(mode=0o700, exist_ok=True)  # a server that was ended in between has removed its own
        remove = str(self._folder) if self._own else ""
        command = [sys.executable, "-m", "runbook_lib.reports.engine.server", str(theirs.fileno()), remove]
        with theirs, (self._folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                [*command, *self._preload],
                cwd="/",
                env={**environ, **_LIBRARIES, "IPYTHONDIR": str(self._folder / "ipython")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control = ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.wait()
        self._control = self._server = None

    def _said(self) -> str:
        with suppress(OSError):
            return " " + (self._folder / "server.log").read_text(encoding="utf-8", errors="replace").strip()[-300:]
        return ""


@contextmanager
def server_where_possible() -> Iterator[ForkServer | None]:
    """A server for one run, started before the rest that the run needs is imported; None where there can be none."""
    if sys.platform != "linux":
        yield None
        return
    with ForkServer() as server:
        yield server


def _read(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := source.recv(size - len(found))):
        found += more
    return found


def _answer(source: socket.socket, process: int, deadline: int, interruptions: Interruptions) -> Produced | End:
    """Wait for what a run answers, and for its end if it does not.

    Args:
        process: its pidfd.
        deadline: seconds that its execution may take. It keeps to that itself, unless it is stopped.
    """
    poll = select.poll()
    poll.register(source, select.POLLIN)
    kill_at, told, killed = time.monotonic() + deadline + GRACE_SECONDS, 0, False
    found, executed = bytearray(), False
    while True:
        if poll.poll(1000 * POLL_SECONDS):
            more = source.recv(1 << 20)
            if not more:
                break
            found += more
            if not executed and found.startswith(protocol.EXECUTED):
                executed = True
                del found[0]
        if executed or killed:
            continue
        if len(interruptions.signals) > told:
            if told == 0:
                _send(process, interruptions.signals[0])
                kill_at = min(kill_at, time.monotonic() + GRACE_SECONDS)
            told = len(interruptions.signals)
        if told > 1 or time.monotonic() > kill_at:
            _send(process, signal.SIGKILL)
            killed = True
    late = killed and not interruptions.signals
    answer = protocol.answer_in(found)
    if answer is not None and found.startswith(protocol.ERROR):
        raise pickle.loads(answer)  # noqa: S301 - our own process's
    if answer is not None:
        produced: Produced = pickle.loads(answer)  # noqa: S301 - our own process's
        return produced
    status = protocol.STATUS.unpack(found[1:])[0] if found.startswith(protocol.DIED) else signal.SIGKILL
    first = interruptions.signals[0] if interruptions.signals else None
    return End(None, os.waitstatus_to_exitcode(status), late, first, "")


def _send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)
