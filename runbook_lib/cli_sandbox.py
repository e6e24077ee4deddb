"""`runbook sandbox`: start and stop a local DigiCert ONE."""

from __future__ import annotations

import shlex
from pathlib import Path

from runbook_lib.command import argument, command, path, port, whole
from runbook_lib.terminal import out

STATE = argument(
    "--state",
    metavar="DIR",
    type=path,
    required=True,
    help="The sandbox's folder: everything it knows is in it.",
)


@command(
    STATE,
    argument("--foreground", action="store_true", help="Stay in front until Ctrl-C."),
    argument(
        "--port", metavar="N", type=port, default=0, help="Of the API host; 0: the one it had before, else a free one."
    ),
    argument("--clientauth-port", metavar="N", type=port, default=0, help="Of the mTLS host; 0: likewise."),
    argument(
        "--root-only",
        action="store_true",
        help="The mTLS host knows only the root: a P12 without its CA is refused.",
    ),
    argument(
        "--populate",
        metavar="N",
        type=whole(0, 100_000),
        default=0,
        help="Make this many service users with certificates of all ages.",
    ),
    argument(
        "--faults",
        metavar="FILE",
        type=path,
        help="YAML file of rules by which requests go wrong; see parameters/faults.",
    ),
    argument(
        "--fault-seed",
        metavar="N",
        type=whole(0, 2**63 - 1),
        help="Repeats what a seed printed by an earlier start gave. Drawn when not given.",
    ),
)
def start(
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


@command(STATE)
def stop(state: Path) -> None:
    """End it; its state is kept."""
    from runbook_lib.sandbox import control

    control.stop(state)
