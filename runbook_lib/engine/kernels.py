"""The handle of the server that forks kernels. Light to import: stock papermill imports every known engine."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runbook_lib import programs
from runbook_lib.engine import channel, protocol
from runbook_lib.errors import Reason, RunbookError

_LIBRARIES = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
"""Keeps numpy from starting threads at its import. Notebooks have their own environment."""


class NoKernel(Exception):
    """No kernel could be forked; nothing has been executed."""


class Kernels:
    """A process with everything imported, from which kernels are forked. Linux only.

    Args:
        folder: private. By default a new one, which the server removes when it ends, even if the caller was killed.
        preload: modules that notebooks import, imported once beforehand. They must start no thread and print nothing.
        users: whether kernels read the user's IPython configuration. Without it they start faster.
    """

    def __init__(self, folder: Path | None = None, *, preload: Sequence[str] = (), users: bool = False) -> None:
        self._own = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="runbook-")) if folder is None else folder.absolute()
        self._words = ("user's" if users else "own", *preload)
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._left = False

    @property
    def process(self) -> int | None:
        """The server's process id; None if it does not run."""
        server = self._server
        return None if server is None or server.poll() is not None else server.pid

    @property
    def log(self) -> Path:
        """The file to which the processes write their errors."""
        return self.folder / "server.log"

    def __enter__(self) -> Kernels:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server. Requests wait until its imports are done."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        remove = str(self.folder) if self._own else ""
        with theirs:
            descriptor = theirs.fileno()
            self._server = self.program("kernel_server", str(descriptor), remove, *self._words, keep=[descriptor])
        self._control = ours

    def program(self, name: str, *words: str, keep: Sequence[int]) -> subprocess.Popen[bytes]:
        """Start a program of this package, without variables of the caller's environment that a job must not see.

        Args:
            keep: descriptors that it inherits.
        """
        environ = programs.for_python(os.environ)
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.folder.mkdir(mode=0o700, exist_ok=True)  # a server that ended meanwhile has removed its own
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"runbook_lib.engine.{name}", *words],
                cwd="/",
                env={**environ, **_LIBRARIES, "IPYTHONDIR": str(self.folder / "ipython")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=keep,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the server and everything that it still runs."""
        with self._lock:
            self._left = True
            self._stop()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.wait()
        self._control = self._server = None

    def keeper(self, *held: int) -> Keeper:
        """A keeper, which forks kernels one after another.

        Args:
            held: descriptors that stay open until none of its kernels is left.

        Raises:
            RunbookError: ENGINE_FAILED.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            for _ in range(0 if self._left else 2):
                if self._control is not None:
                    try:
                        socket.send_fds(self._control, [protocol.KEEP], [theirs.fileno(), *held])
                    except OSError:  # the server was killed
                        self._stop()
                    else:
                        return Keeper(ours)
                self.start()
        ours.close()
        raise self.failed("The server does not stay alive.")

    def failed(self, what: str) -> RunbookError:
        """The error for a failed fork, with the last output of the processes."""
        said = ""
        with suppress(OSError):
            said = " " + self.log.read_text(encoding="utf-8", errors="replace").strip()[-300:]
        return RunbookError(Reason.ENGINE_FAILED, "The server was ended." if self._left else what + said)


class Keeper:
    """The other end of a keeper's socket. One kernel at a time."""

    def __init__(self, to: socket.socket) -> None:
        self.socket = to

    def kernel(self) -> tuple[socket.socket, int]:
        """A channel to a newly forked kernel, and the kernel's pidfd.

        Raises:
            NoKernel: the keeper is gone, or could not be forked.
        """
        ours, theirs = channel.pair()
        try:
            with theirs:
                socket.send_fds(self.socket, [protocol.KERNEL], [theirs.fileno()])
            started, handles, _, _ = socket.recv_fds(self.socket, 1, 1)
        except OSError:
            started, handles = b"", []
        if started != protocol.STARTED:
            ours.close()
            raise NoKernel
        return ours, handles[0]

    def wait(self) -> None:
        """Wait until nothing is left of the ended kernel and of what it started."""
        with suppress(OSError):
            self.socket.recv(1)

    def close(self) -> None:
        """End the keeper and everything that it runs."""
        self.socket.close()


def wait_for_end(held: int, seconds: float) -> bool:
    """Wait at most so long until nobody holds the other end of a pipe; returns whether nobody does."""
    poll = select.poll()
    poll.register(held, 0)
    return bool(poll.poll(1000 * seconds))


def send_signal(handle: int, number: signal.Signals) -> None:
    """Send a signal to a process by its pidfd, unless it has ended."""
    if sys.platform != "linux":
        raise NotImplementedError("Only Linux has pidfds.")
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)
