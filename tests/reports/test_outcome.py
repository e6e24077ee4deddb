"""A run's status follows from the kernel's replies and papermill's exceptions, not from outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.clock import SystemClock
from runbook_lib.job_server import JobServer
from runbook_lib.reports.execute import Ending
from runbook_lib.reports.job import Job, Produced, Source
from runbook_lib.reports.outcome import judge
from runbook_lib.reports.produce import produce
from runbook_lib.reports.supervise import End
from tests.notebook_runs import RECORDS
from tests.soak import SOAK

OWN_HANDLER = """
def ours(shell, kind, value, traceback, tb_offset=None):
    print("handled by us")
get_ipython().set_custom_exc((ValueError,), ours)
"""


@dataclass(frozen=True)
class Case:
    """The cells of a notebook, and the expected status, states of its last cells and words of its error."""

    cells: tuple[str, ...]
    status: str
    states: str
    words: str = ""
    timeout: int = 60


def failed(words: str, *cells: str) -> Case:
    return Case(cells, "failed", "failed", words)


CASES = {
    # these leave no error output
    "TaskGroup": failed(
        "ExceptionGroup: unhandled errors in a TaskGroup",
        "import asyncio\nasync def bad(): raise ValueError('not deployed')\n"
        "async with asyncio.TaskGroup() as g:\n    g.create_task(bad())",
    ),
    "ExceptionGroup": failed("ExceptionGroup: two (2", "raise ExceptionGroup('two', [ValueError(1), KeyError(2)])"),
    "BaseExceptionGroup": failed("BaseExceptionGroup: all", "raise BaseExceptionGroup('all', [SystemExit(0)])"),
    "unknown line magic": failed("%nosuchmagic", "%nosuchmagic 1"),
    "unknown cell magic": failed("%%nosuchmagic", "%%nosuchmagic\n1"),
    "UsageError": failed("UsageError", "from IPython.core.error import UsageError\nraise UsageError('wrong use')"),
    "a handler of the notebook's own": failed("ValueError: secretly", OWN_HANDLER, "raise ValueError('secretly')"),
    "showtraceback replaced": failed(
        "ValueError: unseen", "get_ipython().showtraceback = lambda *a, **k: None", "raise ValueError('unseen')"
    ),
    "its outputs cleared": failed(
        "KeyError: 'gone'",
        "from IPython.display import clear_output\nget_ipython().set_custom_exc((KeyError,), "
        "lambda *a, **k: clear_output())\nprint('all well')",
        "raise KeyError('gone')",
    ),
    # these leave an error output
    "bash": failed("CalledProcessError", "%%bash\nexit 3"),
    "syntax": failed("SyntaxError", "x ="),
    "indentation": failed("IndentationError", "  x = 1\n x = 2"),
    "assertion without words": failed("AssertionError", "assert False"),
    "interrupt raised": failed("KeyboardInterrupt", "raise KeyboardInterrupt"),
    "interrupt sent": failed("KeyboardInterrupt", "import os, signal, time\nos.kill(os.getpid(), 2)\ntime.sleep(9)"),
    "sys.exit(0)": failed("sys.exit(0)", "import sys\nsys.exit(0)"),
    "SystemExit(3)": failed("sys.exit(3)", "raise SystemExit(3)"),
    "SystemExit()": failed("sys.exit()", "raise SystemExit"),
    "an exception that cannot be shown": failed(
        "RuntimeError: no words",
        "class Odd(Exception):\n    def __str__(self): raise RuntimeError('no words')\nraise Odd",
    ),
    "an exception of an odd name": failed(":", "raise type('<b>&\\n', (Exception,), {})('x')"),
    "a very long message": failed("ValueError: xxx", "raise ValueError('x' * 5_000_000)"),
    "within capture": failed("ZeroDivisionError", "%%capture\n1/0"),
    "recursion": failed("RecursionError", "def f(): f()\nf()"),
    "no memory": failed("MemoryError", "raise MemoryError"),
    "shown and gone on": failed(
        "ZeroDivisionError", "try:\n    1/0\nexcept Exception:\n    get_ipython().showtraceback()"
    ),
    "not the last": Case(("%nosuchmagic", "print('after')"), "failed", "failed, never ran", "%nosuchmagic"),
    "behind the verdict": failed("%nosuchmagic", RECORDS, "finish(Verdict.OK)", "%nosuchmagic"),
    # these never answer
    "os._exit": Case(("import os\nos._exit(0)",), "killed", "killed", "The kernel died"),
    "segmentation fault": Case(("import os\nos.kill(os.getpid(), 11)",), "killed", "killed", "The kernel died"),
    "it replaces itself": Case(
        ("import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(3)'])",),
        "killed",
        "killed",
        "The kernel died",
    ),
    "no end": Case(("import time\ntime.sleep(60)",), "timed out", "timed out", "No answer within 2 s", timeout=2),
    # these succeed
    "errors that are expected": Case(("1/0 # raises-exception", "print(1)"), "done", "executed, executed"),
    "an expected ExceptionGroup": Case(
        ("raise ExceptionGroup('x', [ValueError()]) # raises-exception",), "done", "executed"
    ),
    "an expected magic": Case(("%nosuchmagic # raises-exception",), "done", "executed"),
    "expected, then not": Case(
        ("1/0 # raises-exception", "%nosuchmagic"), "failed", "executed, failed", "%nosuchmagic"
    ),
    "a caught ExceptionGroup": Case(
        ("try:\n    raise ExceptionGroup('x', [ValueError()])\nexcept* ValueError:\n    print('caught')",),
        "done",
        "executed",
    ),
    "bash that need not succeed": Case(("%%bash --no-raise-error\nexit 3",), "done", "executed"),
    "an empty last cell": Case(("print(1)", " \n"), "done", "executed, skipped"),
    "exit(), which ends no kernel of a run": Case(("exit()", "print(1)"), "done", "executed, executed"),
    "a failed thread": Case(
        ("import threading\nt = threading.Thread(target=lambda: 1/0)\nt.start()\nt.join()",), "done", "executed"
    ),
    "words like an error": Case(
        ("import sys\nprint('Traceback: ZeroDivisionError', file=sys.stderr)",), "done", "executed"
    ),
}


FEW = (
    *(
        "TaskGroup",
        "unknown line magic",
        "a handler of the notebook's own",
        "bash",
        "sys.exit(0)",
        "os._exit",
        "no end",
    ),
    *("shown and gone on", "behind the verdict", "errors that are expected", "an expected magic", "expected, then not"),
)
"""Each takes seconds with a kernel that must start."""

RUNS = [("runbook", name) for name in CASES]
RUNS += [
    ("papermill", name) for name in (CASES if SOAK else FEW) if name != "it replaces itself"
]  # it never ends there


def _notebook(case: Case) -> bytes:
    cells = [new_code_cell("x = 1", metadata={"tags": ["parameters"]})]
    for source in case.cells:
        tags = ["raises-exception"] if source.endswith("# raises-exception") else []
        cells.append(new_code_cell(source.removesuffix(" # raises-exception"), metadata={"tags": tags}))
    nb = new_notebook(cells=cells)
    nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return str(nbformat.writes(nb)).encode()


@pytest.fixture(scope="module")
def told() -> Iterator[dict[tuple[str, str], Future[Produced]]]:
    """The result of each case, by engine and name."""

    def by_papermill(job: Job) -> Produced:
        with tempfile.TemporaryDirectory() as folder:
            return produce(job, folder=Path(folder), clock=SystemClock())

    jobs = {
        name: Job(Source("nb.ipynb", _notebook(case), None), "demo", {}, cell_timeout=case.timeout)
        for name, case in CASES.items()
    }
    with JobServer() as server, ThreadPoolExecutor(4) as pool:
        run = {"runbook": lambda job: server.run(job, clock=SystemClock()), "papermill": by_papermill}
        yield {(engine, name): pool.submit(run[engine], jobs[name]) for engine, name in RUNS}


@pytest.mark.parametrize(("engine", "name"), RUNS)
def test_a_run_is_what_its_kernel_answered(
    told: dict[tuple[str, str], Future[Produced]], engine: str, name: str
) -> None:
    case, record = CASES[name], told[engine, name].result().record
    said = (record.error or {"what": ""})["what"]
    assert (record.engine, record.status.value, said) == (engine, case.status, said)
    assert ", ".join(record.cells.states).endswith(case.states), said
    assert case.words in said
    assert record.exit == (0 if case.status == "done" else 1)


def test_a_kernel_that_answered_and_whose_outputs_did_not_arrive_is_told_as_that() -> None:
    cell = new_code_cell("print(1)", metadata={"papermill": {"start_time": "2026-11-28T12:00:00Z"}})
    end = End(Ending(exception="CellTimeoutError", message="x"), 1, False, None, "")
    said = judge(new_notebook(cells=[cell]), end, cell_timeout=2, deadline=9)
    assert (said.error or {})["what"] == "No answer within 2 s, in code cell 1 of 1."
    cell.metadata["execution"] = {"shell.execute_reply": "2026-11-28T12:00:01Z"}
    said = judge(new_notebook(cells=[cell]), end, cell_timeout=2, deadline=9)
    what = "The kernel answered, but not all its outputs arrived, in code cell 1 of 1."
    assert (said.status.value, said.exit, (said.error or {})["what"]) == ("timed out", 1, what)
    assert [state.value for state in said.cells] == ["timed out"]
