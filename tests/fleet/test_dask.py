"""A batch on a dask cluster: a real scheduler and real workers, each in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbook_lib.catalogue import Exit
from tests.fleet.conftest import Fleet
from tests.reports import reading
from tests.reports.hidden import SECRET, VARIABLE
from tests.soak import SOAK

PATIENCE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
"""How long to wait for a missing scheduler."""

ACCOUNTS, SECONDS = (60, 1.0) if SOAK else (8, 0.5)


class Cluster:
    """A scheduler, and workers that come and go. Each worker has its own environment."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self._file)
        self.scheduler = self._start("scheduler", *options)
        until = time.monotonic() + 60
        while not self._file.exists() or not self._file.read_text():
            assert time.monotonic() < until
            time.sleep(0.1)
        self.address: str = json.loads(self._file.read_text())["address"]

    def worker(self, **env: str) -> subprocess.Popen[bytes]:
        options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", self._folder / "spill")
        return self._start("worker", self.address, *options, **env)

    def _start(self, kind: str, *options: str | Path, **env: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *options]
        with (self._folder / "dask.log").open("ab") as log:
            process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    one = Cluster(tmp_path / "cluster")
    yield one
    one.stop()


def _wait_for(fleet: Fleet, runs: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while sum(fleet.marks().values()) < runs:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_worker_costs_a_repetition_and_an_added_one_helps(
    night: Callable[..., Fleet], cluster: Cluster
) -> None:
    fleet = night(ACCOUNTS, seconds=SECONDS)
    lost = cluster.worker()
    cluster.worker()
    process = fleet.start("--engine", "dask", "--scheduler", cluster.address)
    _wait_for(fleet, 3, process)
    lost.send_signal(signal.SIGKILL)
    cluster.worker()
    code, bag, said = fleet.ended(process)
    names = {one["account"] for one in fleet.accounts}
    assert fleet.bags() == [bag]
    assert bag.accounts() == Counter(names)  # each once, despite the lost worker
    assert (bag.link["expected"], bag.link["produced"]) == (ACCOUNTS, ACCOUNTS), said
    assert code == Exit.DONE, said
    assert set(fleet.marks()) == names
    assert sum(fleet.marks().values()) <= ACCOUNTS + 1  # the lost worker had started one
    assert fleet.holds() == []


def test_a_secret_that_only_a_worker_knows_is_not_sealed(hiding: Callable[..., Fleet], cluster: Cluster) -> None:
    fleet = hiding("output", "a table's title", "a traceback", "nowhere")
    cluster.worker(**{VARIABLE: SECRET})
    code, bag, said = fleet.run("--engine", "dask", "--scheduler", cluster.address)
    assert Counter(row["status"] for row in bag.rows.values()) == {"withheld": 3, "done": 1}, said
    assert code == Exit.CHECK_FAILED
    assert reading.holds(fleet.archive, SECRET) == []
    assert SECRET not in said


def test_ctrl_c_lets_the_workers_end_what_they_are_at(night: Callable[..., Fleet], cluster: Cluster) -> None:
    fleet = night(3, seconds=2.0)
    cluster.worker()
    process = fleet.start("--engine", "dask", "--scheduler", cluster.address)
    _wait_for(fleet, 1, process)
    process.send_signal(signal.SIGINT)
    code, bag, said = fleet.ended(process)
    assert (code, bag.record["status"]) == (Exit.UNEXPECTED, "interrupted"), said
    assert Counter(row["status"] for row in bag.rows.values()) == {"done": 1, "missing": 2}
    assert sum(fleet.marks().values()) == 1


@pytest.mark.soak
def test_a_scheduler_that_is_lost_ends_the_batch_and_what_was_done_is_sealed(
    night: Callable[..., Fleet], cluster: Cluster
) -> None:
    fleet = night(3, seconds=1.0)
    cluster.worker()
    process = fleet.start("--engine", "dask", "--scheduler", cluster.address, env=PATIENCE)
    _wait_for(fleet, 2, process)  # the first has finished
    cluster.scheduler.kill()
    code, bag, said = fleet.ended(process)
    assert (code, bag.record["error"]["reason"]) == (Exit.UNEXPECTED, "accounts_missing"), said
    assert Counter(row["status"] for row in bag.rows.values()) == {"done": 1, "missing": 2}
    assert {"the scheduler was lost" in row["seen"] for row in bag.rows.values() if row["status"] == "missing"} == {
        True
    }
    assert fleet.run()[0] == Exit.DONE  # on this machine instead
    assert fleet.holds() == []


def test_a_scheduler_that_is_not_there_is_told_before_anything_runs(night: Callable[..., Fleet]) -> None:
    fleet = night(1)
    done = subprocess.run(
        fleet.command("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9"),
        capture_output=True,
        text=True,
        env={**os.environ, **PATIENCE},
    )
    assert done.returncode == Exit.USAGE
    assert "no answer" in done.stderr
    assert fleet.marks() == {}


def test_changes_on_a_cluster_need_a_store_that_every_worker_finds(night: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = night(1, notebook="issue")
    words = ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9")
    done = subprocess.run(fleet.command(*words), capture_output=True, text=True)
    assert done.returncode == Exit.USAGE
    assert "a folder that all workers share" in done.stderr
    fleet.settings["parameters"]["store"] = str(tmp_path / "store")
    done = subprocess.run(fleet.command(*words), capture_output=True, text=True, env={**os.environ, **PATIENCE})
    assert "no answer" in done.stderr
