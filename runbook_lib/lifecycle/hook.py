"""The user's own command after a switch: run without a shell, with a time limit, and without our secrets.

`docs/deploy-hook.md` says what it may rely on.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runbook_lib import left_running, programs
from runbook_lib.secrets import Secret
from runbook_lib.visible import visible

LONGEST_OUTPUT = 2000
_TOLD = ("RUNBOOK_NAME", "RUNBOOK_GENERATION", "RUNBOOK_P12")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_TOKEN = re.compile(r"[0-9a-f]{26}_[0-9a-f]{40,80}")


@dataclass(frozen=True)
class HookOutcome:
    """How the command ended, and the end of what it said, without anything secret."""

    ok: bool
    how: str
    said: str


def run_hook(
    command: str, *, environ: Mapping[str, str], seconds: int, secrets: Iterable[Secret], withheld: Iterable[str]
) -> HookOutcome:
    """Run a command line and wait for the end of its own process; past `seconds` it is ended.

    Args:
        command: split as a shell would, but no shell runs it.
        environ: whose HOME, PATH and the like it gets, and what of RUNBOOK_ it is told.
        secrets: taken out of what it says.
        withheld: names of variables that it does not get.
    """
    own = {name: value for name, value in environ.items() if name in _TOLD}
    clean = {**programs.for_hook(environ), **own}
    for name in withheld:
        clean.pop(name, None)
    try:
        words = shlex.split(command)
    except ValueError as error:
        return HookOutcome(False, f"could not be started: {error}", "")
    ended = left_running.run(words, environ=clean, seconds=seconds)
    left = f", and left {ended.left} process{'es' * (ended.left > 1)} running" if ended.left else ""
    how = (ended.problem or f"ended with exit code {ended.code}") + left
    return HookOutcome(ended.code == 0, how, _clean(ended.said, secrets))


def _clean(text: str, secrets: Iterable[Secret]) -> str:
    for secret in secrets:
        text = text.replace(secret.reveal(), "[secret]")
    text = _TOKEN.sub("[secret]", _PRIVATE_KEY.sub("[private key]", text))
    return "\n".join(visible(line) for line in text.strip()[-LONGEST_OUTPUT:].splitlines())
