"""A program that calls the API over mTLS throughout a rotation, its deploy hook and a roll-back never fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from runbook_lib.clock import iso
from runbook_lib.lifecycle.rotation import Stage, replay
from runbook_lib.procedures.rotate import Rotate
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run
from tests.soak import SOAK

pytestmark = pytest.mark.slow

NAME = "In use"
CALLS = 2000 if SOAK else 50
"""At each of six stands of the rotation, besides those during its steps."""


@dataclass(frozen=True)
class Tally:
    calls: int
    failed: int
    generation: str
    first: str


class Consumer:
    """The program, and its last output."""

    def __init__(self, progress: Path) -> None:
        self._progress = progress

    def tally(self) -> Tally:
        calls, failed, generation, first = self._progress.read_text().splitlines()
        return Tally(int(calls), int(failed), generation, first)

    def wait(self, calls: int) -> Tally:
        """The output after a number of further calls."""
        until = self.tally().calls + calls
        deadline = time.monotonic() + 600
        while self.tally().calls < until:
            assert time.monotonic() < deadline, self.tally()
            time.sleep(0.05)
        return self.tally()


@contextmanager
def consumer(sandbox: Sandbox, current: Path, folder: Path) -> Iterator[Consumer]:
    """The running program."""
    progress = folder / "progress"
    address = urlsplit(sandbox.clientauth_url).netloc
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.soak.consumer", str(current), address, str(sandbox.ca_file), str(progress)],
        cwd=Path(__file__).parents[2],
        env=sandbox.env,
    )
    try:
        while not progress.exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield Consumer(progress)
    finally:
        process.kill()
        process.wait()


def test_no_call_fails_during_a_rotation_with_its_hook_and_a_roll_back(
    fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = fresh_sandbox()
    credential = issue(sandbox, NAME).credential
    first = credential.current()
    assert first is not None
    now = first.meta.not_after - timedelta(days=50)
    # a reload as `systemctl reload` does it: it returns when the program has taken the new certificate
    hook = tmp_path / "reload.sh"
    hook.write_text(f"until grep -qx \"$RUNBOOK_GENERATION\" '{tmp_path}/progress'; do sleep 0.02; done\n")

    def rotate(**given: Any) -> Stage | None:
        sandbox.admin("PUT", "/clock", {"now": iso(now)})
        procedure = prepare(Rotate, sandbox, name=NAME, confirm=NAME, clock=iso(now), hook=f"sh '{hook}'", **given)
        record = run(procedure)
        assert record.error is None, record.error
        rotation = replay(procedure._journal.entries())
        return rotation.stage if rotation else None

    sandbox.admin("PUT", "/clock", {"now": iso(now)})
    with consumer(sandbox, credential.folder / "current", tmp_path) as program:
        assert program.wait(CALLS).generation == "0001"
        assert rotate() is Stage.IN_SERVICE
        assert program.wait(CALLS).generation == "0002"
        assert rotate(action="roll back") is Stage.ROLLED_BACK
        assert program.wait(CALLS).generation == "0001"
        assert rotate(rotate_now=True) is Stage.IN_SERVICE
        assert program.wait(CALLS).generation == "0003"
        now += timedelta(hours=25)
        assert rotate() is Stage.OLD_REFUSED
        program.wait(CALLS)
        now += timedelta(days=8)
        assert rotate() is Stage.RETIRED
        tally = program.wait(CALLS)
    print(f"{tally.calls} calls, {tally.failed} failed")
    assert tally.failed == 0, tally.first
    assert tally.calls >= 6 * CALLS


def test_the_program_sees_a_certificate_taken_away_and_a_broken_current(sandbox: Sandbox, tmp_path: Path) -> None:
    procedure = issue(sandbox, "Taken away")
    link = procedure.credential.folder / "current"
    with consumer(sandbox, link, tmp_path) as program:
        assert program.wait(5).failed == 0
        current = procedure.credential.current()
        assert current is not None
        with procedure.session.api() as api:
            api.set_enabled(current.meta.id or "", False)
            tally = program.wait(5)
            assert (tally.failed > 0, tally.first) == (True, "HTTP 403")
            api.set_enabled(current.meta.id or "", True)
        program.wait(2)
        before = program.tally().failed
        link.unlink()
        link.symlink_to("0009")
        assert program.wait(5).failed >= before + 4
