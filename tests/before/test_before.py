"""What an earlier version left in the middle of things is verified, compared, resumed and rotated by this one.

`made.tar.xz` was made by running the commit that it names (`commit`) with `make.sh`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.clock import iso, parse_utc
from runbook_lib.sandbox import start, stop
from tests.conftest import Sandbox, read_env

MADE = Path(__file__).with_name("made.tar.xz")
PASSPHRASE = "of0the0fixture0only0and0nothing0else"


@dataclass(frozen=True)
class Before:
    """What was made, in a folder of its own, beside the sandbox that it was made with."""

    sandbox: Sandbox
    folder: Path

    def runbook(self, *words: str, code: int = 0) -> str:
        """Run a command of today's version; gives what it wrote, of which the last line is a run's bag."""
        ran = subprocess.run(
            [sys.executable, "-m", "runbook_lib.cli", *words],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("DIGICERT_", "JUPYTER"))},
                **self.sandbox.env,
                "DIGICERT_ONE_STORE": str(self.folder / "store"),
                "DIGICERT_ONE_ARCHIVE": str(self.archive),
                "DIGICERT_ONE_ARCHIVE_PASSPHRASE": PASSPHRASE,
                "HOME": str(self.folder),
            },
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout

    def run(self, notebook: str, name: str, *more: str) -> dict[str, str]:
        """Run a notebook for a certificate; gives its run.json."""
        told = self.runbook("run", notebook, "-p", "name", name, "-p", "confirm", name, *more)
        record: dict[str, str] = json.loads(Path(told.splitlines()[-1], "data/run.json").read_text(encoding="utf-8"))
        return record

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def clock(self) -> str:
        return (self.folder / "clock").read_text(encoding="utf-8").strip()

    def bags(self, job: str) -> list[Path]:
        return sorted(self.archive.glob(f"*/*/*/*-{job}"))

    def states(self, name: str) -> list[str]:
        """Of the journal of a certificate."""
        lines = (self.folder / "store" / "sandbox" / name / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["state"] for line in lines]

    def enabled(self) -> set[str]:
        return {one["name"] for one in self.sandbox.admin("GET", "/certificates") if one["enabled"]}


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Before]:
    with tarfile.open(MADE) as tar:
        tar.extractall(tmp_path, filter="tar")
    state = tmp_path / "made" / "sandbox"
    made = Before(Sandbox(state, read_env(start(state))), tmp_path / "made")
    made.sandbox.admin("PUT", "/clock", {"now": made.clock})
    yield made
    stop(state)


def test_an_archive_made_before_verifies_and_one_changed_byte_is_found(before: Before):
    assert len(before.bags("inventory")) == 2
    before.runbook("archive", "verify", str(before.archive))
    shell = ["sh", "verify.sh"]
    assert subprocess.run(shell, cwd=before.archive, check=False, capture_output=True).returncode == 0
    report = before.bags("issue")[0] / "data" / "report.html"
    report.chmod(0o600)
    report.write_bytes(report.read_bytes().replace(b"Whole", b"Whose", 1))
    before.runbook("archive", "verify", str(before.archive), code=1)
    assert subprocess.run(shell, cwd=before.archive, check=False, capture_output=True).returncode == 1


def test_two_inventories_made_before_are_compared(before: Before):
    first, second = before.bags("inventory")
    assert "Rotating 0002" in before.runbook("archive", "diff", str(first), str(second))


def test_an_issuance_that_lost_its_answer_before_is_resumed(before: Before):
    assert before.states("Lost")[-1] == "ambiguous"
    assert before.run("issue", "Lost", "-p", "key_kind", "p-256", "-p", "clock", before.clock)["status"] == "done"
    assert before.states("Lost")[-1] == "current"
    # nobody has the lost certificate
    assert {"Lost 0002"} == {name for name in before.enabled() if name.startswith("Lost")}
    before.runbook("archive", "verify", str(before.archive))


def test_a_rotation_that_began_before_goes_on(before: Before):
    assert before.states("Rotating")[-1] == "in_service"
    assert {"Rotating", "Rotating 0002"} <= before.enabled()
    now = iso(parse_utc(before.clock) + timedelta(days=2))
    before.sandbox.admin("PUT", "/clock", {"now": now})
    assert before.run("rotate", "Rotating", "-p", "clock", now)["progress"] == "progressed"
    assert "Rotating" not in before.enabled()
    assert "Rotating 0002" in before.enabled()
