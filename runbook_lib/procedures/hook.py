"""The user's own command after a switch: run without a shell, with a time limit, and without our secrets."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runbook_lib.secrets import Secret
from runbook_lib.visible import visible

LONGEST_OUTPUT = 2000
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
    """Run a command line and wait for it; past `seconds` it and its children are killed.

    Args:
        command: split as a shell would, but no shell runs it.
        environ: its environment.
        secrets: taken out of what it says.
        withheld: names of variables that it does not get.
    """
    clean = {name: value for name, value in environ.items() if name not in set(withheld)}
    try:
        words = shlex.split(command)
        process = subprocess.Popen(
            words,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        return HookOutcome(False, f"could not be started: {getattr(error, 'strerror', None) or error}", "")
    try:
        said, _ = process.communicate(timeout=seconds)
        how = f"ended with exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        how = f"was stopped after {seconds} s"
    return HookOutcome(process.returncode == 0, how, _clean(said.decode(errors="replace"), secrets))


def _clean(text: str, secrets: Iterable[Secret]) -> str:
    for secret in secrets:
        text = text.replace(secret.reveal(), "[secret]")
    text = _TOKEN.sub("[secret]", _PRIVATE_KEY.sub("[private key]", text))
    return "\n".join(visible(line) for line in text.strip()[-LONGEST_OUTPUT:].splitlines())
