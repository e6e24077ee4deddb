"""A person at a notebook: a real kernel that runs its cells, and clicks that arrive as a browser sends them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[1]
SECONDS = 60

WALK = {
    "01_issue": (
        "generate-key-and-csr",
        "request-certificate",
        "extract-certificate",
        "create-pkcs12",
        "put-into-use",
        "hand-over",
    ),
    "05_rotate": (
        "where-it-stands",
        "issue-beside",
        "test-new",
        "deploy",
        "verify-in-service",
        "disable-old",
        "prove-refused",
        "watch",
        "retire",
        "roll-back",
        "what-comes-next",
    ),
    "03_access": ("prove-access", "disable", "prove-refused", "enable", "prove-restored"),
}


class Hand:
    """A kernel with one notebook open, and a person who clicks in it."""

    def __init__(self, manager: Any, notebook: Path) -> None:
        self.manager, self.notebook = manager, notebook
        self.client = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        self.pid: int = self.evaluate("__import__('os').getpid()")

    def _next(self, get: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """The next message. Raises RuntimeError once the kernel is gone."""
        until = time.monotonic() + SECONDS
        while True:
            try:
                return get(timeout=1)
            except Empty:
                if not self.manager.is_alive() or time.monotonic() > until:
                    raise RuntimeError("the kernel does not answer") from None

    # --- cells ----------------------------------------------------------------------------------------------------

    def run(self, source: str) -> list[dict[str, Any]]:
        """Run a cell as JupyterLab does; returns the content of the messages that show something."""
        request = self.client.execute(source, store_history=True)
        shown: list[dict[str, Any]] = []
        while True:
            message = self._next(self.client.get_iopub_msg)
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return shown
            if message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                shown.append(message["content"])

    def run_all(self) -> None:
        """Run every cell of the notebook."""
        for cell in nbformat.read(self.notebook, as_version=4).cells:
            if cell.cell_type == "code":
                self.run(cell.source)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the kernel, without a cell."""
        request = self.client.execute(
            "", silent=True, user_expressions={"x": f"__import__('json').dumps({expression})"}
        )
        while True:
            reply = self._next(self.client.get_shell_msg)
            if reply["parent_header"].get("msg_id") == request:
                found = reply["content"]["user_expressions"]["x"]
                assert found["status"] == "ok", found
                return json.loads(eval(found["data"]["text/plain"]))  # noqa: S307 - a repr of text

    # --- clicks ---------------------------------------------------------------------------------------------------

    def send(self, widget: str, data: dict[str, Any]) -> None:
        """Send a message to a widget and wait until the kernel has dealt with it."""
        model = self.evaluate(f"{widget}.model_id")
        message = self.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        self.client.shell_channel.send(message)
        request = message["header"]["msg_id"]
        while True:
            found = self._next(self.client.get_iopub_msg)
            idle = found["msg_type"] == "status" and found["content"]["execution_state"] == "idle"
            if idle and found["parent_header"].get("msg_id") == request:
                return

    def click(self, widget: str) -> None:
        """Click on a button as soon as it can be clicked on."""
        until = time.monotonic() + SECONDS
        while self.evaluate(f"{widget}.disabled"):
            assert time.monotonic() < until, f"{widget} is disabled: {self.evaluate(f'{widget}.description')}"
            time.sleep(0.1)
        self.send(widget, {"method": "custom", "content": {"event": "click"}})

    def fill(self, **values: Any) -> None:
        """Fill in fields of the form."""
        for name, value in values.items():
            self.send(f"runbook._way.form[{name!r}]", {"method": "update", "state": {"value": value}})

    def type_secret(self, name: str, secret: str) -> None:
        """Type into a password field."""
        self.send(f"runbook._way.form.password({name!r})", {"method": "update", "state": {"value": secret}})

    def start(self, **values: Any) -> None:
        self.fill(**values)
        self.click("runbook._way.form.start")

    def change_values(self) -> None:
        self.click("runbook._way.form.change")

    def press(self, *steps: str) -> None:
        for step in steps:
            self.click(f"runbook._way._cells[{step!r}].button")

    def archive(self) -> None:
        self.click("runbook._way._row._button")

    @property
    def bag(self) -> Path | None:
        """The bag that the panel names."""
        shown = self.evaluate("runbook._way._row._area._shown['text/plain']")
        return Path(shown.splitlines()[-1]) if shown.startswith("Archived as") else None

    @property
    def panel(self) -> str:
        """What the panel with the button Archive says."""
        said: str = self.evaluate("runbook._way._row._area._shown['text/plain']")
        return said

    @property
    def keeper(self) -> int:
        """The process that keeps the evidence."""
        pid: int = self.evaluate("runbook._way._evidence._keeper.pid")
        return pid

    def kill(self) -> None:
        os.kill(self.pid, 9)


@contextmanager
def opened(name: str, folder: Path, environ: Mapping[str, str], *, notebook: Path | None = None) -> Iterator[Hand]:
    """Open a copy of a notebook in a kernel of its own, which works in the copy's folder.

    Args:
        name: the notebook's stem.
        folder: where the copy is.
        notebook: another file than the shipped notebook.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.ipynb"
    shutil.copy(notebook or ROOT / "notebooks" / file.name, file)
    kept = {variable: text for variable, text in os.environ.items() if not variable.startswith("DIGICERT_")}
    with tempfile.TemporaryDirectory(prefix="runbook-", dir="/tmp") as private:
        manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{private}/kernel")
        manager.start_kernel(cwd=str(folder), env={**kept, **environ, "JPY_SESSION_NAME": str(file)})
        hand = None
        try:
            hand = Hand(manager, file)
            yield hand
        finally:
            if hand is not None:
                hand.client.stop_channels()
            with suppress(RuntimeError):
                manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
