"""`runbook`: its commands, and how errors end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli import logs, streams
from runbook_lib.cli.commands import Commands, refusal
from runbook_lib.cli.terminal import err, show_error
from runbook_lib.errors import RunbookError, frames_of, unexpected
from runbook_lib.looks import names_secret, remember


@click.command(
    cls=Commands,
    package="runbook_lib.cli",
    commands=("run", "batch", "doctor", "archive", "notices", "sandbox", "demo", "lab", "init"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Tab completion in bash: eval "$(_RUNBOOK_COMPLETE=bash_source runbook)"',
)
@click.option("-v", "--verbose", is_flag=True, help="Log every action, and where an unexpected error comes from.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Log to standard error, as text; or write every line there as JSON.",
)
@click.version_option(package_name="digicert-one-runbooks", message="%(prog)s %(version)s")
def runbook(verbose: bool, log_format: str | None) -> None:
    """Runbooks for the client certificate of a DigiCert ONE service user."""
    logs.begin(verbose=verbose, log_format=log_format)


def main() -> None:
    """Run the command line and exit, always with a code of `Exit`."""
    streams.settle()
    code = int(Exit.UNEXPECTED)
    try:
        if os.environ.get("_RUNBOOK_COMPLETE"):
            runbook.main(prog_name="runbook")  # click completes the word and exits
        code = run_words(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        err("Interrupted.")
    except BrokenPipeError:  # the reader has closed the pipe
        streams.hang_up()
        code = int(Exit.UNEXPECTED)
    except streams.Unwritten as error:
        streams.hang_up()
        err(f"Cannot write to standard output: {error}.")
        code = int(Exit.UNEXPECTED)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # everything is done
    sys.exit(code)


def run_words(words: Sequence[str]) -> int:
    """Run a command line, report an error, and return the exit code.

    Raises Unwritten or BrokenPipeError if standard output fails.
    """
    for variable, value in os.environ.items():  # a refused file may name a secret before its references are resolved
        if variable != "PWD" and names_secret(variable, value):  # PWD is the current folder, not a password
            remember(value)
    verbose = False
    try:
        with runbook.make_context("runbook", list(words)) as context:
            verbose = context.params["verbose"]
            return int(runbook.invoke(context) or Exit.DONE)
    except click.exceptions.Exit as end:  # --help and --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        err(error.format_message())
        return int(Exit.USAGE)
    except click.ClickException as error:
        err(refusal(error))
        return int(Exit.USAGE)
    except RunbookError as error:
        show_error(error)
        return int(error.exit)
    except KeyboardInterrupt:
        err("Interrupted.")
        return int(Exit.UNEXPECTED)
    except (BrokenPipeError, streams.Unwritten):
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: never a bare traceback
        show_error(unexpected(error))
        if verbose:
            err(frames_of(error))
        return int(Exit.UNEXPECTED)
