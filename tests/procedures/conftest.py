"""Run procedures against a sandbox, as a notebook or a scheduler would."""

from __future__ import annotations

from typing import Any, TypeVar

from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.parameters import intake
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.result import StepRecord
from tests.conftest import Sandbox

T = TypeVar("T", bound=Procedure[Any])


def prepare(kind: type[T], sandbox: Sandbox, environ: dict[str, str] | None = None, **given: Any) -> T:
    """A procedure with parameters for a headless run on this sandbox."""
    parameters, _ = intake(kind.model, {"mode": "headless", **given})
    return kind(parameters, environ={**sandbox.env, **(environ or {})})


def run(procedure: Procedure[Any]) -> StepRecord:
    """Perform the steps until one fails; gives the last record."""
    for step in procedure.steps():
        record = procedure.perform(step.slug)
        if record.error is not None:
            break
    return record


def issue(sandbox: Sandbox, name: str, environ: dict[str, str] | None = None, **given: Any) -> Issue:
    """A certificate of that name, issued and in use."""
    procedure = prepare(Issue, sandbox, environ, name=name, confirm=name, key_kind="p-256", **given)
    record = run(procedure)
    assert record.error is None, record.error
    return procedure
