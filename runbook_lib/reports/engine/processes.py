"""What a process of the fork engine does with other processes. Linux only."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends: none gets away, whatever it does to itself."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def end_with(caller: socket.socket) -> None:
    """Be killed when the caller is gone, however it went: what nobody will tell of should not go on changing things."""
    poll = select.poll()
    poll.register(caller, 0)  # POLLHUP is always told

    def watch() -> None:
        poll.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    # signals are for the main thread, which they wake; a thread has the mask of whoever starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Thread(target=watch, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_children(spare: Collection[int] = ()) -> None:
    """Kill this process's children, and the children that they leave, until only those to `spare` are left.

    One that runs as another user, by `sudo`, is left alone: only its user, or root, may end it.
    """
    beyond: set[int] = set(spare)
    while found := [child for child in _children() if child not in beyond]:
        for child in found:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError:
                beyond.add(child)
        for child in set(found) - beyond:
            try:
                os.waitpid(child, 0)
            except ChildProcessError:  # its parent was another thread's, or it is waited for elsewhere
                time.sleep(0.001)


def _children() -> list[int]:
    """This process's direct children, zombies included."""
    try:
        return list(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()))
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        import psutil

        return [child.pid for child in psutil.Process().children()]
