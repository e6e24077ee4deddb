"""The kernel of a run: ipykernel's application in a forked process, its sockets replaced by one channel.

Everything else is stock: configuration, shell, streams, display, comms, the capture of file descriptors 1 and 2.
"""

from __future__ import annotations

import asyncio
import atexit
import heapq
import itertools
import json
import os
import queue
import random
import select
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zmq
from ipykernel.iostream import BackgroundSocket, IOPubThread
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.utils import _async_in_context
from IPython.core.profiledir import ProfileDir
from jupyter_client.session import Session
from tornado.ioloop import IOLoop
from traitlets.config.application import catch_config_error

from runbook_lib.engine import channel
from runbook_lib.engine.processes import write_to

_ORPHAN_SECONDS = 1.0
"""How often a busy kernel checks whether anybody still listens."""


PRELOAD = (
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "ipykernel.debugger",
    "tornado.platform.asyncio",
)
"""The modules that every kernel imports when it starts."""


class Stream:
    """One channel of the socket, with the methods of a ZeroMQ stream that kernel and session use."""

    def __init__(self, to: socket.socket, name: bytes) -> None:
        self._to, self._name = to, name

    def send_multipart(self, frames: list[bytes], **_: object) -> None:
        channel.send_message(self._to, self._name, frames)

    def flush(self, *_: object) -> None:
        """Does nothing: messages are sent at once."""


class Publisher(IOPubThread):
    """ipykernel's output thread without ZeroMQ: sends outputs, and flushes printed text every 0.2 s."""

    _listener: socket.socket

    def __init__(self, session: Session) -> None:
        self.session = session
        self.background_socket = BackgroundSocket(self)  # type: ignore[no-untyped-call]
        self.io_loop: Any = self
        self._waiting: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def begin(self, to: socket.socket) -> None:
        """Publish to this socket, from a thread of this process."""
        self.socket = Stream(to, channel.IOPUB)
        self._listener = to
        self._process = os.getpid()
        self.thread = threading.Thread(target=self._work, name="IOPub", daemon=True)
        self.thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Send what is waiting, and end. A forked child has no thread to end."""
        if self._process == os.getpid() and self.thread.is_alive():
            self._waiting.put(self._end)
            self.thread.join(timeout=5)

    def schedule(self, f: Callable[[], object]) -> None:
        if self._process == os.getpid() and self.thread.is_alive():
            self._waiting.put(f)
        else:
            f()

    def call_later(self, delay: float, f: Callable[[], object]) -> None:
        """As `call_later` of an event loop; called in the thread."""
        heapq.heappush(self._later, (time.monotonic() + delay, next(self._numbers), f))

    def _really_send(self, msg: list[bytes], *_: object, **__: object) -> None:
        try:
            channel.send_message(self._listener, channel.IOPUB, msg)
        except OSError:
            _nobody_listens(self._process)

    def _end(self) -> None:
        raise SystemExit

    def _work(self) -> None:
        hang_up = select.poll()
        hang_up.register(self._listener, 0)  # poll always reports POLLHUP
        while True:
            due = self._later[0][0] - time.monotonic() if self._later else _ORPHAN_SECONDS
            try:
                self._waiting.get(timeout=min(max(due, 0.0), _ORPHAN_SECONDS))()
            except queue.Empty:
                if hang_up.poll(0):
                    _nobody_listens(self._process)
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()


def _nobody_listens(process: int) -> None:
    """End the kernel: a run that nobody archives must not continue to change things."""
    if os.getpid() == process:
        os.kill(process, signal.SIGKILL)


class _MainThread:
    """Tells ipykernel, in place of the thread that reads its sockets, that a cell runs in the main thread."""

    def __init__(self) -> None:
        self.parent_thread = threading.main_thread()


class ChannelKernel(IPythonKernel):
    """IPython's kernel, which gets its messages one after another."""

    shell_stream: Any = None
    _supports_kernel_subshells = False

    def _abort_queues(self, subshell_id: str | None = None) -> None:
        """Does nothing: no message is queued, since the next cell is sent after this one has answered."""


class ChannelKernelApp(IPKernelApp):
    """ipykernel's application without connection file, sockets, heartbeat and parent poller, set up in two parts."""

    kernel_class: Any = ChannelKernel
    name = "ipython-kernel"

    @catch_config_error
    def prepare(self) -> None:
        """The part of `initialize` that is the same for every kernel, to do before the fork. Starts no thread."""
        super(IPKernelApp, self).initialize(["--HistoryManager.hist_file=:memory:"])  # type: ignore[no-untyped-call]
        self.init_pdb()  # type: ignore[no-untyped-call]
        self.session = Session(parent=self, key=channel.KEY)
        self.configure_tornado_logger()  # type: ignore[no-untyped-call]
        self.iopub_thread = Publisher(self.session)
        self.iopub_socket = self.iopub_thread.background_socket
        self.kernel = self.kernel_class.instance(
            parent=self,
            session=self.session,
            shell_channel_thread=_MainThread(),
            iopub_thread=self.iopub_thread,
            iopub_socket=self.iopub_socket,
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=self.user_ns,
        )
        self.init_shell()  # type: ignore[no-untyped-call]

    def begin(self, to: socket.socket) -> None:
        """The rest, in the kernel's process: everything that depends on the process, folder or environment."""
        self.session.session, self.session.pid = str(uuid.uuid4()), os.getpid()
        self.iopub_thread.begin(to)
        self.kernel.shell_stream = Stream(to, channel.SHELL)
        self.init_blackhole()  # type: ignore[no-untyped-call]
        self.init_io()  # type: ignore[no-untyped-call]
        self.displayhook.get_execution_count = lambda: self.kernel.execution_count
        self.init_signal()  # type: ignore[no-untyped-call]
        shell = self.kernel.shell
        shell.starting_dir = str(Path.cwd())
        shell.history_manager.dir_hist[:] = [Path.cwd()]
        self.init_path()  # type: ignore[no-untyped-call]
        self.init_gui_pylab()  # type: ignore[no-untyped-call]
        self.init_extensions()  # type: ignore[no-untyped-call]
        self.init_code()  # type: ignore[no-untyped-call]
        sys.stdout.flush()
        sys.stderr.flush()

    def move(self, folder: Path) -> None:
        """Use another IPython folder, in place of the one that it was prepared with."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ipython_dir = str(folder)
        profile = ProfileDir.create_profile_dir_by_name(self.ipython_dir)  # type: ignore[no-untyped-call]
        self.profile_dir = self.kernel.profile_dir = self.kernel.shell.profile_dir = profile
        self.kernel.shell.ipython_dir = self.ipython_dir


def prepared() -> ChannelKernelApp:
    """The prepared kernel application for this process, or for each process forked from it."""
    app = ChannelKernelApp.instance()
    app.prepare()
    return app


def serve_kernel(to: socket.socket, app: ChannelKernelApp | None) -> None:
    """Be the kernel at this end of a channel until the other end closes it, then end this freshly forked process.

    Args:
        app: the application prepared before the fork; None to prepare one that reads this user's configuration.

    The first message sets folder and environment: one JSON frame with `cwd`, `environ`, `argv` and `log`.
    """
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assembler = channel.Assembler()
        while (found := assembler.feed(_packet(to))) is None:
            pass
        _settle(**json.loads(found[1][0]))
        if app is None:
            app = prepared()
        else:
            app.move(Path(os.environ["IPYTHONDIR"]))
        app.begin(to)
        asyncio.run(_answer(app.kernel, to, assembler))
        code = 0
    except Exception:  # noqa: BLE001 - there is no caller to raise it to
        traceback.print_exc(file=sys.__stderr__)
    finally:
        # as any process ends, but without tearing down what it only inherited, which takes time
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        os._exit(code)


def _packet(to: socket.socket) -> bytes:
    packet = channel.receive(to)
    if not packet:
        os._exit(0)
    return packet


def _settle(cwd: str, environ: dict[str, str], argv: list[str], log: str | None) -> None:
    """Become a process of this run: set its folder, its environment and a new random seed."""
    if log is not None:
        write_to(Path(log))
    os.chdir(cwd)
    for before, searched in enumerate(_searched(environ)):
        sys.path.insert(before, searched)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = argv
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "matplotlib" in sys.modules and "MPLBACKEND" in environ:
        sys.modules["matplotlib"].rcParams["backend"] = environ["MPLBACKEND"]


def _searched(environ: dict[str, str]) -> list[str]:
    """The run's PYTHONPATH, which replaces the server's."""
    for entry in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if entry in sys.path:
            sys.path.remove(entry)
    return list(filter(None, environ.get("PYTHONPATH", "").split(os.pathsep)))


async def _answer(kernel: ChannelKernel, to: socket.socket, assembler: channel.Assembler) -> None:
    kernel.io_loop = IOLoop.current()
    handle = _async_in_context(partial(kernel.shell_main, None))
    tasks: set[asyncio.Task[None]] = set()
    while True:
        await _readable(to)
        packet = channel.receive(to)
        if not packet:
            return
        found = assembler.feed(packet)
        if found is not None:
            # a separate task: while an asynchronous cell waits, a widget's message may come
            task = asyncio.ensure_future(handle([zmq.Frame(frame) for frame in found[1]]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def _readable(source: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(source, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(source)
