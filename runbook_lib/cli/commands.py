"""Our additions to click: groups whose commands are modules, and the wording of refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import click

from runbook_lib.given import did_you_mean
from runbook_lib.notebooks import NOTEBOOKS


class Commands(click.Group):
    """A click group whose commands are the modules of a package.

    Args:
        package: the package; its module `NAME` holds the command NAME as its attribute `command`.
        commands: the commands' names, in the order in which `--help` lists them.
    """

    def __init__(self, package: str, commands: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._package = package
        self._names = commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._names:
            return None
        found: click.Command = import_module(f"{self._package}.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in self._names and not word.startswith("-") and not ctx.resilient_parsing:
            # the word may be in the wrong place, as in `runbook issue`
            places: dict[str, list[str]] = {}
            for place in _places(self, ctx):
                places.setdefault(place.split()[-1], []).append(f"'{place}'")
            meant = did_you_mean(word, places, lambda name: " or ".join(places[name]))
            raise click.UsageError(f"there is no command {word!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


def _places(group: Commands, ctx: click.Context) -> Iterator[str]:
    """Every command below a group as it is typed, and every notebook of `runbook run`."""
    for name in group.list_commands(ctx):
        yield f"{ctx.command_path} {name}"
        command = group.get_command(ctx, name)
        if isinstance(command, Commands):
            yield from (f"{ctx.command_path} {name} {below}" for below in command.list_commands(ctx))
    if ctx.parent is None:
        yield from (f"{ctx.command_path} run {short}" for short in NOTEBOOKS)


class Command(click.Command):
    """A click command that does not read an option as the value of the option before it, as in `--why --dry-run`."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
        except click.BadOptionUsage as error:
            error.ctx = ctx  # click does not set it
            raise
        if ctx.resilient_parsing:
            return rest
        for option in (param for param in self.params if isinstance(param, click.Option) and param.nargs == 1):
            given = ctx.params[option.name or ""]
            for value in given if option.multiple else (given,):
                if re.fullmatch(r"--?[A-Za-z][\w-]*(=.*)?", str(value)):
                    raise click.BadParameter("expected one value", ctx, option)
        if rest:
            raise click.UsageError(f"unrecognized arguments: {' '.join(rest)}", ctx)
        return rest


def refusal(error: click.ClickException) -> str:
    """The message for a mistyped command."""
    match error:
        case click.NoSuchOption():
            meant = did_you_mean(error.option_name, error.possibilities or ())
            what = f"there is no option {error.option_name}.{meant}"
        case click.MissingParameter(param=click.Parameter() as param):
            name = param.get_error_hint(error.ctx).replace("'", "")
            what = f"{name} is missing"
        case click.BadOptionUsage(option_name="-p"):
            what = "-p: the value is missing. Write -p NAME VALUE."
        case _:
            what = error.format_message()
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "runbook"
    return f"{where}: {what}\nSee: {where} --help"
