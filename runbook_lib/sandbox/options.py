"""The options of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Trusts = Literal["intermediate", "root"]
"""What the clientauth listener trusts: with `root`, a client must send the intermediate itself."""


@dataclass(frozen=True)
class Options:
    """The options of `start`. Port 0 means the port of the last start, or a free one.

    `faults` holds the rules as JSON, so that a changed file is not mistaken for the rules in use.
    """

    port: int = 0
    clientauth_port: int = 0
    clientauth_trusts: Trusts = "intermediate"
    populate: int = 0
    faults: str = ""
    fault_seed: int | None = None
