"""`runbook`: which commands there are. What one of them needs is imported when it is called, and not before."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from itertools import islice

from runbook_lib import streams
from runbook_lib.command import USAGE, Command, Parser, close_to

ABOUT = "Runbooks for the client certificate of a DigiCert ONE service user."

GROUPS = {
    "sandbox": "A local DigiCert ONE: real TLS, its own CA.",
    "archive": "The archive: who signs it, whether it is whole, what is in it.",
}

COMMANDS = {
    "run": ("cli_run", "Run one notebook headlessly and archive it."),
    "batch": ("cli_run", "Run a notebook for many accounts and archive them in one bag."),
    "doctor": ("cli_doctor", "Check connection, clock, secrets, service user and store; each failure with its remedy."),
    "demo": (
        "cli_demo",
        "Take a service user of a fresh sandbox through every runbook, headlessly, and say where the reports are.",
    ),
    "lab": ("cli_demo", "JupyterLab on the notebooks, with a sandbox beside it that ends with it."),
    "sandbox start": ("cli_sandbox", "Start it in the background and return when it answers."),
    "sandbox stop": ("cli_sandbox", "End it; its state is kept."),
    "archive init": (
        "cli_archive",
        "Make a signing key with a self-signed certificate, or a request for one.",
    ),
    "archive authority": ("cli_archive", "Have every bag time-stamped from now on, and soon those that are there."),
    "archive stamp": ("cli_archive", "Ask for every time stamp that is missing."),
    "archive verify": (
        "cli_archive",
        "Exit 0 if every bag, the chain and the signatures hold; else 1 and a line for each thing that does not.",
    ),
    "archive head": (
        "cli_archive",
        "Print number and digest of the last bag, for a ticket or a mail: later, `--head DIGEST` finds a cut-off end.",
    ),
    "archive index": ("cli_archive", "Make index.html anew from the bags, and print its path."),
    "archive diff": ("cli_archive", "What changed between two inventories."),
    "archive expect": (
        "cli_complete",
        "Declare what the archive should hold: which jobs, how often, for which accounts.",
    ),
    "archive gaps": (
        "cli_complete",
        "Exit 0 if everything that was declared is there, else 30 and a line for each thing that is not.",
    ),
    "archive hold": ("cli_keep", "Keep the runs of a period from every purge, until the hold is released."),
    "archive release": ("cli_keep", "End a hold."),
    "archive purge": (
        "cli_keep",
        "Remove old runs for good, and leave a signed tombstone by which the chain still holds.",
    ),
    "archive export": (
        "cli_keep",
        "Write the runs of a period into a folder or zip file that verifies by itself: `sh verify.sh` in it.",
    ),
}
"""Each command's module, which has a `Command` of its last word, and its line on the page of all commands."""


def main() -> None:
    """Run the command line; every way out has an exit code of `Exit`."""
    streams.settle()
    code: int | str | None = 1
    try:
        try:
            code = run(sys.argv[1:])
        except SystemExit as left:  # --help, or wrong words
            code = left.code
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
    except BrokenPipeError:  # whoever read it has read enough
        streams.hang_up()
        code = 1
    except streams.Unwritten as error:
        streams.hang_up()
        sys.stderr.write(f"Standard output cannot be written: {error}.\n")
        code = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done
    sys.exit(code)


def run(words: list[str]) -> int:
    """Do what the words say, tell what went wrong, and return the exit code.

    Raises SystemExit for `--help` and wrong words; Unwritten or BrokenPipeError where standard output fails.
    """
    verbose = words[:1] in (["-v"], ["--verbose"])
    name, words = _find(words[verbose:])
    command = find(name)
    from runbook_lib.catalogue import Exit
    from runbook_lib.errors import RunbookError, frames_of, unexpected
    from runbook_lib.looks import names_secret, remember
    from runbook_lib.terminal import err, mask_logs, tell

    mask_logs()
    for variable, value in os.environ.items():  # what a file holds is refused before its references are resolved
        if names_secret(variable, value):
            remember(value)
    try:
        return int(command(f"runbook {name}", _join_pairs(words)) or Exit.DONE)
    except RunbookError as error:
        tell(error)
        return int(error.exit)
    except KeyboardInterrupt:
        err("Interrupted.")
        return int(Exit.UNEXPECTED)
    except (BrokenPipeError, streams.Unwritten):
        raise
    except Exception as error:  # noqa: BLE001 - the last net: never a bare traceback
        tell(unexpected(error))
        if verbose:
            err(frames_of(error))
        return int(Exit.UNEXPECTED)


def find(name: str) -> Command:
    """The command of a name in `COMMANDS`."""
    module, _ = COMMANDS[name]
    command = getattr(import_module(f"runbook_lib.{module}"), name.split()[-1])
    assert isinstance(command, Command)  # noqa: S101
    return command


def _find(words: list[str]) -> tuple[str, list[str]]:
    """A command's name and the words that are left for it. Raises SystemExit where there is none."""
    group, rest = (words[0], words[1:]) if words and words[0] in GROUPS else ("", words)
    page = _page(group)
    if not rest:
        page.print_help(sys.stderr)
        sys.exit(USAGE)
    name = f"{group} {rest[0]}".strip()
    if name in COMMANDS:
        return name, rest[1:]
    if rest[0].startswith("-"):
        page.parse_args(rest[:1])  # --help, or what is no option
    page.error(f"there is no command {rest[0]!r}.{_suggestion(group, rest[0])}")


def _page(group: str) -> Parser:
    """What there is in a group, or at the top."""
    page = Parser(f"runbook {group}".strip(), GROUPS.get(group, ABOUT))
    page.usage = f"{page.prog} COMMAND ..."
    page.epilog = (
        f"{page.prog} COMMAND --help says more; runbook -v COMMAND also says where an unexpected error comes from."
    )
    commands = page.add_argument_group("commands")
    for name, line in ({name: line for name, (_, line) in COMMANDS.items()} | GROUPS).items():
        where, _, last = name.rpartition(" ")
        if where == group:
            commands.add_argument(last, nargs="?", help=line)
    return page


def _suggestion(group: str, word: str) -> str:
    """Commands that may have been meant, also where the word stands in the wrong place, as in `runbook issue`."""
    from runbook_lib.notebooks import NOTEBOOKS

    places: dict[str, list[str]] = {}
    for name in (*COMMANDS, *GROUPS, *(f"run {short}" for short in NOTEBOOKS)):
        if name.startswith(group):
            places.setdefault(name.split()[-1], []).append(f"`runbook {name}`")
    meant = [place for close in close_to(word, places) for place in places[close]]
    return f" Did you mean {' or '.join(meant)}?" if meant else ""


def _join_pairs(words: list[str]) -> list[str]:
    """`-p NAME VALUE` as `-p NAME=VALUE`: to argparse a value of two words could not begin with a dash."""
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        joined.append(word)
        if word == "-p":
            joined.append("=".join(islice(rest, 2)))
    return joined


if __name__ == "__main__":
    main()
