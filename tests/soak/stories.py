"""What an operator does, told once: run in a process of its own by `worker`, and killed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from runbook_lib.clock import SystemClock
from runbook_lib.errors import RunbookError
from runbook_lib.lifecycle.rotation import replay
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.parameters import intake
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.procedures.rotate import Rotate

LONGEST_PAUSE = 0.02
"""Seconds: procedures wait for a server that lags; the sandbox lags by requests, not by seconds."""

Ending = dict[str, Any] | None
"""The error with which a story ended, as `RunbookError.as_dict`, or None where it was done."""


def prepare(kind: type[Any], name: str, environ: Mapping[str, str], **given: Any) -> Any:
    """A procedure for a headless run, with pauses that do not count."""
    parameters, _ = intake(kind.model, {"mode": "headless", "name": name, "confirm": name, **given})
    procedure = kind(parameters, environ=environ)
    procedure.session.pause = _short
    return procedure


def _short(seconds: float) -> None:
    import time

    time.sleep(min(seconds, LONGEST_PAUSE))


def perform(procedure: Procedure[Any]) -> Ending:
    """All steps until one fails, as in a headless run; the error it ended with."""
    for step in procedure.steps():
        record = procedure.perform(step.slug)
        if record.error is not None:
            return {**record.error, "step": f"{procedure.slug}/{step.slug}"}
    return None


def issue(name: str, environ: Mapping[str, str]) -> Ending:
    """A certificate of that name in use; it ends early enough that a rotation is worth it."""
    end = (SystemClock().now() + timedelta(days=100)).strftime("%Y-%m-%d")
    return perform(prepare(Issue, name, environ, key_kind="p-256", expiration_date=end))


def rotate(name: str, environ: Mapping[str, str], **given: Any) -> Ending:
    """One rotation from its beginning to the old key's end, begun once and otherwise gone on with."""
    procedure = prepare(Rotate, name, environ)
    try:
        never = replay(procedure._journal.entries()) is None
    except RunbookError as error:  # the story's own look into the journal may meet the failing disk too
        return {**error.as_dict(), "step": "rotate/before"}
    return perform(prepare(Rotate, name, environ, rotate_now=never, overlap_days=0, grace_days=0, **given))


def issue_and_rotate(name: str, environ: Mapping[str, str]) -> Ending:
    """The whole life: issued, rotated, the old key retired. Run again, it goes on where it ended."""
    return issue(name, environ) or rotate(name, environ)


STORIES: dict[str, Callable[..., Ending]] = {
    "issue": issue,
    "rotate": rotate,
    "issue_and_rotate": issue_and_rotate,
}
