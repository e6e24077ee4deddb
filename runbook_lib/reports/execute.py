"""The child process of a run: stock papermill, told to talk to the kernel over IPC.

`python -m runbook_lib.reports.execute PLAN.json`. papermill's own command line has no option for the kernel's
transport, and ipykernel 7.3 and later warns about every TCP kernel: code and outputs would pass a loopback port in
plain text. Over IPC they pass sockets in a private folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class ExecutionPlan(BaseModel):
    """What the child does. `cell_timeout` in seconds; `ending` is where it writes an `Ending`, if it lives to."""

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    cell_timeout: int
    ending: Path


class Ending(BaseModel):
    """How papermill ended: `exception` is the class's name, empty where it raised nothing."""

    exception: str = ""
    message: str = ""


class NotSaved(Exception):
    """The executed notebook could not be written: from here on nobody knows what ran."""


def _end_with_parent() -> None:
    """Interrupt papermill when the runner is gone: what nobody archives should not go on changing things."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


@cache
def _write_whole_files(folder: Path) -> None:
    """Have papermill save by renaming there: however a run is killed, what is found afterwards is a whole notebook."""
    from papermill.iorw import LocalHandler, papermill_io

    class WholeFiles(LocalHandler):
        def write(self, buf: str, path: str) -> None:
            part = Path(f"{path}.part")
            try:
                super().write(buf, str(part))  # type: ignore[no-untyped-call]
                part.replace(path)
            except OSError as error:
                with suppress(OSError):
                    part.unlink()  # its space is needed to say so
                raise NotSaved(error.strerror or str(error)) from error

    papermill_io.register(str(folder), WholeFiles())  # type: ignore[no-untyped-call]


REPLY = "reply"
"""In a code cell's papermill metadata while a run lasts: what the kernel answered. papermill writes them anew."""

_MOST = 2000
"""So many characters of an exception's text are kept: some carry the whole data that they could not handle."""


def note_reply(*, cell: Any, cell_index: int, execute_reply: Mapping[str, Any] | None) -> None:
    """nbclient's hook for each cell that the kernel answered for, allowed errors included: keep what it answered.

    IPython shows no error output for an ExceptionGroup, a UsageError or a custom handler; its reply names them all.
    """
    if execute_reply is not None:
        answer = execute_reply["content"]
        cell.metadata["papermill"][REPLY] = {
            name: str(answer.get(name, ""))[:_MOST] for name in ("status", "ename", "evalue")
        }


def execute(plan: ExecutionPlan, **engine: Any) -> Ending:
    """Have papermill execute the plan, and write how it ended where the plan says.

    Args:
        engine: further arguments of `papermill.execute_notebook`.
    """
    from papermill.execute import execute_notebook

    ending = Ending()
    _write_whole_files(plan.output.parent.parent)
    try:
        execute_notebook(
            plan.notebook,
            plan.output,
            parameters=plan.parameters,
            progress_bar=False,
            execution_timeout=plan.cell_timeout,
            autosave_cell_every=5,  # what a killed run loses of its last cell, in seconds
            on_cell_executed=note_reply,
            **engine,
        )
    except BaseException as error:
        ending = Ending(exception=type(error).__name__, message=str(error))
        raise
    finally:
        plan.ending.write_text(ending.model_dump_json(), encoding="utf-8")
    return ending


def main() -> None:
    from jupyter_client.manager import AsyncKernelManager

    class IpcKernelManager(AsyncKernelManager):
        transport = "ipc"
        # Left to itself it names the sockets `kernel-ipc-1` and so on in the current folder, where two runs would meet,
        # and where a killed one leaves them. JUPYTER_RUNTIME_DIR lies in the run's private folder.
        ip = str(Path(os.environ["JUPYTER_RUNTIME_DIR"]).parent / "kernel")

    plan = ExecutionPlan.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _end_with_parent()
    execute(plan, kernel_manager_class=IpcKernelManager)


if __name__ == "__main__":
    main()
