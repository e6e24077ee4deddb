"""`runbook lab`: JupyterLab with a sandbox."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE
from runbook_lib.notebooks import NOTEBOOK_FOLDER


@click.command(cls=Command)
@click.option(
    "--state",
    metavar="DIR",
    type=FILE,
    default="build/lab",
    show_default=True,
    help="The sandbox's folder, which holds its whole state.",
)
@click.option("--browser/--no-browser", default=True, help="Open a browser window.")
def command(state: Path, browser: bool) -> int:
    """Open JupyterLab with a sandbox that stops with it."""
    import subprocess
    from tempfile import TemporaryDirectory

    from runbook_lib import programs
    from runbook_lib.cli.own_sandbox import own_sandbox

    jupyter = [sys.executable, "-m", "jupyterlab", str(NOTEBOOK_FOLDER / "00_start_here.ipynb")]
    jupyter += [] if browser else ["--no-browser"]
    jupyter += ["--allow-root"] if os.geteuid() == 0 else []  # in a container; otherwise JupyterLab refuses root
    # what is typed into a notebook goes from the server to its kernel, so not over a port of the machine
    jupyter += ["--KernelManager.transport=ipc"]
    # the sockets are in the runtime folder; below a long home their path would be too long (about 104 characters)
    with own_sandbox(state.absolute()) as environ, TemporaryDirectory(prefix="runbook-", dir="/tmp") as private:
        environ["JUPYTER_RUNTIME_DIR"] = private
        environ.pop(programs.ARCHIVE_PASSPHRASE, None)  # a notebook signs nothing
        with subprocess.Popen(jupyter, env=environ) as server:
            # otherwise sandbox and sockets would stay
            signal.signal(signal.SIGTERM, lambda *_: server.terminate())
            return server.wait()
