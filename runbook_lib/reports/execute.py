"""The child process of a run: stock papermill that talks to the kernel over IPC.

`python -m runbook_lib.reports.execute PLAN.json`. papermill's command line cannot choose the kernel's transport, and
ipykernel 7.3 and later warns about every TCP kernel: code and outputs would pass a loopback port in plain text. Over
IPC they pass sockets in a private folder.
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
    """What the child does. `cell_timeout` is in seconds; the child writes an `Ending` to the file `ending`."""

    notebook: Path
    output: Path
    parameters: dict[str, Any]
    cell_timeout: int
    ending: Path


class Ending(BaseModel):
    """How papermill ended: `exception` is the name of the exception's class, empty if there was none."""

    exception: str = ""
    message: str = ""


class NotSaved(Exception):
    """The executed notebook could not be written: what ran since then is unknown."""


def _end_with_parent() -> None:
    """Interrupt papermill when the runner is gone: a run that nobody archives must not change anything more."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


@cache
def _write_whole_files(folder: Path) -> None:
    """Make papermill save by renaming: a killed run leaves a complete notebook."""
    from papermill.iorw import LocalHandler, papermill_io

    class WholeFiles(LocalHandler):
        def write(self, buf: str, path: str) -> None:
            part = Path(f"{path}.part")
            try:
                super().write(buf, str(part))  # type: ignore[no-untyped-call]
                part.replace(path)
            except OSError as error:
                with suppress(OSError):
                    part.unlink()  # the report of this error needs the space
                raise NotSaved(error.strerror or str(error)) from error

    papermill_io.register(str(folder), WholeFiles())  # type: ignore[no-untyped-call]


REPLY = "reply"
"""The key of the kernel's reply in a code cell's papermill metadata, while the run lasts."""

_MOST = 2000
"""Characters that are kept of an exception's text: some exceptions carry all the data that they could not handle."""


def note_reply(*, cell: Any, cell_index: int, execute_reply: Mapping[str, Any] | None) -> None:
    """nbclient's hook after each cell that the kernel answered, allowed errors included: keep the reply.

    IPython has no error output for an ExceptionGroup, a UsageError or a custom handler; the reply names them all.
    """
    if execute_reply is not None:
        answer = execute_reply["content"]
        cell.metadata["papermill"][REPLY] = {
            name: str(answer.get(name, ""))[:_MOST] for name in ("status", "ename", "evalue")
        }


def execute(plan: ExecutionPlan, **engine: Any) -> Ending:
    """Execute the plan with papermill, and write how it ended to the plan's `ending`.

    Args:
        engine: more arguments of `papermill.execute_notebook`.
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
            autosave_cell_every=5,  # a killed run loses at most so many seconds of its last cell
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
        # By default the sockets are `kernel-ipc-1` and so on in the current folder, where two runs would collide and
        # a killed run leaves them. JUPYTER_RUNTIME_DIR is in the run's private folder.
        ip = str(Path(os.environ["JUPYTER_RUNTIME_DIR"]).parent / "kernel")

    plan = ExecutionPlan.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _end_with_parent()
    execute(plan, kernel_manager_class=IpcKernelManager)


if __name__ == "__main__":
    main()
