"""How a process of the fork engine deals with other processes. Linux only."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path


def end_with(caller: socket.socket) -> None:
    """Kill this process when the caller is gone: a run that nobody records must not continue to change things."""
    poll = select.poll()
    poll.register(caller, 0)  # poll always reports POLLHUP

    def watch() -> None:
        poll.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    in_background(watch)


def in_background(work: Callable[[], object]) -> threading.Thread:
    """Do it in a thread without signals: they must wake the main thread."""
    thread = threading.Thread(target=work, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # a thread inherits the mask
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


class ForkedProcess:
    """A forked child with the methods of `subprocess.Popen` that we use, a new session and none of our descriptors.

    Args:
        work: called in the child, which then ends.
        log: the file for its output.
        keep: descriptors that it keeps.
    """

    def __init__(self, work: Callable[[], None], log: Path, keep: Collection[int]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.setsid()
                _settle(log, keep)
                work()
                code = 0
            except BaseException:  # noqa: BLE001 - there is no caller to raise it to
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)

    def poll(self) -> int | None:
        return self._waited(os.WNOHANG)

    def wait(self) -> int:
        code = self._waited(0)
        assert code is not None  # noqa: S101 - see waitpid(2)
        return code

    def _waited(self, how: int) -> int | None:
        if self.returncode is None:
            process, status = os.waitpid(self.pid, how)
            if process:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def write_to(log: Path) -> None:
    """Let the file descriptors 1 and 2 append to a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _settle(log: Path, keep: Collection[int]) -> None:
    """Use /dev/null and the log as standard streams, and close all descriptors but those to keep."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    write_to(log)
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if descriptor > 2 and descriptor not in keep:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
