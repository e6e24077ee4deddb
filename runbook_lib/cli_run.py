"""`runbook run` and `batch`: parameters from files and words, a run, and what is said of it."""

from __future__ import annotations

import gc
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib import given
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.command import ARCHIVE, FAIL_ON, FILES, PARAMETERS, argument, command, path, positive
from runbook_lib.errors import RunbookError
from runbook_lib.notebooks import NOTEBOOKS, find_notebook, imported_by
from runbook_lib.streams import Unwritten, hang_up
from runbook_lib.terminal import err, tell

if TYPE_CHECKING:
    from runbook_lib.reports.outcome import RunOutcome

PROGRESS = {"nothing due": Exit.NOTHING_DUE, "progressed": Exit.PROGRESSED, "waiting": Exit.WAITING}
"""What --exit-detail makes of a rotation's progress; "finished" is 0."""


@command(
    argument("notebook", metavar="NOTEBOOK", help=f"{', '.join(NOTEBOOKS)}; or the path of an .ipynb file."),
    FILES,
    PARAMETERS,
    ARCHIVE,
    argument(
        "--cell-timeout", metavar="N", type=positive, default=600, help="Seconds for one cell. [default: %(default)s]"
    ),
    argument(
        "--deadline", metavar="N", type=positive, default=3600, help="Seconds for the whole run. [default: %(default)s]"
    ),
    FAIL_ON,
    argument(
        "--exit-detail", action="store_true", help="rotate: 10 nothing was due, 11 progressed, 12 waiting; else 0."
    ),
)
def run(
    notebook: str,
    files: list[Path],
    parameters: list[str],
    archive: Path,
    cell_timeout: int,
    deadline: int,
    fail_on: str,
    exit_detail: bool,
) -> Exit:
    """Run one notebook headlessly and archive it. The last line on stdout is the path of the run's bag."""
    return run_one(
        notebook,
        read_parameters(files, parameters),
        archive=archive,
        cell_timeout=cell_timeout,
        deadline=deadline,
        fail_on=fail_on,
        exit_detail=exit_detail,
    )


@command(
    argument("file", metavar="FILE", type=path, help="The fleet: YAML, or CSV with a column `account`."),
    argument("--jobs", metavar="N", type=positive, help="Runs at a time; else one a processor."),
    argument(
        "--shard",
        metavar="I/N",
        default="1/1",
        help="Only part I of N; an account is always in the same. [default: %(default)s]",
    ),
    argument("--engine", metavar="NAME", default="local", help="local, or dask. [default: %(default)s]"),
    argument("--scheduler", metavar="ADDR", default="", help="Of dask: tcp://HOST:8786 or tls://HOST:8786."),
    ARCHIVE,
    FAIL_ON,
)
def batch(file: Path, jobs: int | None, shard: str, engine: str, scheduler: str, archive: Path, fail_on: str) -> Exit:
    """Run a notebook for many accounts and archive them in one bag. The last line on stdout is its path.

    Exit code 40: the outcome of a request is unknown; 1: accounts are missing; 30: some failed; 0: all are done. After
    40 and 1 the same command does what is missing.
    """
    from runbook_lib import cli_batch

    outcome = cli_batch.run(file, jobs=jobs, shard=shard, engine=engine, scheduler=scheduler, archive=archive)
    return say_outcome(file.stem, outcome, fail_on=fail_on)


def run_one(
    notebook: str,
    given: dict[str, Any],
    *,
    archive: Path,
    cell_timeout: int = 600,
    deadline: int = 3600,
    fail_on: str = "",
    exit_detail: bool = False,
    environ: dict[str, str] | None = None,
) -> Exit:
    """Run a notebook, say how it ended, and print the bag's path last."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.engine.kernels import Kernels

    path, job = find_notebook(notebook)
    if path.stem in NOTEBOOKS.values():
        given = {"mode": "headless"} | given
    err(f"{job}: running {path.name}, to be archived in {archive}")
    gc.disable()  # while all that is made stays
    # while it imports what the notebook needs, we do what the run needs
    with Kernels(preload=imported_by(path)) if sys.platform == "linux" else nullcontext() as kernels:
        from runbook_lib.runner import run_notebook

        if kernels is not None:
            import runbook_lib.job_process  # noqa: F401
        gc.freeze()
        gc.enable()
        outcome = run_notebook(
            path,
            given,
            job=job,
            archive=archive,
            clock=SystemClock(),
            cell_timeout=cell_timeout,
            deadline=deadline,
            environ=environ,
            kernels=kernels,
        )
    return say_outcome(job, outcome, fail_on=fail_on, exit_detail=exit_detail)


def say_outcome(job: str, outcome: RunOutcome, *, fail_on: str, exit_detail: bool = False) -> Exit:
    if outcome.error is not None:
        tell(RunbookError.from_dict(outcome.error))
    for missing in (outcome.unsigned, outcome.unstamped):
        if missing is not None:
            tell(RunbookError.from_dict(missing))
    code = outcome.exit
    if code is Exit.DONE and fail_on == "due" and outcome.needs_action:
        code = Exit.DUE
    if code is Exit.DONE and exit_detail:
        code = PROGRESS.get(outcome.progress, code)
    said = f"{job}: {outcome.status.value}" + (f", {outcome.progress}" if outcome.progress else "")
    if outcome.needs_action:
        said += f", {outcome.needs_action} need action"
    err(said)
    _say_place(outcome.bag)
    return code


def _say_place(bag: Path) -> None:
    """Nobody may want to read it (`| true`, `>&-`), or its disk be full: that does not change how the run ended."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{bag}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        hang_up()
    except Unwritten as error:
        hang_up()
        err(f"Standard output cannot be written: {error}. The bag is {bag}")


def read_parameters(files: list[Path], pairs: list[str]) -> dict[str, Any]:
    """Parameters of YAML files and of NAME=VALUE pairs, the later ones winning. Raises RunbookError (BAD_PARAMETER)."""
    from runbook_lib import yaml_as_written

    found: dict[str, Any] = {}
    for file in files:
        content, node = yaml_as_written.read_file(file)
        if content is not None and not isinstance(content, dict):
            raise RunbookError(Reason.BAD_PARAMETER, f"{file} holds no `name: value` lines.")
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value} if node is not None else {}
        for name in content or {}:
            _refuse_name(f"{file}, line {lines[name]}" if name in lines else str(file), name)
        found |= content or {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        _refuse_name("-p", name)
        if not equals:
            raise RunbookError(Reason.BAD_PARAMETER, f"-p {name}: its value is missing; write -p NAME VALUE.")
        try:
            found[name] = _typed(value)
        except ValueError as error:
            raise RunbookError(Reason.BAD_PARAMETER, f"-p {name}: {error}.") from None
    return found


def _refuse_name(where: str, name: str) -> None:
    """A parameter becomes a line `name = value` of the notebook."""
    if not given.is_name(name):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{where}: {given.shown(name)} cannot be a parameter's name.",
            remedy="A name has letters, digits and underscores, and no digit first, for example due_days. "
            "Write -p NAME VALUE, or NAME: VALUE in a YAML file.",
        )


def _typed(text: str) -> Any:
    """True and false, numbers, else text. Only what is written as the number is: a name 0012 or 1_000 stays itself."""
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    given.text(text)
    number = given.number(text)
    return text if number is None else number
