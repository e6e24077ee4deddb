"""`runbook demo` and `runbook lab`: a sandbox of their own, and what is shown on it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from argparse import BooleanOptionalAction
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runbook_lib import programs
from runbook_lib.catalogue import Exit
from runbook_lib.cli_run import read_parameters, run_one
from runbook_lib.command import argument, command, path
from runbook_lib.notebooks import FOLDER
from runbook_lib.sandbox import control
from runbook_lib.terminal import out


@contextmanager
def _sandbox(state: Path) -> Iterator[dict[str, str]]:
    """A sandbox for as long as the block runs, and the environment that points to it."""
    was_running = control.is_running(state)
    env = control.start(state)
    listed = programs.run("sh", ["-c", 'set -a; . "$1"; env -0', "sh", str(env)], seconds=10).stdout.decode()
    told = dict(line.split("=", 1) for line in listed.split("\0") if line.startswith("DIGICERT_ONE_"))
    try:
        yield {**os.environ, **told}
    finally:
        if not was_running:
            control.stop(state)


@command(
    argument(
        "--folder",
        metavar="DIR",
        type=path,
        default="build/demo",
        help="Made anew; holds the sandbox, its store and the archive. [default: %(default)s]",
    )
)
def demo(folder: Path) -> Exit:
    """Take a service user of a fresh sandbox through every runbook, headlessly, and say where the reports are.

    Ends with the worst exit code of all.
    """
    from runbook_lib.archive import chain

    folder = folder.absolute()
    control.stop(folder / "sandbox")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder / "archive"
    ours = read_parameters([FOLDER.parent / "parameters" / "sandbox.yaml"], [])
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("doctor", {}),
        ("issue", {}),
        ("verify", {}),
        ("inventory", {}),
        ("rotate", {"rotate_now": True, "overlap_days": 0}),
        ("access", {"action": "disable and re-enable"}),
        ("access", {"action": "disable"}),
        ("inventory", {}),
    ]
    codes: list[Exit] = []
    runbook = [sys.executable, "-m", "runbook_lib.cli", "archive"]
    with _sandbox(folder / "sandbox") as environ:
        environ[programs.ARCHIVE_PASSPHRASE] = secrets.token_hex(32)
        subprocess.run([*runbook, "init", "--archive", archive], env=environ, check=True)
        for job, more in jobs:
            codes.append(run_one(job, ours | more, archive=archive, environ=environ))
        out("\nThe auditor's view: as a notebook, as a command, and with a shell, sha256sum and openssl alone:")
        kept = chain.find_head(archive).digest  # as somebody would who keeps it in a ticket
        codes.append(run_one("archive", ours | {"known_head": kept}, archive=archive, environ=environ))
    for check in ([*runbook, "verify", str(archive)], ["/bin/sh", "verify.sh"]):
        held = subprocess.run(check, cwd=archive, env=programs.for_python(os.environ), check=False).returncode == 0
        codes.append(Exit.DONE if held else Exit.CHECK_FAILED)
    out(f"\nEvery report, with its status: {archive / 'index.html'}")
    return max(codes)


@command(
    argument(
        "--state",
        metavar="DIR",
        type=path,
        default="build/lab",
        help="The sandbox's folder: everything it knows is in it. [default: %(default)s]",
    ),
    argument("--browser", action=BooleanOptionalAction, default=True, help="Open a browser window."),
)
def lab(state: Path, browser: bool) -> int:
    """JupyterLab on the notebooks, with a sandbox beside it that ends with it."""
    command = [sys.executable, "-m", "jupyterlab", str(FOLDER / "00_start_here.ipynb")]
    command += [] if browser else ["--no-browser"]
    command += ["--allow-root"] if os.geteuid() == 0 else []  # as in a container; JupyterLab refuses else
    # what is typed into a notebook passes from the server to its kernel: not over a port of the machine
    command += ["--KernelManager.transport=ipc"]
    # whose sockets lie in the runtime folder; below a long home their path would be too long (about 104 characters)
    with _sandbox(state.absolute()) as environ, TemporaryDirectory(prefix="runbook-", dir="/tmp") as private:
        environ["JUPYTER_RUNTIME_DIR"] = private
        environ.pop(programs.ARCHIVE_PASSPHRASE, None)  # a notebook signs nothing
        with subprocess.Popen(command, env=environ) as server:
            # without this, sandbox and sockets would be left
            signal.signal(signal.SIGTERM, lambda *_: server.terminate())
            return server.wait()
