"""The command line's words and the environment's variables."""

from __future__ import annotations

import contextlib
import io
import tempfile

import click
from hypothesis import strategies as st

from runbook_lib.cli.commands import Command, refusal
from runbook_lib.credentials.store import Store
from runbook_lib.digicert.environments import HOSTS, Environment
from runbook_lib.notebooks import find_notebook
from runbook_lib.procedures.parameters import DoctorParameters
from tests.cli.commands import call, commands, options
from tests.fuzz.doors import door, fuzz, nasty, text

ACTS = (
    "archive head",
    "archive verify",
    "archive index",
    "archive gaps",
    "archive diff",
    "archive list",
    "archive show",
)
"""Commands that only read an archive, and so can be tried as they are."""

COMMANDS = {name: command for name, command in commands().items() if isinstance(command, Command)}
OPTIONS = sorted({option for command in COMMANDS.values() for option in options(command)})
words = st.lists(
    st.sampled_from(OPTIONS) | text | st.builds("{}={}".format, st.sampled_from(OPTIONS), text), max_size=5
)
variables = ("DIGICERT_ONE_URL", "DIGICERT_ONE_CLIENTAUTH_URL", "DIGICERT_ONE_CA_FILE", "DIGICERT_ONE_STORE", "HOME")
environs = st.dictionaries(st.sampled_from(variables), text | st.just("https://localhost:1"))


@fuzz(st.sampled_from(sorted(COMMANDS)), words, examples=200)
def test_words_are_understood_or_refused_with_exit_code_2(name: str, given: list[str]) -> None:
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            COMMANDS[name].make_context(name, list(given))
    except click.exceptions.Exit as end:
        assert end.exit_code == 0
        assert told.getvalue()
    except click.UsageError as error:
        assert refusal(error).startswith(f"{name}: ")


@fuzz(st.sampled_from(ACTS), st.lists(text | st.sampled_from(["--from", "--to", "--head", "--excerpt"]), max_size=4))
def test_a_command_on_an_empty_archive_ends_in_words(name: str, given: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        place = ["--archive", folder] if name in ("archive diff", "archive show") else [folder]
        with contextlib.suppress(click.UsageError, click.exceptions.Exit):
            door(lambda: call([*name.split(), *given, *place]))


@fuzz(text)
def test_a_notebook_is_found_or_told(word: str) -> None:
    door(lambda: find_notebook(word))


@fuzz(st.sampled_from(["sandbox", "configured", *HOSTS]) | text, environs, text, examples=150)
def test_variables_name_an_environment_and_a_store_or_are_told(name: str, environ: dict[str, str], ca: str) -> None:
    environment = door(lambda: Environment.named(name, environ=environ, ca_file=ca))
    store = door(lambda: Store.default(environ))
    if environment is not None and store is not None:
        door(lambda: store.credential(environment.name, "a"))
    door(lambda: DoctorParameters().make_environment(environ))


@fuzz(nasty)
def test_a_parameter_of_a_run_is_refused_before_anything_runs(word: str) -> None:
    with contextlib.suppress(click.UsageError):
        door(lambda: call(["run", "none.ipynb", "-p", word, word]))
