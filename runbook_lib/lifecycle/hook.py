"""The deploy hook: the user's command after a switch, run without a shell, with a time limit and without our secrets.

`docs/deploy-hook.md` says what the command may rely on.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runbook_lib import left_running, programs
from runbook_lib.credentials.generation import Generation
from runbook_lib.credentials.store import Credential
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.lifecycle.session import Session
from runbook_lib.looks import TOKEN
from runbook_lib.secrets import Secret
from runbook_lib.visible import visible

LONGEST_OUTPUT = 2000
VARIABLES = ("RUNBOOK_NAME", "RUNBOOK_GENERATION", "RUNBOOK_P12")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


@dataclass(frozen=True)
class HookOutcome:
    """How the command ended, and the end of its output with secrets removed."""

    ok: bool
    how: str
    said: str


def call_hook(
    session: Session, credential: Credential, generation: Generation, command: str, *, seconds: int
) -> dict[str, str]:
    """Run the hook after a switch to `generation`, if there is one, and record in the journal how it ended.

    Returns:
        facts for the report.

    Raises:
        RunbookError: HOOK_FAILED.
    """
    journal = Journal(credential.journal_path, session.clock)
    if not command:
        journal.append(State.HOOKED, generation.number, how="no hook was given")
        return {}
    values = (credential.name, generation.folder.name, str(credential.p12))
    outcome = run_hook(
        command,
        environ={**session.environ, **dict(zip(VARIABLES, values, strict=True))},
        seconds=seconds,
        secrets=[session.secret("api_key"), session.secret("p12_password")],
    )
    if not outcome.ok:
        journal.append(State.HOOK_FAILED, generation.number, how=outcome.how)
        raise RunbookError(Reason.HOOK_FAILED, f"The hook {outcome.how}. Its output: {outcome.said or 'none'}")
    journal.append(State.HOOKED, generation.number, how=outcome.how)
    return {"Hook": outcome.how, "Hook output": outcome.said or "none"}


def run_hook(command: str, *, environ: Mapping[str, str], seconds: int, secrets: Sequence[Secret]) -> HookOutcome:
    """Run a command line and wait until its own process ends; end it after `seconds`.

    Args:
        command: split as a shell would split it; no shell runs it.
        environ: provides HOME, PATH and the like, and the RUNBOOK_ variables.
        secrets: removed from the output; the command does not get the variables that hold them.
    """
    withheld = {secret.source.removeprefix("env:") for secret in secrets}
    own = {name: value for name, value in environ.items() if name in VARIABLES}
    clean = {name: value for name, value in (programs.for_hook(environ) | own).items() if name not in withheld}
    try:
        words = shlex.split(command)
    except ValueError as error:
        return HookOutcome(False, f"could not be started: {error}", "")
    ended = left_running.run_to_its_end(words, environ=clean, seconds=seconds)
    left = f", and left {ended.left} process{'es' * (ended.left > 1)} running" if ended.left else ""
    how = (ended.problem or f"ended with exit code {ended.code}") + left
    return HookOutcome(ended.code == 0, how, _clean(ended.said, secrets))


def _clean(text: str, secrets: Iterable[Secret]) -> str:
    for secret in secrets:
        text = text.replace(secret.reveal(), "[secret]")
    text = re.sub(TOKEN, "[secret]", _PRIVATE_KEY.sub("[private key]", text))
    return "\n".join(visible(line) for line in text.strip()[-LONGEST_OUTPUT:].splitlines())
