"""Which commands there are, what a mistake is answered, and that a page of help costs next to nothing."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import runbook_lib
from runbook_lib.catalogue import Exit
from tests.cli.commands import commands
from tests.cli.test_cli import RUNBOOK, runbook

HEAVY = {"pydantic", "cryptography", "requests", "rich", "ssl", "asyncio", "yaml", "nbformat", "jinja2", "pandas"}
"""What takes long to import, and no command needs before it has read its words."""

ROOMS = {path.parent.name for path in Path(runbook_lib.__file__).parent.glob("*/__init__.py")} - {"cli"}
COMMANDS = commands()
GROUPS = [name for name, command in COMMANDS.items() if isinstance(command, click.Group)]


def imported(words: str, cwd: Path) -> set[str]:
    """Every module that is there after `runbook WORDS`."""
    work = "from runbook_lib.cli.root import run_words; run_words(sys.argv[1:])"
    program = f"import sys; {work}; print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", program, *words.split()]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_no_page_imports_what_only_the_work_needs(name: str, tmp_path: Path) -> None:
    assert imported(f"{name} --help", tmp_path) & HEAVY == set()


@pytest.mark.parametrize("words", ["", "sandbox", "archive", "--help", "archive --help"])
def test_the_pages_of_commands_import_nothing_of_the_rooms(words: str, tmp_path: Path) -> None:
    ours = [name.split(".") for name in imported(words, tmp_path) if name.startswith("runbook_lib.")]
    assert "cli" in {parts[1] for parts in ours}
    assert {parts[1] for parts in ours} & ROOMS == set()


def test_a_command_imports_no_other_command(tmp_path: Path) -> None:
    ours = imported("archive verify --help", tmp_path)
    assert "runbook_lib.cli.archive.verify" in ours
    assert not ours & {"runbook_lib.cli.run", "runbook_lib.cli.archive.purge", "runbook_lib.cli.sandbox"}


def test_verifying_an_archive_takes_neither_pydantic_nor_http(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    seen = imported("archive verify archive", tmp_path)
    assert "runbook_lib.archive.verify" in seen
    assert seen & (HEAVY - {"cryptography"}) == set()


def test_an_import_that_a_command_needs_is_seen(tmp_path: Path) -> None:
    assert {"pydantic", "cryptography", "requests"} <= imported("doctor", tmp_path)
    assert "runbook_lib.cli.outcome" in imported("run nothing", tmp_path)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(GROUPS)))
def test_a_command_s_words_reach_its_function(name: str) -> None:
    command = COMMANDS[name]
    assert command.callback is not None
    assert {parameter.name for parameter in command.params} == set(inspect.signature(command.callback).parameters)


@pytest.mark.parametrize("group", GROUPS)
def test_a_page_shows_the_first_sentence_of_each_command_whole(group: str, tmp_path: Path) -> None:
    page = runbook(*group.split(), "--help", cwd=tmp_path)
    assert (page.returncode, page.stderr) == (Exit.DONE, "")
    below = [name for name in COMMANDS if name and name.rpartition(" ")[0] == group]
    assert below
    for name in below:
        sentence = " ".join((COMMANDS[name].help or "").split("\n\n")[0].split())
        assert sentence.endswith(".") and ". " not in sentence
        assert sentence in page.stdout


@pytest.mark.parametrize("group", GROUPS)
def test_no_command_is_a_mistake_that_is_answered_with_the_commands(group: str, tmp_path: Path) -> None:
    done = runbook(*group.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert done.stderr == runbook(*group.split(), "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("isue", "no command 'isue'. Did you mean 'runbook run issue'?"),
        ("verify", "Did you mean 'runbook archive verify' or 'runbook run verify'?"),
        ("archive verfy", "Did you mean 'runbook archive verify'?"),
        ("archiv verify x", "Did you mean 'runbook archive' or 'runbook run archive'?"),
        ("run isue", "Did you mean issue?"),
        ("run issue --achive x", "no option --achive. Did you mean --archive?"),
        ("run issue --arch x", "no option --arch. Did you mean --archive?"),  # an abbreviation may later mean another
        ("run --hlep", "Did you mean --help?"),
        ("archive purge x --before 2026-13-01 --why y", "'2026-13-01': must be a day, written YYYY-MM-DD"),
        ("batch fleet.yaml --jobs 0", "'0': must be a whole number from 1"),
        ("doctor extra", "unrecognized arguments: extra"),
        ("batch fleet.yaml --engine dusk", "'dusk': must be local or dask"),
        ("archive purge x --before 2026-01-01 --why --dry-run", "'--why': expected one value"),
        ("run issue --archive", "'--archive' requires an argument"),
        ("--versoin", "no option --versoin. Did you mean --version"),
        ("doctor -p overlap_dys 3", "No notebook has the parameter overlap_dys. Did you mean overlap_days?"),
    ],
)
def test_who_mistypes_is_told_what_there_is(words: str, says: str, tmp_path: Path) -> None:
    done = runbook(*words.split(), cwd=tmp_path)
    assert done.returncode == Exit.USAGE
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_who_writes_something_quite_different_is_told_nothing_wrong(tmp_path: Path) -> None:
    done = runbook("xyzzy", cwd=tmp_path)
    assert done.stderr == "runbook: there is no command 'xyzzy'.\nSee: runbook --help\n"


def test_a_value_of_a_parameter_may_begin_with_dashes(tmp_path: Path) -> None:
    done = runbook("run", "doctor", "-p", "colour", "--red", "-p", "name", "-x", "--archive", "archive", cwd=tmp_path)
    assert "unknown_parameter" in done.stderr


@pytest.mark.parametrize("nobody", ["| true", ">&-", "| head -c 1"])
def test_a_page_that_nobody_reads_to_its_end_is_no_traceback(nobody: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{RUNBOOK} archive --help {nobody}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_the_module_is_the_same_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runbook_lib.cli", "archive", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == runbook("archive", "--help", cwd=tmp_path).stdout


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert runbook("--version", cwd=tmp_path).stdout == f"runbook {version('digicert-one-runbooks')}\n"


# --- completion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("runbook arch", {"archive"}),
        ("runbook archive ver", {"verify"}),
        ("runbook run --arch", {"--archive"}),
        ("runbook run ro", {"rotate"}),
        ("runbook batch x --engine d", {"dask"}),
        ("runbook xyzzy", set()),
        ("runbook xyzzy x", set()),
    ],
)
def test_bash_completes_commands_options_and_notebooks(typed: str, offered: set[str], tmp_path: Path) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = runbook(environ={"_RUNBOOK_COMPLETE": "bash_complete", **words}, cwd=tmp_path)
    assert ({line.partition(",")[2] for line in done.stdout.split()}, done.stderr) == (offered, "")


def test_bash_takes_the_completion_that_the_program_writes(tmp_path: Path) -> None:
    script = 'eval "$(_RUNBOOK_COMPLETE=bash_source runbook)"; complete -p runbook'
    environ = {**os.environ, "PATH": f"{RUNBOOK.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert "_runbook_completion" in done.stdout, done.stderr
