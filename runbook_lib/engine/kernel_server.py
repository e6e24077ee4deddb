"""The server: `python -m runbook_lib.engine.kernel_server FD FOLDER IPYTHON [MODULE…]`. Imports, then only forks.

FD is a socket. Each request on it brings another socket, for which a keeper is forked, which forks kernels one after
another. Neither reads from a kernel's channel, so no content of a job, and no secret, comes here. When the other end of
FD closes, everything forked is killed, and FOLDER is removed, unless it is an empty string.

With IPYTHON "own", kernels do not read the user's IPython configuration, so that they can be prepared before the fork.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

from runbook_lib.descendants import adopt_orphans, end_children
from runbook_lib.engine import kernel, protocol

_ENDINGS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Server:
    """Forks keepers.

    Args:
        control: where requests come from.
        prepared: the kernels' application.
    """

    def __init__(self, control: socket.socket, prepared: kernel.ChannelKernelApp | None) -> None:
        self._control, self._prepared = control, prepared
        self._keepers: set[int] = set()

    def work(self) -> None:
        """Serve requests until the other end is closed."""
        adopt_orphans()
        signal.signal(signal.SIGCHLD, self._reap)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides what an interruption means
        while True:
            request, descriptors, _, _ = socket.recv_fds(self._control, 1, 2)
            if not request:
                break
            asked, *held = descriptors
            with socket.socket(fileno=asked) as caller:
                self._fork(caller, held)
            for descriptor in held:
                os.close(descriptor)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        end_children()

    def _fork(self, caller: socket.socket, held: list[int]) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        process = os.fork()
        if process == 0:
            self._control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
            code = 1
            try:
                keep_kernels(caller, held, self._prepared)
                code = 0
            finally:
                os._exit(code)
        self._keepers.add(process)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)

    def _reap(self, number: int, frame: FrameType | None) -> None:
        """Forget keepers that have ended. A killed keeper leaves its children to us, so we end them."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                process, status = found
                if process in self._keepers:
                    self._keepers.discard(process)
                    if status != 0:
                        end_children(spare=self._keepers)


def keep_kernels(caller: socket.socket, held: list[int], prepared: kernel.ChannelKernelApp | None) -> None:
    """Fork a kernel on each request, and end everything that it leaves before the next one or at the caller's end.

    Args:
        caller: where requests come from.
        held: descriptors that stay open until none of these processes is left.
        prepared: the kernels' application.
    """
    if sys.platform != "linux":
        raise NotImplementedError("Only Linux has pidfds.")
    adopt_orphans()
    while True:
        request, descriptors, _, _ = socket.recv_fds(caller, 1, 1)
        if not request:
            return
        with socket.socket(fileno=descriptors[0]) as to:
            process = os.fork()
            if process == 0:
                for descriptor in held:
                    os.close(descriptor)
                caller.close()
                kernel.serve_kernel(to, prepared)
        handle = os.pidfd_open(process)
        with suppress(OSError):  # the caller may be gone
            socket.send_fds(caller, [protocol.STARTED], [handle])
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.register(caller, 0)  # poll always reports POLLHUP
        poll.poll()
        os.close(handle)
        end_children()
        with suppress(OSError):
            caller.send(protocol.GONE)


def main() -> None:
    gc.disable()  # nothing is freed during the imports
    # like `python -P`, but for this process only: forked kernels, and what they start, belong to a notebook
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry) != Path.cwd()]
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in (*kernel.PRELOAD, *sys.argv[4:]):
        importlib.import_module(name)
    prepared = kernel.prepared() if sys.argv[3] == "own" else None
    if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        sys.exit("A preloaded module starts threads: " + " ".join(sys.argv[4:]))
    gc.collect()
    gc.freeze()
    gc.enable()
    Server(control, prepared).work()
    if sys.argv[2]:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
    os._exit(0)  # tearing down the imports would take longer than many runs


if __name__ == "__main__":
    main()
