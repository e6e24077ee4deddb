"""The run process: `python -m runbook_lib.engine.run_process MODULE:FUNCTION FD KEEPER_FD`. Performs task after task.

Cells run in kernels that the keeper forks, not here. This process knows its tasks, so no kernel is forked from it.
"""

from __future__ import annotations

import gc
import pickle
import pkgutil
import socket
import sys
from collections.abc import Callable
from typing import Any

# before papermill is imported, and in this process only: jsonschema imports it to check a format that no schema of a
# notebook names, and compiling its grammar takes as long as a run
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

from papermill.engines import papermill_engines  # noqa: E402
from papermill.exceptions import PapermillExecutionError  # noqa: E402

from runbook_lib.engine import protocol  # noqa: E402
from runbook_lib.engine.kernels import Keeper, NoKernel  # noqa: E402
from runbook_lib.engine.papermill_engine import ForkEngine  # noqa: E402
from runbook_lib.engine.processes import end_with  # noqa: E402
from runbook_lib.engine.task_context import TaskContext  # noqa: E402
from runbook_lib.errors import RunbookError, unexpected  # noqa: E402


def _performed(perform: Callable[[Any, TaskContext], object], task: object, context: TaskContext) -> bytes:
    """Perform a task and return the answer to send."""
    try:
        return protocol.RESULT + protocol.framed(pickle.dumps(perform(task, context)))
    except NoKernel:
        return protocol.NO_KERNEL
    except (RunbookError, OSError, PapermillExecutionError) as error:  # the caller raises it
        return protocol.ERROR + protocol.framed(pickle.dumps(error))
    except Exception as error:  # noqa: BLE001 - likewise, but not every kind can be unpickled
        return protocol.ERROR + protocol.framed(pickle.dumps(unexpected(error)))


def _task(caller: socket.socket) -> bytes | None:
    """The next task; None if the caller's end is closed."""
    found = bytearray()
    while (content := protocol.content_in(found)) is None:
        more = caller.recv(1 << 20)
        if not more:
            return None
        found += more
    return content


def perform_tasks(perform: Callable[[Any, TaskContext], object], caller: socket.socket, keeper: Keeper) -> None:
    """Perform tasks until the caller's end is closed."""
    end_with(caller)
    papermill_engines.register(ForkEngine.name, ForkEngine)
    gc.freeze()
    while (content := _task(caller)) is not None:
        task = pickle.loads(content)  # noqa: S301 - our own caller's
        context = TaskContext(caller, keeper)
        caller.sendall(protocol.ACCEPTED)
        caller.sendall(_performed(perform, task, context))


def main() -> None:
    function, caller, keeper = sys.argv[1:]
    perform = pkgutil.resolve_name(function)
    gc.collect()
    perform_tasks(perform, socket.socket(fileno=int(caller)), Keeper(socket.socket(fileno=int(keeper))))


if __name__ == "__main__":
    main()
