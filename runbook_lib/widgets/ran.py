"""What ran in this kernel: the source of each cell and what it printed.

A kernel sends everything that a cell shows through its `Session.send`, also from threads, with the request that caused
it. IPython's own history misses what is printed in a kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import IPython

from runbook_lib.session_messages import Ran

_ipython: Any = IPython

_SHOWN = {
    "stream": ("name", "text"),
    "display_data": ("data", "metadata"),
    "execute_result": ("data", "metadata", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}
"""The fields of each kind of output in a notebook (nbformat 4)."""


@dataclass
class _Cell:
    number: int
    source: str
    ours: bool = False
    outputs: list[dict[str, Any]] = field(default_factory=list)
    sent: int = -1  # how many outputs were handed on; -1 before the cell itself was

    def add(self, output: dict[str, Any]) -> None:
        last = self.outputs[-1] if self.outputs else {}
        if output["output_type"] == "stream" == last.get("output_type") and output["name"] == last["name"]:
            self.outputs[-1] = {**last, "text": last["text"] + output["text"]}
            self.sent = min(self.sent, len(self.outputs) - 1)
        else:
            self.outputs.append(output)


class RanCells:
    """Follows the cells of this kernel, from the one with the form on. Of earlier ones it has the source.

    Attributes:
        on_ran: called after each cell.
    """

    def __init__(self) -> None:
        self.on_ran: Callable[[], None] = lambda: None
        self._shell = _ipython.get_ipython()
        self._cells: list[_Cell] = []
        self._by_request: dict[str, _Cell] = {}
        self._current: _Cell | None = None
        if self._shell is None:
            return
        sources = self._shell.history_manager.input_hist_raw
        self._cells = [_Cell(number, source) for number, source in enumerate(sources) if number and source]
        if getattr(self._shell, "kernel", None) is not None:
            self._follow(self._shell.kernel.session)
            if self._cells:  # the one that runs now
                self._begin(self._cells[-1])
        self._shell.events.register("pre_run_cell", self._begins)
        self._shell.events.register("post_run_cell", self._ended)

    def current(self) -> str:
        """The source of the cell that runs now, which shows something of ours; empty outside a kernel."""
        if self._current is None:
            return ""
        self._current.ours = True
        return self._current.source

    def new(self, *, everything: bool = False) -> list[Ran]:
        """The cells that have run, or shown more, since the last call."""
        sys.stdout.flush()
        sys.stderr.flush()
        changed = [cell for cell in self._cells if everything or cell.sent < len(cell.outputs)]
        for cell in changed:
            cell.sent = len(cell.outputs)
        return [
            Ran(number=cell.number, source=cell.source, ours=cell.ours, outputs=tuple(cell.outputs)) for cell in changed
        ]

    def _begins(self, info: Any) -> None:
        if info.store_history:
            cell = _Cell(self._shell.execution_count - 1, str(info.raw_cell))
            self._cells.append(cell)
            self._begin(cell)

    def _begin(self, cell: _Cell) -> None:
        self._current = cell
        request = self._shell.get_parent() if hasattr(self._shell, "get_parent") else {}
        self._by_request[str(request.get("header", {}).get("msg_id"))] = cell

    def _ended(self, result: Any) -> None:
        self.on_ran()
        self._current = None

    def _follow(self, session: Any) -> None:
        send = session.send

        def sending(stream: Any, kind: Any, content: Any = None, parent: Any = None, *more: Any, **options: Any) -> Any:
            message = (
                kind if isinstance(kind, dict) else {"msg_type": kind, "content": content, "parent_header": parent}
            )
            self._note(message)
            return send(stream, kind, content, parent, *more, **options)

        session.send = sending

    def _note(self, message: dict[str, Any]) -> None:
        kind, content = message.get("msg_type") or message["header"]["msg_type"], message.get("content")
        parent = message.get("parent_header") or {}
        cell = self._by_request.get(str(parent.get("msg_id") or parent.get("header", {}).get("msg_id")))
        if cell is not None and kind in _SHOWN and isinstance(content, dict):
            cell.add({"output_type": kind, **{name: content.get(name) for name in _SHOWN[kind]}})


_of_kernel: dict[int, RanCells] = {}


def ran_cells() -> RanCells:
    """Those of this kernel, followed from the first call on."""
    shell = id(_ipython.get_ipython())
    if shell not in _of_kernel:
        _of_kernel.clear()
        _of_kernel[shell] = RanCells()
    return _of_kernel[shell]
