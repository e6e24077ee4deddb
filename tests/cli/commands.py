"""Every command that there is, by the words that call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from runbook_lib.cli.root import runbook


def commands() -> dict[str, click.Command]:
    """All commands and groups: `{"": …, "run": …, "archive": …, "archive verify": …}`."""
    found: dict[str, click.Command] = {}

    def walk(words: tuple[str, ...], command: click.Command) -> None:
        found[" ".join(words)] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                walk((*words, name), below)

    walk((), runbook)
    return found


def options(command: click.Command) -> set[str]:
    """The options of a command as they are typed."""
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def call(words: Sequence[str]) -> Any:
    """Do what the words say. Raises RunbookError, and for `--help` and wrong words what click raises."""
    with runbook.make_context("runbook", list(words)) as context:
        return runbook.invoke(context)
