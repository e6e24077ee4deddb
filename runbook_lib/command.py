"""What a command takes, said beside the function that does it.

Imports argparse and nothing that takes longer: who asks for `--help` has not asked for anything else.

@command(DIR, argument("--head", metavar="DIGEST", help="Kept elsewhere."))
def verify(archive: Path, head: str | None) -> Exit:
    \"\"\"What its page says.\"\"\"
"""

from __future__ import annotations

import argparse
import os

TYPE_CHECKING = False  # `typing` would be a third of what `--help` may take
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date
    from pathlib import Path
    from typing import Any, NoReturn

    Argument = tuple[tuple[str, ...], dict[str, Any]]

USAGE = 2


class Parser(argparse.ArgumentParser):
    """argparse's, with short errors, and without abbreviations: a later option must not change what a script says."""

    def __init__(self, prog: str, description: str | None = None) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        from runbook_lib.looks import withheld

        # a word in the wrong place may be a secret that was to be behind a reference
        self.exit(USAGE, f"{self.prog}: {withheld(message)}\nSee: {self.prog} --help\n")


def argument(*names: str, **how: Any) -> Argument:
    """As `ArgumentParser.add_argument` has it."""
    return names, how


class Command:
    """A function and its arguments; whatever `argument` names reaches the function under that name."""

    def __init__(self, function: Callable[..., int | None], arguments: tuple[Argument, ...]) -> None:
        self.function = function
        self.arguments = arguments

    @property
    def options(self) -> set[str]:
        found = {"-h", "--help"}
        for names, how in self.arguments:
            found |= {name for name in names if name.startswith("-")}
            if how.get("action") is argparse.BooleanOptionalAction:
                found |= {f"--no-{name[2:]}" for name in names}
        return found

    def parser(self, name: str) -> Parser:
        parser = Parser(name, self.function.__doc__)
        for names, how in self.arguments:
            parser.add_argument(*names, **how)
        return parser

    def __call__(self, name: str, words: list[str]) -> int | None:
        """Do it. Raises SystemExit after `--help` and for wrong words."""
        parser = self.parser(name)
        self._refuse_unknown(parser, words)
        return self.function(**vars(parser.parse_args(words)))

    def _refuse_unknown(self, parser: Parser, words: list[str]) -> None:
        """A mistyped option is told before what is missing because of it. No value can begin with two dashes."""
        for word in words[: words.index("--") if "--" in words else None]:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in self.options:
                meant = " or ".join(close_to(name, self.options))
                parser.error(f"there is no option {name}." + (f" Did you mean {meant}?" if meant else ""))


def command(*arguments: Argument) -> Callable[[Callable[..., int | None]], Command]:
    return lambda function: Command(function, arguments)


def close_to(word: str, known: Iterable[str]) -> list[str]:
    """Those that may have been meant, the likeliest first; the word alone where it is one of them."""
    known = sorted(known)
    if word in known:
        return [word]
    from difflib import get_close_matches

    return get_close_matches(word, known)


# --- kinds of values --------------------------------------------------------------------------------------------------


def path(text: str) -> Path:
    """A path as the shell gives it: whose `~` it is to resolve, it has resolved."""
    from runbook_lib import given

    try:
        found = given.path(f"./{text}" if text.startswith("~") else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return found


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not least <= int(text) <= most:
            from runbook_lib import given

            raise argparse.ArgumentTypeError(
                f"{given.shown(text)}: must be a whole number from {least} to {most:,}, for example {max(least, 1)}"
            )
        return int(text)

    return read


positive = whole(1, 10**9)
"""Seconds, runs: a whole number from 1; 10^9 seconds are 31 years."""

port = whole(0, 65_535)


def day(text: str) -> date:
    """A day of UTC, as it stands in the archive's folders."""
    from runbook_lib import given
    from runbook_lib.clock import parse_day

    try:
        return parse_day(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{given.shown(text)}: {error}") from None


def _due(text: str) -> str:
    if text not in ("", "due"):
        from runbook_lib import given

        raise argparse.ArgumentTypeError(f"{given.shown(text)}: must be due")
    return text


# --- what several commands take ---------------------------------------------------------------------------------------

DIR = argument("archive", metavar="DIR", type=path, help="The archive.")

ARCHIVE = argument(
    "--archive",
    metavar="DIR",
    type=path,
    default=os.environ.get("DIGICERT_ONE_ARCHIVE") or "archive",
    help="Where the bags go. [default: DIGICERT_ONE_ARCHIVE, else archive]",
)

FILES = argument(
    "-f",
    dest="files",
    metavar="FILE",
    type=path,
    action="append",
    default=[],
    help="YAML file of parameters; later ones win.",
)

PARAMETERS = argument(
    "-p",
    dest="parameters",
    metavar="NAME VALUE",
    action="append",
    default=[],
    help="One parameter; wins over every file.",
)

FAIL_ON = argument(
    "--fail-on", metavar="due", type=_due, default="", help="due: exit 20 where a certificate needs action."
)
