"""What a deploy hook leaves running lives on, with both engines, in a batch and by click; what a cell leaves ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
import pytest

from runbook_lib.clock import SystemClock
from runbook_lib.job_server import JobServer
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.result import Status
from tests.fleet.conftest import Fleet
from tests.reports import reading

Run = Callable[..., RunOutcome]

DAEMON = """import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(300)"""

# name: (command, whether it is ok, how it ends, whether what it started lives on)
HOOKS = {
    "detached": (
        "sh -c 'setsid nohup sleep 300 >/dev/null 2>&1 </dev/null & echo $! > detached'",
        True,
        "code 0",
        True,
    ),
    "forked": (f"{sys.executable} daemon.py forked", True, "code 0", True),
    "inheriting": ("sh -c 'sleep 300 & echo $! > inheriting; echo restarted'", True, "left 1 process running", True),
    "setsid": ("setsid sh -c 'echo $$ > setsid; sleep 300'", False, "did not end in time", False),
    "slow": ("sh -c 'sleep 1; echo done'", True, "code 0", None),
    "noisy": ("sh -c 'yes | head -c 20000000; echo done'", True, "code 0", None),
    "failing": ("sh -c 'echo bad >&2; exit 3'", False, "code 3", None),
    "endless": ("sh -c 'echo $$ > endless; sleep 300 & wait'", False, "did not end in time", False),
    "then endless": (f"sh -c '{sys.executable} daemon.py then-endless; sleep 300'", False, "stopped after 4 s", None),
}
CALLS_HOOKS = f"""
import json, os, subprocess, sys
from runbook_lib.lifecycle.hook import run_hook
os.chdir(folder)
open("daemon.py", "w").write({DAEMON!r})
told = {{}}
for name, (command, *_) in {HOOKS!r}.items():
    outcome = run_hook(command, environ=os.environ, seconds=4, secrets=[])
    told[name] = [outcome.ok, outcome.how, outcome.said]
open("told.json", "w").write(json.dumps(told))
cell = subprocess.Popen(["sleep", "300"], start_new_session=True)
open("cell", "w").write(str(cell.pid))
subprocess.run([sys.executable, "daemon.py", "cell-daemon"])
"""


def _alive(name: Path) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(int(name.read_text())).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the hooks note their processes, which end with the test."""
    here = tmp_path / "hooks"
    here.mkdir()
    yield here
    for file in here.iterdir():
        with suppress(ValueError, ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def _held(folder: Path) -> None:
    told = json.loads((folder / "told.json").read_text())
    for name, (_, ok, how, lives) in HOOKS.items():
        assert (told[name][0], how in told[name][1]) == (ok, True), (name, told[name])
        if lives is not None:
            assert _alive(folder / name) is lives, name
    assert _alive(folder / "then-endless")  # it had detached itself before the time was over
    assert told["noisy"][2].endswith("y\ndone")
    assert told["failing"][2] == "bad"


def test_under_run(run: Run, folder: Path) -> None:
    outcome = run(CALLS_HOOKS, given={"folder": str(folder)})
    assert outcome.status is Status.DONE, reading.record(outcome.bag)["error"]
    _held(folder)
    assert not _alive(folder / "cell")
    if reading.record(outcome.bag)["engine"] == "runbook":
        assert not _alive(folder / "cell-daemon")


def test_after_the_server_of_a_batch_has_ended(write_notebook: Callable[..., Path], folder: Path) -> None:
    source = Source.read(write_notebook(CALLS_HOOKS))
    with JobServer() as server:
        produced = server.run(Job(source, "demo", {"folder": str(folder)}), clock=SystemClock())
        assert produced.record.status is Status.DONE
        _held(folder)
    _held(folder)
    assert not _alive(folder / "cell")
    assert not _alive(folder / "cell-daemon")


@pytest.mark.parametrize("engine", ["runbook", pytest.param("papermill", marks=pytest.mark.soak)])
def test_under_batch(write_notebook: Callable[..., Path], folder: Path, tmp_path: Path, engine: str) -> None:
    path = write_notebook(CALLS_HOOKS, parameters="folder = ''")
    nb = nbformat.read(path, 4)
    nb.metadata.runbook = {"engine": engine}
    nbformat.write(nb, path)
    fleet = Fleet(tmp_path, {"notebook": path.name}, [{"account": "one", "folder": str(folder)}])
    code, bag, said = fleet.run()
    assert (code, bag.rows["one"]["status"]) == (0, "done"), said
    _held(folder)
    assert not _alive(folder / "cell")


def test_by_click_in_a_kernel_that_is_then_shut_down(folder: Path) -> None:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel()
    try:
        assert (
            client.execute_interactive(f"folder = {str(folder)!r}\n{CALLS_HOOKS}", timeout=120)["content"]["status"]
            == "ok"
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    _held(folder)


def test_a_hook_that_runs_when_its_kernel_dies_is_ended(run: Run, folder: Path) -> None:
    outcome = run(
        "import os, threading\nfrom runbook_lib.lifecycle.hook import run_hook\n"
        "threading.Timer(3, os.kill, (os.getpid(), 9)).start()\n"
        f"command = 'sh -c \"echo $$ > {folder}/hook; sleep 300\"'\n"
        "run_hook(command, environ=os.environ, seconds=100, secrets=[])"
    )
    assert outcome.status is Status.KILLED
    until = time.monotonic() + 10
    while _alive(folder / "hook"):
        assert time.monotonic() < until
        time.sleep(0.1)
