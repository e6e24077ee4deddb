"""papermill's `execute_notebook` as a task of a `ForkServer`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from papermill.execute import execute_notebook as papermill_execute_notebook

from runbook_lib.engine.papermill_engine import ForkEngine
from runbook_lib.engine.task_context import TaskContext


@dataclass(frozen=True)
class NotebookCall:
    """A call of `papermill.execute_notebook`.

    Args:
        arguments: its arguments by name; paths are absolute.
        cwd: the kernel's working directory.
        environ: its environment.
        seconds: the time limit for the whole notebook.
    """

    arguments: Mapping[str, Any]
    cwd: Path = field(default_factory=Path.cwd)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    seconds: float = 3600


def execute_notebook(call: NotebookCall, context: TaskContext) -> None:
    """Execute a notebook with papermill in a forked kernel, which reads no user's IPython configuration.

    Raises:
        PapermillExecutionError: a cell failed.
        InterruptedError: a signal came, or the time was over. The notebook is saved as it was then.
    """
    with TemporaryDirectory(prefix="runbook-") as private:
        kernel = context.kernel(cwd=call.cwd, environ={**call.environ, "IPYTHONDIR": private})
        try:
            with context.interruptible(call.seconds):
                papermill_execute_notebook(
                    **{"progress_bar": False, **call.arguments}, engine_name=ForkEngine.name, kernel=kernel
                )
        except KeyboardInterrupt:
            raise InterruptedError(f"{context.signals[0].name} came before the notebook was executed.") from None
        finally:
            kernel.shutdown_kernel()  # even if papermill has not done so
