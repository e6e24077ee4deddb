"""A dry run refuses exactly what the run itself refuses: random parameters, for each notebook that changes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook_lib.errors import RunbookError
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.parameters import DoctorParameters, intake
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.procedures.rotate import Rotate
from runbook_lib.widgets.form import check_parameters
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, run
from tests.soak import SOAK

EXAMPLES = 300 if SOAK else 15


def day(ahead: int) -> str:
    return (datetime.now(UTC) + timedelta(days=ahead)).date().isoformat()


ISSUE: dict[str, st.SearchStrategy[Any]] = {
    "country": st.sampled_from(["US", " DE ", "USA", "us", False, None, ""]),
    "organization": st.sampled_from(["A", "x" * 64, "x" * 65, "", "a\nb", 3]),
    "state": st.sampled_from(["", "ON", True, "x" * 129]),
    "common_name": st.sampled_from(["A", "ä" * 32, "ä" * 33]),
    "expiration_date": st.sampled_from(["", day(300), day(-1), day(396), day(398), "2026", "9999-12-31"]),
    "key_kind": st.sampled_from(["p-256", "p-384", "dsa"]),
    "p12_password": st.sampled_from(["env:DIGICERT_ONE_P12_PASSWORD", "env:WEAK", "env:NONE", "prompt:", "hunter2"]),
    "api_key": st.sampled_from(["env:DIGICERT_ONE_API_KEY", "env:NONE"]),
    "environment": st.sampled_from(["sandbox", "configured", "sandbx", "https://one..example"]),
    "confirm": st.just("Another name"),
}
ACCESS: dict[str, st.SearchStrategy[Any]] = {
    "action": st.sampled_from(["disable and re-enable", "enable", "disable", "destroy"]),
    "allow_outage_of": st.sampled_from(["", "Same questions", "Another"]),
    "p12_password": ISSUE["p12_password"],
    "confirm": st.just("Another name"),
}
ROTATE: dict[str, st.SearchStrategy[Any]] = {
    "action": st.sampled_from(["advance", "roll back"]),
    "rotate_now": st.booleans(),
    "rotate_before_days": st.sampled_from([1, 397, 0, True]),
    "hook": st.sampled_from(["", "true", "'open", "   ", "a\0b"]),
    "expiration_date": ISSUE["expiration_date"],
    "p12_password": ISSUE["p12_password"],
}


def refusal(kind: type[Procedure[Any]], sandbox: Sandbox, **given: Any) -> tuple[str, str] | None:
    """The reason and message that end a headless run, without its times; None if it succeeds."""
    try:
        parameters, _ = intake(kind.model, {"mode": "headless", **given})
    except RunbookError as error:
        return error.reason.value, error.what
    procedure = kind(parameters, environ={**sandbox.env, "WEAK": "abc"})
    procedure.session.pause = lambda _: None
    problem = run(procedure).error
    return None if problem is None else (problem["reason"], re.sub(r"T\d\d:\d\d:\d\dZ\)", "…)", problem["what"]))


def some(strategies: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """A few parameters; most keep a valid value, or nothing would ever be accepted."""
    few = st.lists(st.sampled_from(sorted(strategies)), max_size=2, unique=True)
    return few.flatmap(lambda names: st.fixed_dictionaries({name: strategies[name] for name in names}))


def often(strategies: dict[str, st.SearchStrategy[Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return lambda test: settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=EXAMPLES < 100,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given(some(strategies))(test))


@often(ISSUE)
def test_issue(sandbox: Sandbox, given: dict[str, Any]) -> None:
    name = f"Same questions {uuid.uuid4()}"
    values = {"name": name, "confirm": name, "key_kind": "p-256"} | given
    planned = refusal(Issue, sandbox, **values, dry_run=True)
    assert planned == refusal(Issue, sandbox, **values)
    wrong = check_parameters(Issue.model, {"mode": "headless", **values})
    if wrong:
        assert planned is not None
        assert all(f"{one}: {words}" in planned[1] for one, words in wrong.items())
        with pytest.raises(RunbookError):
            intake(DoctorParameters, values)


@pytest.fixture(scope="module")
def issued(sandbox: Sandbox) -> Sandbox:
    issue(sandbox, "Same questions")
    return sandbox


@often(ACCESS)
def test_access(issued: Sandbox, given: dict[str, Any]) -> None:
    values = {"name": "Same questions", "confirm": "Same questions"} | given
    planned = refusal(Access, issued, **values, dry_run=True)
    assert planned == refusal(Access, issued, **values)
    back = {"action": "enable", "name": "Same questions", "confirm": "Same questions"}
    assert refusal(Access, issued, **back) is None


@often(ROTATE)
def test_rotate(sandbox: Sandbox, given: dict[str, Any]) -> None:
    name = f"Same questions {uuid.uuid4()}"
    issue(sandbox, name)
    values = {"name": name, "confirm": name} | given
    planned = refusal(Rotate, sandbox, **values, dry_run=True)
    assert planned == refusal(Rotate, sandbox, **values)
