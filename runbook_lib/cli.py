"""`runbook`: the sandbox, headless runs, checks. Nothing heavy is imported before the command that needs it."""

from __future__ import annotations

import io
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.cli_archive import archive_app
from runbook_lib.cli_keep import keep_app
from runbook_lib.cli_run import read_parameters, run_one, say_outcome
from runbook_lib.errors import RunbookError
from runbook_lib.notebooks import NOTEBOOKS
from runbook_lib.terminal import err, out, tell, visible

if TYPE_CHECKING:
    from runbook_lib.result import StepRecord

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
sandbox_app = typer.Typer(no_args_is_help=True, help="A local DigiCert ONE: real TLS, its own CA.")
app.add_typer(sandbox_app, name="sandbox")
archive_app.add_typer(keep_app)
app.add_typer(archive_app, name="archive")


MARK = {"ok": "✓", "nothing to do": "✓", "planned": "·", "attention": "!"}


def main() -> None:
    """Run the command line; every way out has an exit code of `Exit`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no ✓ is no reason to fail
    try:
        app(_join_pairs(sys.argv[1:]))
    except RunbookError as error:
        tell(error)
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
    raise typer.Exit(int(say_outcome(file.stem, outcome, fail_on=fail_on)))


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


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Made anew; holds the sandbox, its store and the archive.")] = Path(
        "build/demo"
    ),
) -> None:
    """Take a service user of a fresh sandbox through every runbook, headlessly, and say where the reports are."""
    from runbook_lib import cli_demo

    raise typer.Exit(int(cli_demo.demo(folder)))


@app.command()
def lab(
    state: State = Path("build/lab"),
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """JupyterLab on the notebooks, with a sandbox beside it that ends with it."""
    from runbook_lib import cli_demo

    raise typer.Exit(cli_demo.lab(state, browser=browser))


if __name__ == "__main__":
    main()
