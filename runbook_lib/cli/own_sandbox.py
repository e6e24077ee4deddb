"""The sandbox that a command starts for itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook_lib import programs
from runbook_lib.sandbox import control


@contextmanager
def own_sandbox(state: Path) -> Iterator[dict[str, str]]:
    """A sandbox that runs while the block does; gives the environment that points to it."""
    was_running = control.is_running(state)
    env = control.start(state)
    listed = programs.run_program("sh", ["-c", 'set -a; . "$1"; env -0', "sh", str(env)], seconds=10).stdout.decode()
    ours = dict(line.split("=", 1) for line in listed.split("\0") if line.startswith("DIGICERT_ONE_"))
    try:
        yield {**os.environ, **ours}
    finally:
        if not was_running:
            control.stop(state)
