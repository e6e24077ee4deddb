"""A sandbox for the notebooks, and each notebook executed by plain papermill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib import tables
from runbook_lib.archive import expectation
from runbook_lib.sandbox import start, stop
from tests.archive import bags
from tests.archive.many import Told, inventory, row
from tests.conftest import read_env

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@dataclass(frozen=True)
class Desk:
    """Where the notebooks run: their own home folder, with a sandbox in the environment."""

    home: Path
    environ: dict[str, str]
    sandbox: dict[str, str]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """`python -m …` in the project's folder; never raises."""
        return subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def papermill(self, notebook: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
        """Execute a notebook with papermill alone."""
        return self.run("papermill", notebook, out, "-f", "parameters/sandbox.yaml", "--no-progress-bar", *more)


def archived(archive: Path) -> Path:
    """A signed archive of two expected inventories, for 06 to read."""
    bags.sign(archive)
    file = archive.with_name("expected.yaml")
    file.write_text("expected:\n  - {job: inventory, every: day, from: 2026-11-23, until: 2026-11-24}\n")
    expectation.declare(archive, file, at=bags.AT, environ=bags.ENVIRON)
    for hour, days in ((1, 91), (2, 89)):
        sample = Told("inventory", bags.AT + timedelta(hours=hour), tables=(inventory(row("A", days=days, id="1")),))
        (table,) = sample.tables
        files = {"run.json": json.dumps(sample.record()).encode(), "tables/inventory.csv": tables.csv_of(table)}
        bags.put(archive, files, job="inventory", at=sample.at)
    return archive


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    home = tmp_path_factory.mktemp("home")
    sandbox = read_env(start(home / "sandbox"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DIGICERT_", "JUPYTER"))}
    environ |= sandbox | {"HOME": str(home), "DIGICERT_ONE_ARCHIVE": str(archived(home / "archive"))}
    yield Desk(home, environ, sandbox)
    stop(home / "sandbox")


@pytest.fixture(scope="module")
def executed(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every notebook as papermill left it. 01 ran twice; the second run has nothing to do."""
    folder = tmp_path_factory.mktemp("executed")
    for notebook in (ROOT / "notebooks" / "01_issue.ipynb", *NOTEBOOKS):
        first = folder / f"first-{notebook.name}"
        out = first if notebook.stem == "01_issue" and not first.exists() else folder / notebook.name
        ran = desk.papermill(notebook, out)
        assert ran.returncode == 0, ran.stderr
    return folder
