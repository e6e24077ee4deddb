"""Which commands there are, and that asking what they are costs next to nothing."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib import cli
from runbook_lib.catalogue import Exit
from runbook_lib.command import USAGE
from tests.test_cli import RUNBOOK, runbook

HEAVY = {"pydantic", "cryptography", "requests", "rich", "ssl", "asyncio", "yaml", "nbformat", "jinja2", "pandas"}
"""What takes long to import, and no command needs before it has read its words."""

PAGES = ["--help", *(f"{name} --help" for name in (*cli.GROUPS, *cli.COMMANDS))]


def imported(words: str, cwd: Path) -> set[str]:
    """Every module that `runbook WORDS` imports."""
    command = [sys.executable, "-X", "importtime", str(RUNBOOK), *words.split()]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("page", PAGES)
def test_no_page_imports_what_only_the_work_needs(page: str, tmp_path: Path) -> None:
    assert imported(page, tmp_path) & HEAVY == set()


@pytest.mark.parametrize("words", ["", "sandbox", "archive", "--help", "archive --help"])
def test_the_pages_of_commands_import_nothing_of_the_rooms(words: str, tmp_path: Path) -> None:
    ours = {name for name in imported(words, tmp_path) if name.startswith("runbook_lib")}
    assert ours == {"runbook_lib", "runbook_lib.cli", "runbook_lib.command", "runbook_lib.streams"}


def test_verifying_an_archive_takes_neither_pydantic_nor_http(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    seen = imported("archive verify archive", tmp_path)
    assert "runbook_lib.archive.verify" in seen
    assert seen & (HEAVY - {"cryptography"}) == set()


def test_an_import_that_a_command_needs_is_seen(tmp_path: Path) -> None:
    assert {"pydantic", "cryptography", "requests"} <= imported("doctor", tmp_path)
    assert "runbook_lib.notebooks" in imported("run nothing", tmp_path)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_s_line_is_how_its_own_page_begins_and_its_words_reach_it(name: str) -> None:
    command = cli.find(name)
    told = " ".join((command.function.__doc__ or "").split())
    assert told.startswith(cli.COMMANDS[name][1])
    takes = {action.dest for action in command.parser(name)._actions if action.dest != "help"}
    assert takes == set(inspect.signature(command.function).parameters)


def test_every_command_has_its_line_on_the_page_of_its_group(tmp_path: Path) -> None:
    shown: set[tuple[str, str]] = set()
    for group in ("", *cli.GROUPS):
        page = runbook(*group.split(), "--help", cwd=tmp_path, environ={"COLUMNS": "200"})
        assert (page.returncode, page.stderr) == (Exit.DONE, "")
        lines = dict(re.findall(r"^  ([a-z]+) +(\S.*)$", page.stdout, re.MULTILINE))
        shown |= {f"{group} {name}".strip(): line for name, line in lines.items()}.items()
    assert shown == {(name, line) for name, (_, line) in cli.COMMANDS.items()} | cli.GROUPS.items()


@pytest.mark.parametrize("group", ["", "sandbox", "archive"])
def test_no_command_is_a_mistake_that_is_answered_with_the_commands(group: str, tmp_path: Path) -> None:
    done = runbook(*group.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr == runbook(*group.split(), "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("isue", "no command 'isue'. Did you mean `runbook run issue`?"),
        ("verify", "Did you mean `runbook archive verify` or `runbook run verify`?"),
        ("archive verfy", "Did you mean `runbook archive verify`?"),
        ("archiv verify x", "Did you mean `runbook archive` or `runbook run archive`?"),
        ("run isue", "Did you mean issue?"),
        ("run issue --achive x", "no option --achive. Did you mean --archive?"),
        ("run issue --arch x", "no option --arch. Did you mean --archive?"),  # an abbreviation may later mean another
        ("run --hlep", "Did you mean --help?"),
        ("archive purge x --before 2026-13-01 --why y", "'2026-13-01': must be a day, written YYYY-MM-DD"),
        ("batch fleet.yaml --jobs 0", "'0': must be a whole number from 1"),
        ("doctor extra", "unrecognized arguments: extra"),
        ("--versoin", "unrecognized arguments: --versoin"),
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
