"""Does a batch of thousands cost as much a report as one of a hundred, and as much memory?

Each is the whole command: reading the file, the runs with their real calls to a sandbox, every page, the sealed and
checked bag. Its start is part of it, so a small batch pays more a report.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from runbook_lib.catalogue import Exit
from runbook_lib.sandbox import start, stop
from tests.bench.ratio import Curve, Ratio
from tests.conftest import read_env


def measure(quick: bool) -> list[Ratio | Curve]:
    """Seconds are for one report."""
    sizes = (10, 40) if quick else (100, 1000, 5000)
    pairs = 1 if quick else 2
    with tempfile.TemporaryDirectory(prefix="runbook-bench-") as name:
        folder = Path(name)
        environ = {**os.environ, **read_env(start(folder / "sandbox"))}
        try:
            taken = {size: [_batch(folder, environ, size) for _ in range(pairs)] for size in sizes}
        finally:
            stop(folder / "sandbox")
    small, *larger = sizes
    found: list[Ratio | Curve] = []
    for size in larger:
        peaks = f"{max(peak for _, peak in taken[size]):.0f} MiB against {max(peak for _, peak in taken[small]):.0f}"
        found.append(
            Ratio(
                name=f"Cost of a report in a batch of {size:,}, against one of {small:,}",
                ours=tuple(seconds for seconds, _ in taken[size]),
                theirs=tuple(seconds for seconds, _ in taken[small]),
                needed=1.15,
                sense="at most",
                note=f"the whole command: runs, pages, sealed bag; peak of its own memory {peaks}",
            )
        )
    seconds = tuple(min(one[0] for one in taken[size]) * size for size in sizes)
    return [*found, Curve(name="runbook batch, inventory", what="report", sizes=sizes, seconds=seconds)]


def _batch(folder: Path, environ: dict[str, str], size: int) -> tuple[float, float]:
    """Seconds a report, and the peak of the command's own memory in MiB."""
    fleet = folder / f"of-{size}.yaml"
    # a store of its own each: two accounts with the same parameters are a mistake
    accounts = [{"account": f"account {n:05}", "store": str(folder / "stores" / str(n))} for n in range(size)]
    settings = {
        "notebook": "inventory",
        "parameters": {"environment": "sandbox"},
        "budget": {"starts_per_second": 10_000, "at_once": 100},
        "accounts": accounts,
    }
    fleet.write_text(yaml.safe_dump(settings), encoding="utf-8")
    archive = folder / f"archive-{size}-{time.monotonic_ns()}"
    command: list[str | Path] = [sys.executable, "-m", "runbook_lib.cli", "batch", fleet, "--archive", archive]
    began = time.monotonic()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, env=environ, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)  # its own peak, not that of what it started
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    assert process.returncode == Exit.DONE, (folder / "said").read_text()
    return took / size, usage.ru_maxrss / 1024
