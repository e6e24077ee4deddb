"""Many runners of one archive, as a program: `-m tests.runners NOTEBOOK ARCHIVE MARKS RUNS kill|let SEED`.

Each run is a process of its own, forked from this one, which has imported everything; eight are at it at any moment.
With `kill` each gets a SIGKILL at some moment of its life, or just after it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from runbook_lib.clock import SystemClock
from runbook_lib.runner import run_notebook

KINDS = ("done", "failed", "killed", "timed out", "nothing to do")
AT_ONCE = 8
LIFE = 12.0
"""Seconds: a run takes as long on a machine with two cores and eight of them."""

NOTEBOOK = """
import os, time
with open(marks, "a") as stream:
    print(os.environ["%s"], file=stream)
match kind:
    case "failed":
        raise ValueError("not well")
    case "killed":
        os.kill(os.getpid(), 9)
    case "timed out":
        time.sleep(60)
    case "nothing to do":
        from datetime import UTC, datetime
        from IPython.display import display
        from runbook_lib.result import MIME, FinishRecord, Verdict
        told = FinishRecord(procedure="demo", at=datetime.now(UTC), verdict=Verdict.NOTHING_TO_DO, steps=())
        display({"text/plain": "-", MIME: told.model_dump(mode="json")}, raw=True)
"""


def run(notebook: Path, archive: Path, marks: str, number: int) -> None:
    kind = KINDS[number % len(KINDS)]
    outcome = run_notebook(
        notebook,
        {"kind": kind, "marks": marks},
        job=kind.replace(" ", "-"),
        archive=archive,
        clock=SystemClock(),
        cell_timeout=3 if kind == "timed out" else 120,
    )
    sys.stdout.write(f"{outcome.status.value}\t{outcome.bag.name}\n")
    sys.stdout.flush()


def main() -> None:
    notebook, archive, marks = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    runs, kill, chance = int(sys.argv[4]), sys.argv[5] == "kill", random.Random(int(sys.argv[6]))  # noqa: S311
    begun = 0
    alive: dict[int, float] = {}
    while begun < runs or alive:
        while begun < runs and len(alive) < AT_ONCE:
            pid = os.fork()
            if pid == 0:
                run(notebook, archive, marks, begun)
                os._exit(0)
            alive[pid] = time.monotonic() + (chance.random() * LIFE if kill else 1e9)
            begun += 1
        for pid, when in alive.items():
            if time.monotonic() >= when:
                os.kill(pid, signal.SIGKILL)
        ended, _ = os.waitpid(-1, os.WNOHANG)
        alive.pop(ended, None)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
