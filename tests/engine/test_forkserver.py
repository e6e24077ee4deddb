"""One process that has everything imported, and a fork of it for each run: many at once, none another's concern."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from runbook_lib.clock import SystemClock
from runbook_lib.engine import forkserver
from runbook_lib.errors import RunbookError
from runbook_lib.job_server import JobServer
from runbook_lib.reports.job import Job, Produced, Source
from runbook_lib.reports.outcome import CellState
from runbook_lib.result import Status
from tests.archive.killing import KILLS_PAPERMILL

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    with JobServer(tmp_path_factory.mktemp("server"), preload=["numpy", "matplotlib.figure"]) as server:
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


def test_many_runs_at_once_from_many_threads(server: JobServer, job: Callable[..., Job]) -> None:
    jobs = [job(f"import time; time.sleep(0.5); print('run {n}')", name=f"{n}.ipynb") for n in range(8)]
    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        all_produced = list(threads.map(lambda one: server.run(one, clock=SystemClock()), jobs))
    assert [_text(one) for one in all_produced] == [f"run {n}\n" for n in range(8)]
    assert {one.record.engine for one in all_produced} == {"runbook"}
    slept = sum(one.record.duration for one in all_produced)
    assert time.monotonic() - began < slept  # or they ran one after the other


KILLS_ITS_KEEPER = "import os, time; time.sleep(1); os.kill(os.getppid(), 9); time.sleep(60)"


@pytest.mark.parametrize(
    ("kills", "states"),
    [
        # nobody was left to say what came after: that is not called “never ran”
        (KILLS_PAPERMILL, (CellState.KILLED, CellState.UNKNOWN)),
        (KILLS_ITS_KEEPER, (CellState.KILLED, CellState.NEVER_RAN)),
    ],
    ids=["run process", "keeper"],
)
def test_a_killed_run_costs_only_itself(
    server: JobServer, job: Callable[..., Job], kills: str, states: tuple[CellState, ...]
) -> None:
    bad = job("import os; print('so far', flush=True)", kills, "print('after')", name="b")
    good = job("import time; time.sleep(3); print('well')", name="good.ipynb")
    with ThreadPoolExecutor(2) as threads:
        killed, done = threads.map(lambda one: server.run(one, clock=SystemClock()), [bad, good])
    assert killed.record.status is Status.KILLED
    assert "so far" in _text(killed)
    assert killed.record.cells.states[-2:] == states
    assert killed.record.cells.unknown == states.count(CellState.UNKNOWN)
    assert done.record.status is Status.DONE
    for _ in range(3):  # whichever process is taken
        assert server.run(job("print('again')"), clock=SystemClock()).record.status is Status.DONE


def test_a_notebook_that_kills_the_server_costs_no_other_run_anything(
    server: JobServer, job: Callable[..., Job]
) -> None:
    bad = job("import os, psutil; psutil.Process(os.getppid()).parent().kill()", name="bad.ipynb")
    good = job("import time; time.sleep(3); print('well')", name="good.ipynb")
    with ThreadPoolExecutor(2) as threads:
        _, done = threads.map(lambda one: server.run(one, clock=SystemClock()), [bad, good])
    assert done.record.status is Status.DONE
    assert server.run(job("print('again')"), clock=SystemClock()).record.status is Status.DONE


def test_what_a_notebook_started_ends_with_it_however_it_hides(
    server: JobServer, job: Callable[..., Job], tmp_path: Path
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


def test_the_deadline_of_one_job_is_not_the_others(server: JobServer, job: Callable[..., Job]) -> None:
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
    with JobServer(tmp_path / "server") as server:
        thread = threading.Thread(target=_expect_an_error, args=(server, waiting))
        thread.start()
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.1)
    assert _gone(int(pid.read_text()))
    thread.join(timeout=30)
    assert not thread.is_alive()


CALLER = """
import sys
from pathlib import Path
from runbook_lib.clock import SystemClock
from runbook_lib.engine import forkserver
from runbook_lib.job_server import JobServer
from runbook_lib.reports.job import Job, Source

if __name__ == "__main__":
    with JobServer() as server:
        print(server.process, server._kernels.folder, flush=True)
        server.run(Job(Source.read(Path(sys.argv[1])), "demo", {}), clock=SystemClock())
"""
COUNTS = "import time\nfor i in range(300):\n    open({!r}, 'w').write(str(i)); time.sleep(0.1)"


@pytest.mark.parametrize("with_the_server", [False, True])
def test_a_caller_that_is_killed_leaves_no_run_and_no_file_behind(
    with_the_server: bool, write_notebook: Write, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    notebook = write_notebook(COUNTS.format(str(mark)))
    caller = subprocess.Popen([sys.executable, "-c", CALLER, notebook], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    process, folder = caller.stdout.readline().split()
    while not mark.exists():
        time.sleep(0.05)
    if with_the_server:
        os.kill(int(process), signal.SIGSTOP)  # it sees nothing of the caller's end
    caller.kill()
    if with_the_server:
        os.kill(int(process), signal.SIGKILL)
    caller.communicate()
    assert _gone(int(process))
    time.sleep(1.5)  # a busy kernel looks each second whether anybody listens
    before = mark.read_text()
    time.sleep(0.5)
    assert mark.read_text() == before
    if not with_the_server:
        assert not Path(folder).exists()


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_is_killed_while_it_answers_is_told_of_all_the_same(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: int
) -> None:
    asked: list[int] = []

    def answer(process: Any, *more: Any) -> Any:
        asked.append(1)
        if len(asked) <= times:
            while len(process._socket.recv(1 << 16, socket.MSG_PEEK)) < 1000:  # more than fits: it is at its result
                time.sleep(0.05)
            process.kill()
        return whole(process, *more)

    whole = forkserver._RunProcess._answer
    monkeypatch.setattr(forkserver._RunProcess, "_answer", answer)
    mark = f"with open({str(tmp_path / 'ran')!r}, 'a') as file:\n    file.write('ran ')"
    with JobServer() as server:
        produced = server.run(job(mark, "print('x' * 3_000_000)"), clock=SystemClock())
    assert len(asked) == 2
    assert (tmp_path / "ran").read_text() == "ran "  # it is not executed again to be told of
    assert produced.record.status is (Status.KILLED if times == 1 else Status.FAILED)
    assert (produced.record.error or {})["reason"] == ("kernel_died" if times == 1 else "engine_failed")
    assert {"run.json", "report.html"} <= set(produced.files)


def test_a_server_that_cannot_start_says_why(job: Callable[..., Job]) -> None:
    with JobServer(preload=["no_such_module"]) as server, pytest.raises(RunbookError, match="No module named"):
        server.run(job("1"), clock=SystemClock())


def _expect_an_error(server: JobServer, job: Job) -> None:
    with pytest.raises(RunbookError, match="ended"):
        server.run(job, clock=SystemClock())


# --- what one run may not do to another, nor to the server ------------------------------------------------------------


def _after(server: JobServer, job: Callable[..., Job], deed: str, look: str) -> tuple[str, str]:
    """What `look` prints in a run before `deed` was done in another, and after it."""
    found = []
    for source in (look, deed, look):
        produced = server.run(job(source), clock=SystemClock())
        assert produced.record.status is Status.DONE, produced.record.error
        found.append(_text(produced))
    return found[0], found[2]


DEEDS = {
    "memory": (
        "import csv, sys; csv.reader = None; sys.planted = 1",
        "import csv, sys; print(csv.reader, hasattr(sys, 'planted'))",
    ),
    "environment": (
        "import os; os.environ.clear(); os.environ['PLANTED'] = '1'",
        "import os; print('PLANTED' in os.environ, len(os.environ))",
    ),
    "folder and umask": (
        "import os; os.chdir('/'); os.umask(0)",
        "import os; u = os.umask(0); os.umask(u); print(os.getcwd(), u)",
    ),
    "signals": (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "from signal import *; print(getsignal(SIGTERM), getsignal(SIGCHLD))",
    ),
    "limits": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
        "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))",
    ),
    "IPython": (
        "ip = get_ipython(); ip.user_ns['planted'] = 1; ip.db['planted'] = 1",
        "print('planted' in globals(), 'planted' in get_ipython().db)",
    ),
    "a library's settings": (
        "import matplotlib; matplotlib.rcParams['figure.dpi'] = 7",
        "import matplotlib; print(matplotlib.rcParams['figure.dpi'])",
    ),
}
"""What a run does to its own process, and a look that would see it."""


@pytest.mark.parametrize(("deed", "look"), DEEDS.values(), ids=DEEDS)
def test_what_one_run_does_to_itself_no_other_run_sees(
    server: JobServer, job: Callable[..., Job], deed: str, look: str
) -> None:
    before, after = _after(server, job, deed, look)
    assert before == after
    assert before.strip()


def test_every_run_has_randomness_of_its_own(server: JobServer, job: Callable[..., Job]) -> None:
    draws = job(
        "import random, secrets, tempfile, uuid; import numpy as np\n"
        "print(random.random(), np.random.rand(), uuid.uuid4(), secrets.token_hex(4), tempfile.mktemp())"
    )
    first, second = (_text(server.run(draws, clock=SystemClock())).split() for _ in range(2))
    assert len(first) == 5
    assert not set(first) & set(second)
    seeded = job("import random; random.seed(1); print(random.random())")  # the twin: it is the seed that differs
    assert len({_text(server.run(seeded, clock=SystemClock())) for _ in range(2)}) == 1


def test_no_run_reaches_the_sockets_of_server_or_caller(server: JobServer, job: Callable[..., Job]) -> None:
    looks = job(
        "import os\nfor n in range(256):\n"
        "    try: print(os.readlink(f'/proc/self/fd/{n}'))\n    except FileNotFoundError: pass"
    )
    theirs = {word for word in _text(server.run(looks, clock=SystemClock())).split() if word.startswith("socket:")}
    assert server.process is not None
    others = _sockets(server.process) | _sockets(os.getpid())
    assert theirs
    assert others
    assert not theirs & others


def _sockets(process: int) -> set[str]:
    found = set()
    for number in range(256):
        with suppress(FileNotFoundError):
            found.add(str(Path(f"/proc/{process}/fd/{number}").readlink()))
    return {one for one in found if one.startswith("socket:")}


def test_the_server_has_one_thread_no_secret_and_nothing_of_a_run(
    server: JobServer, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = "canary-" + os.urandom(12).hex()
    monkeypatch.setenv("CANARY", secret)
    (tmp_path / "own").mkdir()
    with JobServer(tmp_path / "own") as own:
        shown = own.run(job("import os; print(len(os.environ['CANARY']))"), clock=SystemClock())
        assert _text(shown).strip() == str(len(secret))
        assert own.process is not None
        assert psutil.Process(own.process).num_threads() == 1
        assert psutil.Process(own.process).net_connections() == []
        assert secret.encode() not in _memory(own.process)
        assert b"runbook_lib.engine.kernel_server" in _memory(own.process)  # the search can find
        (keeper,) = psutil.Process(own.process).children()
        assert keeper.num_threads() == 1
        assert secret.encode() not in _memory(keeper.pid)
        assert not keeper.children()


def _memory(process: int) -> bytes:
    """All that can be read of a process's memory."""
    found = []
    with Path(f"/proc/{process}/maps").open() as maps, Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            where, rights, *rest = line.split()
            if "w" not in rights or rest[-1:] in (["[vvar]"], ["[vsyscall]"]):
                continue
            start, end = (int(part, 16) for part in where.split("-"))
            try:
                memory.seek(start)
                found.append(memory.read(end - start))
            except OSError:
                continue
    return b"".join(found)
