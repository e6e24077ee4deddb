"""`runbook demo`: every runbook on a new sandbox."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE
from runbook_lib.cli.terminal import out
from runbook_lib.notebooks import PARAMETER_FOLDER


@click.command(cls=Command)
@click.option(
    "--folder",
    metavar="DIR",
    type=FILE,
    default="build/demo",
    show_default=True,
    help="Recreated; holds the sandbox, its store and the archive.",
)
def command(folder: Path) -> Exit:
    """Run every runbook headlessly on a new sandbox.

    Prints where the reports are. The exit code is the highest of all runs.
    """
    import secrets
    import shutil
    import subprocess

    from runbook_lib import programs
    from runbook_lib.archive import chain
    from runbook_lib.cli.outcome import run_one
    from runbook_lib.cli.own_sandbox import own_sandbox
    from runbook_lib.cli.parameters import read_parameters
    from runbook_lib.sandbox import control

    folder = folder.absolute()
    control.stop(folder / "sandbox")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder / "archive"
    ours = read_parameters([PARAMETER_FOLDER / "sandbox.yaml"], [])
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
    with own_sandbox(folder / "sandbox") as environ:
        environ[programs.ARCHIVE_PASSPHRASE] = secrets.token_hex(32)
        subprocess.run([*runbook, "init", "--archive", archive], env=environ, check=True)
        for job, more in jobs:
            codes.append(run_one(job, ours | more, archive=archive, environ=environ))
        out("\nThe auditor's checks: as a notebook, as a command, and with only a shell, sha256sum and openssl:")
        kept = chain.find_head(archive).digest  # as if it were kept in a ticket
        codes.append(run_one("archive", ours | {"known_head": kept}, archive=archive, environ=environ))
    for check in ([*runbook, "verify", str(archive)], ["/bin/sh", "verify.sh"]):
        held = subprocess.run(check, cwd=archive, env=programs.for_python(os.environ), check=False).returncode == 0
        codes.append(Exit.DONE if held else Exit.CHECK_FAILED)
    out(f"\nEvery report, with its status: {archive / 'index.html'}")
    return max(codes)
