"""`runbook`: the sandbox, headless runs, checks. Nothing heavy is imported before the command that needs it."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.cli_archive import archive_app
from runbook_lib.cli_keep import keep_app
from runbook_lib.errors import RunbookError
from runbook_lib.notebooks import NOTEBOOKS, find_notebook
from runbook_lib.terminal import err, out, visible

if TYPE_CHECKING:
    from runbook_lib.reports.outcome import RunOutcome
    from runbook_lib.result import StepRecord

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
sandbox_app = typer.Typer(no_args_is_help=True, help="A local DigiCert ONE: real TLS, its own CA.")
app.add_typer(sandbox_app, name="sandbox")
archive_app.add_typer(keep_app)
app.add_typer(archive_app, name="archive")


PROGRESS = {"nothing due": Exit.NOTHING_DUE, "progressed": Exit.PROGRESSED, "waiting": Exit.WAITING}
"""What --exit-detail makes of a rotation's progress; "finished" is 0."""

MARK = {"ok": "✓", "nothing to do": "✓", "planned": "·", "attention": "!"}


def main() -> None:
    """Run the command line; every way out has an exit code of `Exit`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no ✓ is no reason to fail
    try:
        app(_join_pairs(sys.argv[1:]))
    except RunbookError as error:
        _tell(error)
        sys.exit(int(error.exit))
    except KeyboardInterrupt:
        err().print("Interrupted.")
        sys.exit(int(Exit.UNEXPECTED))


def _join_pairs(words: list[str]) -> list[str]:
    """Typer knows no option of two words that may be repeated, so `-p NAME VALUE` reaches it as `-p NAME=VALUE`."""
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        joined.append(word)
        if word == "-p":
            joined.append("=".join(islice(rest, 2)))
    return joined


def _tell(error: RunbookError) -> None:
    err().print(f"{error.explanation.title} [{error.reason.value}]", style="bold red")
    for line in str(error).splitlines():
        err().print(visible(line))


# --- sandbox ----------------------------------------------------------------------------------------------------------

State = Annotated[Path, typer.Option("--state", help="The sandbox's folder: everything it knows is in it.")]


@sandbox_app.command("start")
def sandbox_start(
    state: State,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in front until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="Of the API host; 0: the one it had before, else a free one.")] = 0,
    clientauth_port: Annotated[int, typer.Option(help="Of the mTLS host; 0: likewise.")] = 0,
    root_only: Annotated[
        bool, typer.Option("--root-only", help="The mTLS host knows only the root: a P12 without its CA is refused.")
    ] = False,
    populate: Annotated[int, typer.Option(help="Make this many service users with certificates of all ages.")] = 0,
    faults: Annotated[
        Path | None, typer.Option(help="YAML file of rules by which requests go wrong; see parameters/faults.")
    ] = None,
    fault_seed: Annotated[
        int | None, typer.Option(help="Repeats what a seed printed by an earlier start gave. Drawn when not given.")
    ] = None,
) -> None:
    """Start it in the background and return when it answers."""
    import shlex

    from runbook_lib.sandbox import control

    running = control.is_running(state)
    env = control.start(
        state,
        foreground=foreground,
        port=port,
        clientauth_port=clientauth_port,
        clientauth_trusts="root" if root_only else "intermediate",
        populate=populate,
        faults=faults,
        fault_seed=fault_seed,
    )
    out().print("The sandbox runs already." if running else "The sandbox answers.")
    if seed := control.fault_seed_of(env):
        out().print(f"Faults are on. Their seed is {seed}.")
    out().print(f"set -a; . {shlex.quote(str(env))}; set +a")


@sandbox_app.command("stop")
def sandbox_stop(state: State) -> None:
    """End it; its state is kept."""
    from runbook_lib.sandbox import control

    control.stop(state)


# --- runs -------------------------------------------------------------------------------------------------------------

ArchiveOption = Annotated[
    Path, typer.Option("--archive", envvar="DIGICERT_ONE_ARCHIVE", help="Where the bags go.", show_default=True)
]

FailOn = Annotated[str, typer.Option(help="due: exit 20 where a certificate needs action.")]


def _check(fail_on: str) -> None:
    if fail_on not in ("", "due"):
        raise RunbookError(Reason.BAD_PARAMETER, f"--fail-on: {fail_on!r} is not known; `due` is.")


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help=f"{', '.join(NOTEBOOKS)}; or the path of an .ipynb file.")],
    files: Annotated[list[Path] | None, typer.Option("-f", help="YAML file of parameters; later ones win.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="One parameter; wins over every file.")
    ] = None,
    archive: ArchiveOption = Path("archive"),
    cell_timeout: Annotated[int, typer.Option(min=1, help="Seconds for one cell.")] = 600,
    deadline: Annotated[int, typer.Option(min=1, help="Seconds for the whole run.")] = 3600,
    fail_on: FailOn = "",
    exit_detail: Annotated[
        bool, typer.Option("--exit-detail", help="rotate: 10 nothing was due, 11 progressed, 12 waiting; else 0.")
    ] = False,
) -> None:
    """Run one notebook headlessly and archive it. The last line on stdout is the path of the run's bag."""
    _check(fail_on)
    given = read_parameters(files or [], parameters or [])
    code = run_one(
        notebook,
        given,
        archive=archive,
        cell_timeout=cell_timeout,
        deadline=deadline,
        fail_on=fail_on,
        exit_detail=exit_detail,
    )
    raise typer.Exit(int(code))


@app.command()
def batch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The fleet: YAML, or CSV with a column `account`.")],
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; else one a processor.")] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Only part I of N; an account is always in the same.")
    ] = "1/1",
    engine: Annotated[str, typer.Option(help="local, or dask.")] = "local",
    scheduler: Annotated[str, typer.Option(metavar="ADDR", help="Of dask: tcp://HOST:8786 or tls://HOST:8786.")] = "",
    archive: ArchiveOption = Path("archive"),
    fail_on: FailOn = "",
) -> None:
    """Run a notebook for many accounts and archive them in one bag. The last line on stdout is its path.

    Exit code 40: the outcome of a request is unknown; 1: accounts are missing; 30: some failed; 0: all are done. After
    40 and 1 the same command does what is missing.
    """
    from runbook_lib import cli_batch

    _check(fail_on)
    outcome = cli_batch.run(
        file, jobs=jobs, shard=shard, engine=engine, scheduler=scheduler, archive=archive, err=err()
    )
    raise typer.Exit(int(_told(file.stem, outcome, fail_on=fail_on)))


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
    from runbook_lib.reports.engine.forkserver import server_where_possible

    path, job = find_notebook(notebook)
    if path.stem in NOTEBOOKS.values():
        given = {"mode": "headless"} | given
    err().print(f"{job}: running {path.name}, to be archived in {archive}")
    with server_where_possible() as server:
        from runbook_lib.reports.runner import run_notebook  # while the server imports what it needs

        outcome = run_notebook(
            path,
            given,
            job=job,
            archive=archive,
            clock=SystemClock(),
            cell_timeout=cell_timeout,
            deadline=deadline,
            environ=environ,
            server=server,
        )
    return _told(job, outcome, fail_on=fail_on, exit_detail=exit_detail)


def _told(job: str, outcome: RunOutcome, *, fail_on: str, exit_detail: bool = False) -> Exit:
    if outcome.error is not None:
        _tell(RunbookError.from_dict(outcome.error))
    for missing in (outcome.unsigned, outcome.unstamped):
        if missing is not None:
            _tell(RunbookError.from_dict(missing))
    code = outcome.exit
    if code is Exit.DONE and fail_on == "due" and outcome.needs_action:
        code = Exit.DUE
    if code is Exit.DONE and exit_detail:
        code = PROGRESS.get(outcome.progress, code)
    said = f"{job}: {outcome.status.value}" + (f", {outcome.progress}" if outcome.progress else "")
    if outcome.needs_action:
        said += f", {outcome.needs_action} need action"
    err().print(said)
    _say_place(outcome.bag)
    return code


def _say_place(bag: Path) -> None:
    """Nobody may want to read it (`| true`, `>&-`): that changes nothing about how the run ended."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{bag}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again when it ends


def read_parameters(files: list[Path], pairs: list[str]) -> dict[str, Any]:
    """Parameters of YAML files and of NAME=VALUE pairs, the later ones winning. Raises RunbookError (BAD_PARAMETER)."""
    import yaml

    given: dict[str, Any] = {}
    for file in files:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunbookError(Reason.BAD_PARAMETER, f"{file} cannot be read: {error.strerror}.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f" in line {mark.line + 1}" if mark else ""
            raise RunbookError(Reason.BAD_PARAMETER, f"{file} is not YAML{where}.") from None
        if content is not None and not isinstance(content, dict):
            raise RunbookError(Reason.BAD_PARAMETER, f"{file} holds no `name: value` lines.")
        given |= content or {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RunbookError(Reason.BAD_PARAMETER, f"-p {name}: its value is missing; write -p NAME VALUE.")
        given[name] = _typed(value)
    return given


def _typed(text: str) -> Any:
    """True and false, numbers, else text. Only what is written as the number is: a name 0012 or 1_000 stays itself."""
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]+", text) else text


# --- checks -----------------------------------------------------------------------------------------------------------


@app.command()
def doctor(
    files: Annotated[list[Path] | None, typer.Option("-f", help="YAML file of parameters.")] = None,
    parameters: Annotated[list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="One parameter.")] = None,
) -> None:
    """Check connection, clock, secrets, service user and store; each failure with its remedy."""
    from runbook_lib.procedures.doctor import Doctor
    from runbook_lib.procedures.parameters import DoctorParameters, intake
    from runbook_lib.result import Verdict

    given = {"mode": "headless"} | read_parameters(files or [], parameters or [])
    procedure = Doctor(intake(DoctorParameters, given)[0])
    for step in Doctor.steps():
        _print_step(procedure.perform(step.slug))
    failed = procedure.finish().verdict is Verdict.FAILED
    raise typer.Exit(int(Exit.CHECK_FAILED if failed else Exit.DONE))


def _print_step(record: StepRecord) -> None:
    out().print(f"{MARK.get(record.verdict, '✗')} {record.title}")
    if record.error is not None:
        out().print(visible(f"    {record.error['what']}"))
        out().print(visible(f"    What to do: {record.error['remedy']}"))
        return
    assert record.result is not None  # noqa: S101  (a record has one or the other)
    out().print(visible(f"    {record.result.headline}"))
    for verdict, name, seen in record.result.details:
        out().print(visible(f"    {MARK.get(verdict, '✗')} {name}: {seen}"))
    for label, value in record.result.facts.items():
        out().print(visible(f"      {label}: {value}"))


# --- demo and lab -----------------------------------------------------------------------------------------------------


@contextmanager
def _sandbox(state: Path) -> Iterator[dict[str, str]]:
    """A sandbox for as long as the block runs, and the environment that points to it."""
    import subprocess

    from runbook_lib.sandbox import control

    was_running = control.is_running(state)
    env = control.start(state)
    listed = subprocess.run(
        ["sh", "-c", 'set -a; . "$1"; env -0', "sh", str(env)], check=True, capture_output=True, text=True
    ).stdout
    try:
        yield dict(line.split("=", 1) for line in listed.split("\0") if line)
    finally:
        if not was_running:
            control.stop(state)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Made anew; holds the sandbox, its store and the archive.")] = Path(
        "build/demo"
    ),
) -> None:
    """Take a service user of a fresh sandbox through every runbook, headlessly, and say where the reports are."""
    import secrets
    import shutil
    import subprocess

    from runbook_lib.reports import chain
    from runbook_lib.sandbox import control

    folder = folder.absolute()
    control.stop(folder / "sandbox")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder / "archive"
    ours = read_parameters([Path(__file__).parent.parent / "parameters" / "sandbox.yaml"], [])
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("doctor", {}),
        ("issue", {}),
        ("verify", {}),
        ("inventory", {}),
        ("rotate", {"rotate_now": True, "overlap_days": 0}),
        ("access", {"action": "disable and re-enable"}),
        ("access", {"action": "disable"}),
        ("inventory", {}),
    ]
    codes = []
    runbook = [sys.executable, "-m", "runbook_lib.cli", "archive"]
    with _sandbox(folder / "sandbox") as environ:
        environ["DIGICERT_ONE_ARCHIVE_PASSPHRASE"] = secrets.token_hex(32)
        subprocess.run([*runbook, "init", "--archive", archive], env=environ, check=True)
        for job, more in jobs:
            codes.append(run_one(job, ours | more, archive=archive, environ=environ))
        out().print("\nThe auditor's view: as a notebook, as a command, and with a shell, sha256sum and openssl alone:")
        kept = chain.find_head(archive).digest  # as somebody would who keeps it in a ticket
        codes.append(run_one("archive", ours | {"known_head": kept}, archive=archive, environ=environ))
    for command in ([*runbook, "verify", str(archive)], ["sh", "verify.sh"]):
        held = subprocess.run(command, cwd=archive, check=False).returncode == 0
        codes.append(Exit.DONE if held else Exit.CHECK_FAILED)
    out().print(f"\nEvery report, with its status: {archive / 'index.html'}")
    raise typer.Exit(int(max(codes)))


@app.command()
def lab(
    state: State = Path("build/lab"),
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """JupyterLab on the notebooks, with a sandbox beside it that ends with it."""
    import subprocess

    notebooks = Path(__file__).parent.parent / "notebooks"
    command = [sys.executable, "-m", "jupyterlab", str(notebooks / "00_start_here.ipynb")]
    command += [] if browser else ["--no-browser"]
    command += ["--allow-root"] if os.geteuid() == 0 else []  # as in a container; JupyterLab refuses else
    with _sandbox(state.absolute()) as environ:
        code = subprocess.run(command, env=environ, check=False).returncode
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
