"""Arguments, options and value types that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from runbook_lib import given
from runbook_lib.clock import parse_day

_T = TypeVar("_T")


class _File(click.Path):
    """A path as the shell passes it, which has already resolved a `~`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        text = str(value)
        try:
            return given.path(f"./{text}" if text.startswith("~") else text)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Checked(click.ParamType[_T]):
    """A value read by a function, which raises ValueError saying what the value must be."""

    def __init__(self, name: str, read: Callable[[str], _T]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> _T:
        try:
            return self._read(str(value))
        except ValueError as error:
            self.fail(f"{given.shown(value)}: {error}", param, ctx)


class OneOf(click.Choice[str]):
    """One of a few words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(f"{given.shown(value)}: must be {' or '.join(filter(None, self.choices))}", param, ctx)
        return str(value)


def whole_number(least: int, most: int) -> _Checked[int]:
    """A whole number within bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most:,}, for example {max(least, 1)}")
        return int(text)

    return _Checked("number", read)


FILE = _File()

DAY = _Checked("day", parse_day)
"""A day in UTC, as in the archive's folders."""

POSITIVE = whole_number(1, 10**9)
"""A number of seconds or runs; 10^9 seconds are 31 years."""

PORT = whole_number(0, 65_535)

archive_argument = click.argument("archive", metavar="DIR", type=FILE)

archive_option = click.option(
    "--archive",
    metavar="DIR",
    type=FILE,
    default=given.ARCHIVE_FOLDER,
    envvar=given.ARCHIVE_VARIABLE,
    show_default=True,
    show_envvar=True,
    help="The archive's folder.",
)

files_option = click.option(
    "-f",
    "files",
    metavar="FILE",
    type=FILE,
    multiple=True,
    help="YAML file of parameters. May be given several times; later files override earlier ones.",
)

parameters_option = click.option(
    "-p",
    "parameters",
    metavar="NAME VALUE",
    nargs=2,
    multiple=True,
    help="One parameter. May be given several times; overrides every file.",
)

fail_on_option = click.option(
    "--fail-on",
    metavar="due",
    type=OneOf(["due", ""]),
    default="",
    help="Exit 20 if a certificate needs action.",
)

_T_COMMAND = TypeVar("_T_COMMAND", bound=Callable[..., Any])


def notices_options(command: _T_COMMAND) -> _T_COMMAND:
    """`--notices`, `--metrics` and `--calendar`, in this order."""
    for name, metavar, text in (
        ("--calendar", "FILE", "Write the ends of certificates into this calendar (.ics)."),
        ("--metrics", "DIR", "Write metrics into this folder of node-exporter's textfile collector."),
        ("--notices", "FILE", "Send messages as this file says. [default: the archive's policy]"),
    ):
        command = click.option(name, metavar=metavar, type=FILE, help=text)(command)
    return command


why_option = click.option("--why", metavar="TEXT", required=True, help="The reason, for later readers.")
