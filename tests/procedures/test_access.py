"""A certificate is disabled and enabled, and each is proven on the same host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.procedures.access import Access
from runbook_lib.result import FinishRecord, Verdict
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run


def act(
    sandbox: Sandbox, name: str, environ: dict[str, str] | None = None, **given: Any
) -> tuple[Access, FinishRecord]:
    procedure = prepare(Access, sandbox, environ, name=name, **given)
    run(procedure)
    return procedure, procedure.finish()


def failed(procedure: Access) -> str:
    error = procedure.records[-1].error
    assert error is not None
    return str(error["reason"])


def verdicts(procedure: Access) -> list[str]:
    return [record.verdict.value for record in procedure.records]


def puts(sandbox: Sandbox, name: str) -> int:
    listed = next(one for one in sandbox.admin("GET", "/certificates") if one["name"] == name)
    return sum(1 for one in sandbox.admin("GET", "/requests") if one["method"] == "PUT" and listed["id"] in one["path"])


@pytest.fixture
def second(sandbox: Sandbox) -> dict[str, str]:
    """A service user whose certificates are this file's alone."""
    return {"DIGICERT_ONE_API_KEY": sandbox.admin("POST", "/users")["api_key"]}


def test_disable_proves_itself_and_enable_gives_access_back(sandbox: Sandbox) -> None:
    name = "There and back"
    issue(sandbox, name)
    procedure, end = act(sandbox, name, confirm=name, allow_outage_of=name)
    assert verdicts(procedure) == ["ok"] * 5
    assert end.verdict is Verdict.OK
    assert puts(sandbox, name) == 2


def test_disabled_alone_then_enabled_alone(sandbox: Sandbox) -> None:
    name = "One after the other"
    issue(sandbox, name)
    first, _ = act(sandbox, name, confirm=name, allow_outage_of=name, action="disable")
    assert verdicts(first) == ["ok", "ok", "ok", "nothing to do", "nothing to do"]
    assert first.finish().verdict is Verdict.OK
    again, _ = act(sandbox, name, confirm=name, allow_outage_of=name, action="disable")
    # refused now too, but this run has no accepted call to compare with
    assert verdicts(again)[1:3] == ["nothing to do", "attention"]
    both, _ = act(sandbox, name, confirm=name, allow_outage_of=name)
    assert failed(both) == Reason.CERTIFICATE_DISABLED
    back, _ = act(sandbox, name, confirm=name, action="enable")
    assert verdicts(back) == ["ok", "nothing to do", "nothing to do", "ok", "ok"]
    assert puts(sandbox, name) == 2


def test_a_run_that_was_killed_while_access_was_away_is_finished_by_the_next(sandbox: Sandbox) -> None:
    name = "Killed in between"
    issue(sandbox, name)
    first = prepare(Access, sandbox, name=name, confirm=name, allow_outage_of=name)
    for step in first.steps()[:2]:
        assert first.perform(step.slug).error is None
    second, end = act(sandbox, name, confirm=name, allow_outage_of=name)
    assert verdicts(second) == ["attention", "nothing to do", "attention", "ok", "ok"]
    assert end.verdict is Verdict.ATTENTION
    _, end = act(sandbox, name, confirm=name, allow_outage_of=name)
    assert end.verdict is Verdict.OK
    act(sandbox, name, confirm=name, allow_outage_of=name, action="disable")
    refused, _ = act(sandbox, name, confirm=name, allow_outage_of=name)
    assert failed(refused) == Reason.CERTIFICATE_DISABLED  # on request: no run was interrupted


def test_a_disabled_certificate_is_not_called_refused_where_the_call_had_no_verdict(
    fresh_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox, name = fresh_sandbox(), "No verdict"
    issue(sandbox, name)
    act(sandbox, name, confirm=name, allow_outage_of=name, action="disable")
    enable = prepare(Access, sandbox, name=name, confirm=name, action="enable")
    prove_access = enable.steps()[0].slug
    assert enable.perform(prove_access).verdict is Verdict.OK
    sandbox.admin("PUT", "/faults", {"seed": 1, "rules": [{"fault": "html_page", "method": "GET", "name": name}]})
    assert enable.perform(prove_access).verdict is Verdict.UNCHECKED


def test_a_disable_that_ends_in_doubt_is_taken_back(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox()
    issue(sandbox, "In doubt")
    sandbox.admin("PUT", "/faults", {"seed": 1, "rules": [{"fault": "drop_after", "method": "PUT", "first": 2}]})
    procedure, _ = act(sandbox, "In doubt", confirm="In doubt", allow_outage_of="In doubt")
    assert failed(procedure) == Reason.UNREACHABLE
    error = procedure.records[-1].error
    assert error is not None
    assert "The certificate was enabled again." in error["what"]
    assert [one["enabled"] for one in sandbox.admin("GET", "/certificates")] == [True]


def test_the_last_working_certificate_is_not_disabled_unless_named(sandbox: Sandbox, second: dict[str, str]) -> None:
    issue(sandbox, "The only one", second)
    procedure, _ = act(sandbox, "The only one", second, confirm="The only one")
    assert failed(procedure) == Reason.LAST_WORKING_CERTIFICATE
    other, _ = act(sandbox, "The only one", second, confirm="The only one", allow_outage_of="Another")
    assert failed(other) == Reason.LAST_WORKING_CERTIFICATE
    issue(sandbox, "Its successor", second)
    procedure, _ = act(sandbox, "The only one", second, confirm="The only one")
    assert failed(procedure) == Reason.CERTIFICATE_IN_USE
    assert puts(sandbox, "The only one") == 0
    procedure, end = act(sandbox, "The only one", second, confirm="The only one", allow_outage_of="The only one")
    assert end.verdict is Verdict.OK


def test_nothing_is_disabled_without_the_confirmation_or_in_a_dry_run(sandbox: Sandbox, second: dict[str, str]) -> None:
    name = "Left alone"
    issue(sandbox, name, second)
    procedure, _ = act(sandbox, name, second, allow_outage_of=name)
    assert failed(procedure) == Reason.CONFIRMATION_MISSING
    procedure, _ = act(sandbox, name, second, dry_run=True)
    assert failed(procedure) == Reason.LAST_WORKING_CERTIFICATE  # as the run itself would say
    procedure, end = act(sandbox, name, second, dry_run=True, allow_outage_of=name)
    assert end.verdict is Verdict.PLANNED
    assert verdicts(procedure) == ["ok", "planned", "unchecked", "planned", "unchecked"]
    assert puts(sandbox, name) == 0


def test_a_certificate_without_its_key_is_disabled_and_the_report_says_what_was_not_proven(
    sandbox: Sandbox, tmp_path: Any
) -> None:
    name = "Somebody elses key"
    issue(sandbox, name)
    elsewhere = {"DIGICERT_ONE_STORE": str(tmp_path / "empty")}
    procedure, end = act(sandbox, name, elsewhere, confirm=name, action="disable")
    assert verdicts(procedure) == ["attention", "ok", "attention", "nothing to do", "nothing to do"]
    assert end.verdict is Verdict.ATTENTION


def test_a_name_that_is_not_listed_is_told(sandbox: Sandbox) -> None:
    procedure, _ = act(sandbox, "Not there", confirm="Not there")
    assert failed(procedure) == Reason.CERTIFICATE_UNKNOWN
