"""How a sandbox is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Trusts = Literal["intermediate", "root"]
"""What the clientauth listener knows of its CA: with `root`, a client has to send the intermediate itself."""


@dataclass(frozen=True)
class Options:
    """The options of `start`. A port of 0 is the one the sandbox had before, or a free one.

    `faults` are the rules as JSON, so that a changed file is not mistaken for the rules in use.
    """

    port: int = 0
    clientauth_port: int = 0
    clientauth_trusts: Trusts = "intermediate"
    populate: int = 0
    faults: str = ""
    fault_seed: int | None = None
