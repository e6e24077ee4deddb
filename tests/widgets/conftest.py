"""A real IPython shell that keeps what is displayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets.widget import _instances

from runbook_lib.result import MIME
from runbook_lib.widgets.notebook import _Newest
from tests.widgets.toy import Toy

PASSWORD = "correcthorsebatterystaple0123456789"


w: Any = ipywidgets  # it has no types


def widgets(kind: Any = w.Widget) -> list[Any]:
    """Every live widget of a kind. `Widget.widgets` says the same with a deprecation warning."""
    return [one for one in _instances.values() if isinstance(one, kind)]


@dataclass
class Cells:
    """The outputs of a notebook in order, each as it was last updated."""

    publisher: Any

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """One MIME bundle per output."""
        shown: list[dict[str, Any]] = []
        places: dict[str, int] = {}
        for one in self.publisher.outputs:
            place = str((one.get("transient") or {}).get("display_id"))
            if one.get("update"):
                shown[places[place]] = one["data"]
                continue
            places[place] = len(shown)
            shown.append(one["data"])
        return shown

    @property
    def records(self) -> list[dict[str, Any]]:
        return [data[MIME] for data in self.outputs if MIME in data]

    @property
    def text(self) -> str:
        return "\n".join(data.get("text/plain", "") for data in self.outputs)

    @property
    def html(self) -> str:
        return "\n".join(data.get("text/html", "") for data in self.outputs)


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cells]:
    """An IPython shell, with a sandbox's variables set. None is running: the toy procedure calls no server."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    for name, value in {
        "DIGICERT_ONE_URL": "https://localhost:1",
        "DIGICERT_ONE_CLIENTAUTH_URL": "https://localhost:2",
        "DIGICERT_ONE_STORE": str(tmp_path / "store"),
        "DIGICERT_ONE_P12_PASSWORD": PASSWORD,
        "DIGICERT_ONE_ARCHIVE": str(tmp_path / "archive"),
        "JPY_SESSION_NAME": str(tmp_path / "toy.ipynb"),
    }.items():
        monkeypatch.setenv(name, value)
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "toy.ipynb")
    monkeypatch.delenv("DIGICERT_ONE_CA_FILE", raising=False)
    shell = InteractiveShell.instance()
    shell.display_pub = CapturingDisplayPublisher()
    _Newest.runbook = None  # a new kernel
    Toy.runs.clear()
    w.Widget.close_all()
    yield Cells(shell.display_pub)
    _Newest.replace(None)  # which ends the keeper of its session
    w.Widget.close_all()
    InteractiveShell.clear_instance()
