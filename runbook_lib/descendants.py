"""The descendants of a process: adopting those whose parent ended, and ending them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

KEPT = "runbook_lib.left_running"
"""The module whose process starts a hook. `end_children` spares it and its children; the module says why."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none escapes. Linux only."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def end_children(spare: Collection[int] = ()) -> None:
    """Kill this process's children, and the children they leave, until only those to `spare` are left.

    A child of another user (`sudo`) stays: only that user or root may end it. So does the process that started a hook:
    what the hook left running lives on.
    """
    beyond: set[int] = set(spare)
    while found := [child for child in children() if child not in beyond]:
        for child in found:
            if _keeps_a_hook(child):
                beyond.add(child)
                continue
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError:
                beyond.add(child)
        for child in set(found) - beyond:
            try:
                os.waitpid(child, 0)
            except ChildProcessError:  # it is another thread's child, or another place waits for it
                time.sleep(0.001)


def children() -> list[int]:
    """This process's direct children, including zombies."""
    try:
        return list(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()))
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        import psutil

        return [child.pid for child in psutil.Process().children()]


def _keeps_a_hook(process: int) -> bool:
    try:
        return KEPT.encode() in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:4]
    except OSError:
        return False
