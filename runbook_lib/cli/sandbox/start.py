"""`runbook sandbox start`."""

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
@click.option("--foreground", is_flag=True, help="Stay in front until Ctrl-C.")
@click.option(
    "--port",
    metavar="N",
    type=PORT,
    default=0,
    help="Of the API host. [default: the one it had, else a free one]",
)
@click.option("--clientauth-port", metavar="N", type=PORT, default=0, help="Of the mTLS host; likewise.")
@click.option(
    "--root-only", is_flag=True, help="The mTLS host knows only the root: it refuses a P12 without its CA certificate."
)
@click.option(
    "--populate",
    metavar="N",
    type=whole_number(0, 100_000),
    default=0,
    help="Make N service users with certificates of all ages.",
)
@click.option(
    "--faults", metavar="FILE", type=FILE, help="YAML file of rules by which requests go wrong; see parameters/faults."
)
@click.option(
    "--fault-seed",
    metavar="N",
    type=whole_number(0, 2**63 - 1),
    help="Repeat the faults of an earlier start. [default: a seed is drawn]",
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
    """Start it in the background and return when it answers."""
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
    out("The sandbox runs already." if running else "The sandbox answers.")
    if seed := control.fault_seed_of(env):
        out(f"Faults are on. Their seed is {seed}.")
    out(f"set -a; . {shlex.quote(str(env))}; set +a")
