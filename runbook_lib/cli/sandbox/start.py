"""`runbook sandbox start`: starts a sandbox."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE, PORT, whole_number
from runbook_lib.cli.sandbox import state_option
from runbook_lib.cli.terminal import out


@click.command(cls=Command)
@state_option
@click.option("--foreground", is_flag=True, help="Stay in the foreground until Ctrl-C.")
@click.option(
    "--port",
    metavar="N",
    type=PORT,
    default=0,
    help="Port of the API host. [default: the last one, else a free one]",
)
@click.option("--clientauth-port", metavar="N", type=PORT, default=0, help="Port of the mTLS host. [default: likewise]")
@click.option(
    "--root-only", is_flag=True, help="The mTLS host trusts only the root, so it refuses a P12 without its CA."
)
@click.option(
    "--populate",
    metavar="N",
    type=whole_number(0, 100_000),
    default=0,
    help="Create N service users with certificates of all ages.",
)
@click.option(
    "--faults", metavar="FILE", type=FILE, help="YAML file of rules that make requests fail; see parameters/faults."
)
@click.option(
    "--fault-seed",
    metavar="N",
    type=whole_number(0, 2**63 - 1),
    help="Repeat the faults of an earlier start. [default: a random seed]",
)
def command(
    state: Path,
    foreground: bool,
    port: int,
    clientauth_port: int,
    root_only: bool,
    populate: int,
    faults: Path | None,
    fault_seed: int | None,
) -> None:
    """Start a sandbox in the background and return when it answers."""
    from runbook_lib.sandbox import control

    running = control.is_running(state)
    env = control.start(
        state,
        foreground=foreground,
        port=port,
        clientauth_port=clientauth_port,
        clientauth_trusts="root" if root_only else "intermediate",
        populate=populate,
        faults=faults,
        fault_seed=fault_seed,
    )
    out("The sandbox is already running." if running else "The sandbox is ready.")
    if seed := control.fault_seed_of(env):
        out(f"Faults are on, with seed {seed}.")
    out(f"set -a; . {shlex.quote(str(env))}; set +a")
