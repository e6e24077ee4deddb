"""A run behind another writer of its archive ends with its deadline or a signal, and loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbook_lib.archive import bag, chain
from runbook_lib.archive.verify import verify_archive
from runbook_lib.errors import RunbookError
from tests.archive.bags import AT, FILES, places, put, started
from tests.test_disk import HOLDER, holding

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def writer(archive: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process of ours that has the archive in hand."""
    archive.mkdir()
    process = holding(HOLDER, archive / chain.LOCK)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def runbook_run(write_notebook: Callable[..., Path], archive: Path) -> Run:
    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "runbook_lib.cli", "run", str(write_notebook("1 + 1")), *words]
        return subprocess.Popen([*command, "--archive", str(archive)], stdout=-1, stderr=-1, text=True)

    return start


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_ends_with_its_deadline(writer: subprocess.Popen[str], runbook_run: Run, stopped: bool) -> None:
    if stopped:
        writer.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    run = runbook_run("--deadline", "2")
    _, said = run.communicate(timeout=30)
    assert time.monotonic() - began < 15
    assert run.returncode == 41, said
    assert f"process {writer.pid}" in said
    assert ("which is stopped" in said) == stopped


def test_a_run_ends_with_sigterm(writer: subprocess.Popen[str], runbook_run: Run) -> None:
    run = runbook_run("--deadline", "300")
    assert run.stderr is not None
    assert "Archive: " in run.stderr.readline()
    assert "Waiting for at most 300 seconds" in run.stderr.readline()
    run.terminate()
    _, said = run.communicate(timeout=60)
    assert (run.returncode, "SIGTERM ended the wait" in said) == (41, True), said


def test_what_could_not_be_sealed_in_time_is_sealed_as_interrupted_by_the_next_run(archive: Path) -> None:
    told = started()
    work = bag.BagSummary("demo", AT, "done", expected=1, produced=1)
    with pytest.raises(RunbookError), bag.staging(archive, told) as folder:
        writer = holding(HOLDER, archive / chain.LOCK)
        try:
            bag.put(archive, folder, work, run=told.run, files=FILES, wait=0.2)
        finally:
            writer.kill()
            writer.communicate()
    put(archive, job="next")
    left = next(one for one in places(archive) if one.name.endswith("-demo"))
    record = json.loads((left / "data/run.json").read_bytes())
    assert (record["run"], record["status"]) == (told.run, "interrupted")
    assert verify_archive(archive).findings == ()
    assert list((archive / chain.STAGING).iterdir()) == []
