"""Eight runners at once, and runners killed at random moments: the chain stays whole, every run is accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.archive.verify import verify_archive
from runbook_lib.reports.supervise import RUN_MARK, still_running
from tests.archive.bags import bare_path, environ_with_passphrase, places, sign, verify_sh
from tests.runners import KINDS, NOTEBOOK
from tests.soak import SOAK

ROOT = Path(__file__).parents[1]
RUNS = 200 if SOAK else 5


@pytest.mark.interop
def test_mixed_runs_at_once_and_as_many_killed_are_all_accounted_for(
    tmp_path: Path, archive: Path, write_notebook: Callable[..., Path]
) -> None:
    sign(archive)
    notebook = write_notebook(NOTEBOOK % RUN_MARK, parameters='kind = "done"\nmarks = ""')
    marks = tmp_path / "marks"

    def runners(runs: int, *words: str) -> Counter[str]:
        files = map(str, (notebook, archive, marks))
        command = [sys.executable, "-m", "tests.runners", *files, str(runs), *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environ_with_passphrase(), stdout=subprocess.PIPE, text=True, check=True
        )
        return Counter(line.partition("\t")[0] for line in done.stdout.splitlines())

    tools = bare_path(tmp_path / "bin")
    told = runners(RUNS, "let", "1")
    each = RUNS // len(KINDS)
    assert told == {"done": 2 * each, "failed": each, "killed": each, "timed out": each}
    _holds(archive, tools, RUNS + 1)
    assert _began(marks) <= _archived(archive).keys()

    survived = runners(RUNS, "kill", "2")
    left = _began(marks)
    until = time.monotonic() + 120
    while any(map(still_running, left)) and time.monotonic() < until:
        time.sleep(0.5)  # papermill sees within a second that its runner is gone
    runners(1, "let", "3")  # seals what the killed ones left
    archived = _archived(archive)
    assert _began(marks) <= archived.keys()  # each run whose notebook began, as what it was
    _holds(archive, tools, len(archived) + 1)
    killed = Counter(archived.values())["interrupted"]
    assert killed + survived.total() >= len(_began(marks)) - RUNS - 1
    assert not list((archive / ".staging").iterdir())
    print(f"\n{RUNS} runs: {dict(told)}; {RUNS} more with SIGKILL: {dict(survived)} and {killed} sealed as interrupted")


def _began(marks: Path) -> set[str]:
    return set(marks.read_text().split()) if marks.exists() else set()


def _archived(archive: Path) -> dict[str, str]:
    """Every run in the archive, once, and its status."""
    found = [json.loads(path.read_bytes()) for path in archive.glob("[0-9]*/*/*/*/data/run.json")]
    statuses = {one["run"]: str(one["status"]) for one in found}
    assert len(statuses) == len(found)  # none is there as done and as interrupted
    return statuses


def _holds(archive: Path, tools: Path, bags: int) -> None:
    """Both verifiers, the shell's without Python and without anything of ours, and then the twin that must fail."""
    audit = verify_archive(archive)
    assert (audit.bags, audit.signed, audit.findings) == (bags, bags, ())
    seen = verify_sh(archive, tools)
    assert (seen.returncode, seen.stderr) == (0, "")
    record = places(archive)[-1] / "data/run.json"
    content = record.read_bytes()
    record.write_bytes(content + b" ")
    assert verify_sh(archive, tools).returncode == 1
    record.write_bytes(content)
