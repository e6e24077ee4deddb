"""Small fleets: a notebook that leaves a mark whenever it runs, in batches with real kernels."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.archive import verify
from tests.reports.hidden import PLACES, PREPARE, VARIABLE

RUNBOOK = Path(sys.executable).with_name("runbook")
MARK = """
import os, time
with open(marks, "a") as stream:
    print(account, file=stream)
time.sleep(seconds)
if fails:
    raise ValueError(f"{account} is not well")
print({name: value for name, value in os.environ.items() if name.startswith("KEY_")})
"""


@dataclass(frozen=True)
class Bag:
    """A batch's bag, read back."""

    place: Path

    @property
    def record(self) -> dict[str, Any]:
        return self.json("data/run.json")

    @property
    def link(self) -> dict[str, Any]:
        return self.json("chain.json")

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        with (self.place / "data/tables/accounts.csv").open(newline="", encoding="utf-8") as stream:
            return {row["account"]: row for row in csv.DictReader(stream)}

    @property
    def page(self) -> str:
        return (self.place / "data/report.html").read_text(encoding="utf-8")

    def json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.place / name).read_text(encoding="utf-8"))
        return found

    def accounts(self) -> Counter[str]:
        """How many runs of each account this bag contains."""
        found = (self.json(str(path.relative_to(self.place))) for path in self.place.glob("data/accounts/**/run.json"))
        return Counter(one["parameters"].get("account_", "") for one in found)


@dataclass
class Fleet:
    """A fleet file, its archive, and the folder of its notebook's marks."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    accounts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def file(self) -> Path:
        return self.folder / "night.yaml"

    def marks(self) -> Counter[str]:
        """How often the notebook ran for each account."""
        path = self.folder / "marks"
        return Counter(path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else ())

    def command(self, *words: str) -> list[str | Path]:
        self.file.write_text(yaml.safe_dump({**self.settings, "accounts": self.accounts}), encoding="utf-8")
        return [RUNBOOK, "batch", self.file, "--archive", self.archive, "--jobs", "2", *words]

    def start(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        environ = {**os.environ, **(env or {})}
        return subprocess.Popen(
            self.command(*words), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *words: str, env: dict[str, str] | None = None) -> tuple[int, Bag, str]:
        """Runs `runbook batch`: exit code, bag and stderr."""
        return self.ended(self.start(*words, env=env))

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, Bag, str]:
        out, err = process.communicate(timeout=900)
        assert out.strip(), err
        return process.returncode, Bag(Path(out.splitlines()[-1])), err

    def bags(self) -> list[Bag]:
        return [Bag(path.parent) for path in sorted(self.archive.glob("[0-9]*/*/*/*/chain.json"))]

    def holds(self) -> list[str]:
        """The findings of the archive's verifier."""
        return list(verify.verify_archive(self.archive).findings)


@pytest.fixture
def night(tmp_path: Path) -> Callable[..., Fleet]:
    """Makes a fleet whose notebook is MARK: `night(5, seconds=1)` has the accounts a0 to a4."""

    def make(count: int, *, seconds: float = 0.0, **settings: Any) -> Fleet:
        defaults = "account_: str = ''\nmarks: str = ''\nseconds: float = 0.0\nfails: bool = False"
        parameters = new_code_cell(defaults, metadata={"tags": ["parameters"]})
        nb = new_notebook(cells=[parameters, new_code_cell("account = account_"), new_code_cell(MARK)])
        nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "python3"}
        nbformat.write(nb, tmp_path / "mark.ipynb")
        shared = {"marks": str(tmp_path / "marks"), "seconds": seconds}
        budget = {"starts_per_second": 1000, "at_once": 100}
        fleet = Fleet(tmp_path, {"notebook": "mark.ipynb", "parameters": shared, "budget": budget, **settings})
        fleet.accounts = [{"account": f"a{number}", "account_": f"a{number}"} for number in range(count)]
        return fleet

    return make


@pytest.fixture
def hiding(night: Callable[..., Fleet]) -> Callable[..., Fleet]:
    """Makes a fleet whose accounts each hide a secret in another place: `hiding("output", seconds=1)`."""

    def make(*where: str, seconds: float = 0.0) -> Fleet:
        fleet = night(0, seconds=seconds)
        nb = nbformat.read(fleet.folder / "mark.ipynb", as_version=4)
        nb.cells[0].source += "\nplace: str = ''\napi_key: str = ''"
        nb.cells[-1].source = f"{PREPARE}\n{MARK}\nexec({PLACES!r}.get(place, ''))"
        nbformat.write(nb, fleet.folder / "mark.ipynb")
        fleet.settings["parameters"]["api_key"] = f"env:{VARIABLE}"
        fleet.accounts = [
            {"account": f"a{number}", "account_": f"a{number}", "place": place} for number, place in enumerate(where)
        ]
        return fleet

    return make
