"""One process that has everything imported, and a fork of it for each run: many at once, none another's concern."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from runbook_lib.clock import SystemClock
from runbook_lib.errors import RunbookError
from runbook_lib.reports.engine.forkserver import ForkServer
from runbook_lib.reports.job import Job, Produced, Source
from runbook_lib.reports.outcome import Status

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("server"), preload=["numpy", "matplotlib.figure"]) as server:
        yield server


@pytest.fixture
def job(write_notebook: Write, tmp_path: Path) -> Callable[..., Job]:
    """A job whose notebook has these cells. `name` names the file, where a test has several."""

    def make(*sources: str, name: str = "nb.ipynb", **options: object) -> Job:
        return Job(Source.read(write_notebook(*sources, name=name)), "demo", {}, **options)  # type: ignore[arg-type]

    return make


def _text(produced: Produced) -> str:
    """What the notebook printed."""
    import nbformat

    nb = nbformat.reads(produced.files["run.ipynb"].decode(), as_version=4)
    return "".join(output.get("text", "") for cell in nb.cells for output in cell.get("outputs", []))


def _gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_many_runs_at_once_from_many_threads(server: ForkServer, job: Callable[..., Job]) -> None:
    jobs = [job(f"import time; time.sleep(0.5); print('run {n}')", name=f"{n}.ipynb") for n in range(8)]
    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        all_produced = list(threads.map(lambda one: server.run(one, clock=SystemClock()), jobs))
    assert [_text(one) for one in all_produced] == [f"run {n}\n" for n in range(8)]
    assert {one.record.engine for one in all_produced} == {"runbook"}
    slept = sum(one.record.duration for one in all_produced)
    assert time.monotonic() - began < slept  # or they ran one after the other


def test_a_killed_run_costs_only_itself(server: ForkServer, job: Callable[..., Job]) -> None:
    bad = job(
        "import os; print('so far', flush=True)", "import time; time.sleep(1); os.kill(os.getppid(), 9)", name="b"
    )
    good = job("import time; time.sleep(3); print('well')", name="good.ipynb")
    with ThreadPoolExecutor(2) as threads:
        killed, done = threads.map(lambda one: server.run(one, clock=SystemClock()), [bad, good])
    assert killed.record.status is Status.KILLED
    assert "so far" in _text(killed)
    assert done.record.status is Status.DONE


def test_a_notebook_that_kills_the_server_costs_no_other_run_anything(
    server: ForkServer, job: Callable[..., Job]
) -> None:
    bad = job("import os, psutil; psutil.Process(os.getppid()).parent().kill()", name="bad.ipynb")
    good = job("import time; time.sleep(3); print('well')", name="good.ipynb")
    with ThreadPoolExecutor(2) as threads:
        _, done = threads.map(lambda one: server.run(one, clock=SystemClock()), [bad, good])
    assert done.record.status is Status.DONE
    assert server.run(job("print('again')"), clock=SystemClock()).record.status is Status.DONE


def test_what_a_notebook_started_ends_with_it_however_it_hides(
    server: ForkServer, job: Callable[..., Job], tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    hides = (
        "import os, subprocess, time\n"
        "for hide in range(2):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        f"            open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\n"
        "            if hide: os.execve('/bin/sleep', ['sleep', '300'], {})\n"
        "            time.sleep(300)\n"
        "        os._exit(0)\n"
        f"while len(open({str(pids)!r}, 'a+').read() or open({str(pids)!r}).read().split()) < 2: time.sleep(0.1)\n"
    )
    for ending in ("", "os.kill(os.getppid(), 9)"):
        pids.unlink(missing_ok=True)
        server.run(job(hides, ending or "pass"), clock=SystemClock())
        found = list(map(int, pids.read_text().split()))
        assert len(found) == 2
        assert all(map(_gone, found)), ending


def test_the_deadline_of_one_job_is_not_the_others(server: ForkServer, job: Callable[..., Job]) -> None:
    late = job(
        "import time; print('began', flush=True)\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
        deadline=2,
    )
    produced = server.run(late, clock=SystemClock())
    assert produced.record.status is Status.TIMED_OUT
    assert "began" in _text(produced)
    assert server.run(job("print(1)"), clock=SystemClock()).record.status is Status.DONE


def test_leaving_the_block_ends_what_still_runs(job: Callable[..., Job], tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    waiting = job(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(300)")
    (tmp_path / "server").mkdir()
    with ForkServer(tmp_path / "server") as server:
        thread = threading.Thread(target=_expect_an_error, args=(server, waiting))
        thread.start()
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.1)
    assert _gone(int(pid.read_text()))
    thread.join(timeout=30)
    assert not thread.is_alive()


def _expect_an_error(server: ForkServer, job: Job) -> None:
    with pytest.raises(RunbookError, match="ended"):
        server.run(job, clock=SystemClock())
