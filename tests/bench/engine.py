"""The fork engine beside stock papermill: inventory reports with real calls of a sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from runbook_lib.archive import bag
from runbook_lib.clock import SystemClock
from runbook_lib.job_server import JobServer
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.runrecord import who
from runbook_lib.result import Status
from runbook_lib.sandbox import start, stop
from tests.bench.ratio import Curve, Ratio
from tests.conftest import read_env

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NOTEBOOK = ROOT / "notebooks" / "04_inventory.ipynb"
GIVEN = {"mode": "headless", "environment": "configured"}
PRELOAD = ["runbook_lib.widgets.preload"]


def measure(quick: bool) -> Sequence[Ratio | Curve]:
    with tempfile.TemporaryDirectory() as name, sandbox(Path(name)) as environ:
        folder = Path(name)
        return [
            *throughput(folder, environ, ours=4 if quick else 200, theirs=2 if quick else 20, pairs=1 if quick else 3),
            shell(folder, environ, pairs=1 if quick else 7),
            *steady(folder, environ, sizes=(2, 4) if quick else (100, 1000, 5000)),
        ]


@contextmanager
def sandbox(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a process that is to talk to a sandbox."""
    state = folder / "sandbox"
    environ = {**os.environ, **read_env(start(state))}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        yield environ
    finally:
        stop(state)


def throughput(folder: Path, environ: dict[str, str], *, ours: int, theirs: int, pairs: int) -> Iterator[Ratio]:
    """Seconds for one report, of many: ours with page, search for secrets and one sealed bag; theirs the notebook."""
    by_xargs, by_pool, by_us = [], [], []
    for number in range(pairs):
        by_us.append(_batch(folder / f"archive {number}", environ, ours) / ours)
        by_xargs.append(_timed(lambda: _xargs(folder, environ, theirs)) / theirs)
        by_pool.append(_timed(lambda: _pool(folder, environ, theirs)) / theirs)
    said = f"seconds for one report: of {ours} of ours, of {theirs} of theirs"
    mine = tuple(by_us)
    yield Ratio("inventory reports, beside papermill under xargs -P2", mine, tuple(by_xargs), 15, "at least", said)
    yield Ratio("inventory reports, beside execute_notebook in a pool of 2", mine, tuple(by_pool), 8, "at least", said)


def shell(folder: Path, environ: dict[str, str], *, pairs: int) -> Ratio:
    """One report from the shell."""
    given = [word for name, value in GIVEN.items() for word in ("-p", name, value)]
    ours: list[str | Path] = [BIN / "runbook", "run", "inventory", *given, "--archive", folder / "one by one"]
    theirs: list[str | Path] = [BIN / "papermill", NOTEBOOK, folder / "out.ipynb", *given]
    found = [(_timed(lambda: _call(ours, environ)), _timed(lambda: _call(theirs, environ))) for _ in range(pairs)]
    mine, other = zip(*found, strict=True)
    return Ratio("`runbook run inventory` from the shell", mine, other, 0.4, "at most", "archive included; papermill")


def steady(folder: Path, environ: dict[str, str], *, sizes: tuple[int, ...]) -> Iterator[Ratio | Curve]:
    """Whether a report costs the same however many there are, and the server's memory grows."""
    seconds: list[float] = []
    memory: list[float] = []
    for size in sizes:
        seconds.append(_batch(folder / f"steady {size}", environ, size, memory=memory))
    first, last = seconds[0] / sizes[0], seconds[-1] / sizes[-1]
    note = f"seconds for one of {sizes[-1]}, and for one of {sizes[0]}"
    yield Ratio("cost of a report of many", (last,), (first,), 1.15, "at most", note)
    before, after = map(float, (memory[0], memory[-1]))
    note = f"unshared MB of server, keepers and run processes after {sizes[-1]} reports and after {sizes[0]}"
    yield Ratio("memory of a batch", (after,), (before,), 1.05, "at most", note)
    yield Curve("inventory reports", "report", sizes, tuple(seconds))


def _batch(archive: Path, environ: dict[str, str], count: int, memory: list[float] | None = None) -> float:
    """Seconds from nothing to the sealed bag of so many reports."""
    began = time.monotonic()
    source = Source.read(NOTEBOOK)
    clock = SystemClock()
    told = bag.Started(
        run="0" * 32, job="bench", at=datetime.now(UTC), notebook=source.name, sha256=source.sha256, who=who()
    )
    with bag.staging(archive, told) as folder, JobServer(folder, preload=PRELOAD) as server:

        def one(number: int) -> None:
            produced = server.run(Job(source, "inventory", GIVEN, environ=environ), clock=clock)
            if produced.record.status is not Status.DONE:
                raise RuntimeError(f"a report failed: {produced.record.error}")
            for name, content in produced.files.items():
                path = folder / "made" / f"{number:05}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

        with ThreadPoolExecutor(2) as threads:
            for _ in threads.map(one, range(count)):
                pass
        if memory is not None:
            memory.append(sum(one.memory_full_info().uss for one in _processes()) / 2**20)
        made = folder / "made"
        files = {str(path.relative_to(made)): path for path in made.rglob("*") if path.is_file()}
        work = bag.BagSummary("bench", told.at, "done", expected=count, produced=count)
        bag.put(archive, folder, work, run=told.run, files=files, environ=environ)
    return time.monotonic() - began


def _processes() -> Iterator[psutil.Process]:
    """What the engine started for this process."""
    for one in psutil.Process().children():
        if any("runbook_lib.engine" in word for word in one.cmdline()):
            yield from (one, *one.children())


def _xargs(folder: Path, environ: dict[str, str], count: int) -> None:
    given = " ".join(f"-p {name} {value}" for name, value in GIVEN.items())
    command = f"seq {count} | xargs -P2 -I@ '{BIN / 'papermill'}' '{NOTEBOOK}' '{folder}/x@.ipynb' {given}"
    _call(["sh", "-c", command], environ)


def _pool(folder: Path, environ: dict[str, str], count: int) -> None:
    """In a process of its own, so that the workers get this environment."""
    program = "import sys; from tests.bench.engine import in_pool; in_pool(sys.argv[1], int(sys.argv[2]))"
    _call([sys.executable, "-c", program, str(folder), str(count)], {**environ, "PYTHONPATH": str(ROOT)})


def in_pool(folder: str, count: int) -> None:
    """papermill.execute_notebook in two processes."""
    with ProcessPoolExecutor(2) as pool:
        for future in [pool.submit(_execute, f"{folder}/p{number}.ipynb") for number in range(count)]:
            future.result()


def _execute(output: str) -> None:
    from papermill.execute import execute_notebook

    execute_notebook(NOTEBOOK, output, parameters=GIVEN, progress_bar=False)


def _call(command: Sequence[str | Path], environ: dict[str, str]) -> None:
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
