"""Many service users at once: every one answered or with its reason, within the budget of the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.digicert.environments import Environment
from runbook_lib.digicert.listing import Listing
from runbook_lib.errors import Reason
from runbook_lib.inventories.accounts import ApiKeyOwner, OwnerAnswer, ask_all
from runbook_lib.inventories.long_tables import LONG
from runbook_lib.inventories.schemas import INVENTORY, SERVICE_USERS
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.result import Result, Verdict
from runbook_lib.tables import SHOWN
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run


def environment(sandbox: Sandbox, **changes: Any) -> Environment:
    return Environment.named("sandbox", environ={**sandbox.env, **changes})


def accounts(sandbox: Sandbox, count: int) -> tuple[list[ApiKeyOwner], dict[str, str]]:
    """So many populated service users, and the variables their references name."""
    users = [one for one in sandbox.admin("GET", "/users") if one["role"] == "populated"][:count]
    assert len(users) == count
    keys = {f"KEY_{number}": one["api_key"] for number, one in enumerate(users)}
    return [ApiKeyOwner(name, environment(sandbox), f"env:{name}") for name in keys], keys


def windows(sandbox: Sandbox, after: int) -> Counter[str]:
    """How many requests arrived in which second, as the sandbox's journal has it."""
    return Counter(one["time"] for one in sandbox.admin("GET", f"/requests?after={after}"))


def test_every_service_user_is_answered_within_the_budget(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox(populate=60)
    asked, keys = accounts(sandbox, 60)
    sandbox.admin("PUT", "/faults", {"rules": [{"fault": "delay_before", "seconds": 0.05}]})
    answers = ask_all(asked, per_second=40, connections=16, environ=keys)
    assert [one.account for one in answers] == asked
    assert all(one.problem is None for one in answers)
    assert len({one.user.id for one in answers if one.user}) == 60
    assert all(len(one.listed or ()) == 10 for one in answers)  # ten share an account, and see each other's
    seen = windows(sandbox, 0)
    assert sum(seen.values()) == 120
    assert max(seen.values()) <= 40


def test_faults_are_repeated_within_the_budget_and_nobody_is_lost(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox(populate=30)
    asked, keys = accounts(sandbox, 30)
    rules = [
        {"fault": "too_many_requests", "probability": 0.1, "retry_after": 1},
        {"fault": "drop_before", "probability": 0.1},
        {"fault": "service_unavailable", "probability": 0.1},
    ]
    sandbox.admin("PUT", "/faults", {"rules": rules, "seed": 7})
    answers = ask_all(asked, per_second=20, connections=8, environ=keys)
    assert len(answers) == 30
    failed = [one.problem.reason for one in answers if one.problem]
    assert set(failed) <= {Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.RATE_LIMITED}
    assert len(failed) < 5
    seen = windows(sandbox, 0)
    assert sum(seen.values()) > 60
    assert max(seen.values()) <= 20


def test_every_account_that_failed_says_why(sandbox: Sandbox, tmp_path: Path) -> None:
    here, users = environment(sandbox), sandbox.users()
    nobody = Environment("gone", "https://localhost:9", "https://localhost:9", sandbox.ca_file)
    (tmp_path / "no-ca.pem").write_text("none")
    untrusted = environment(sandbox, DIGICERT_ONE_CA_FILE=str(tmp_path / "no-ca.pem"))
    keys = {role: one["api_key"] for role, one in users.items()} | {"wrong": "0" * 40}
    wanted = {
        ("env:ordinary", here): None,
        ("env:wrong", here): Reason.API_KEY_REFUSED,
        ("env:expired", here): Reason.API_KEY_REFUSED,
        ("env:no_permission", here): Reason.NO_ACCESS,
        ("env:NOT_SET", here): Reason.SECRET_NOT_FOUND,
        ("prompt:x", here): Reason.SECRET_NOT_FOUND,
        ("env:ordinary", nobody): Reason.UNREACHABLE,
        ("env:ordinary", untrusted): Reason.UNREADABLE_FILE,
    }
    asked = [ApiKeyOwner(reference, where, reference) for reference, where in wanted]
    answers = ask_all(asked, per_second=50, connections=3, environ=keys)
    assert [one.problem.reason if one.problem else None for one in answers] == list(wanted.values())
    assert not any(key in str(one.problem) for one in answers for key in keys.values())


# --- the notebook -----------------------------------------------------------------------------------------------------


def take(sandbox: Sandbox, keys: dict[str, str], references: list[str], **given: Any) -> tuple[Inventory, list[Result]]:
    procedure = prepare(Inventory, sandbox, keys, api_keys=references, requests_per_second=300, **given)
    assert run(procedure).error is None
    return procedure, [one.result for one in procedure.records if one.result]


def test_the_certificates_of_further_service_users_are_rows_each_once(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox(populate=20)
    asked, keys = accounts(sandbox, 20)
    issue(sandbox, "Mine")
    procedure, (collected, classified, *_) = take(sandbox, keys, [one.api_key for one in asked])
    table = next(table for table in collected.tables if table.name == "service-users")
    assert len(table.rows) == 20
    assert {row[SERVICE_USERS.columns.index("state")] for row in table.rows} == {"answered"}
    rows = [dict(zip(INVENTORY.columns, row, strict=True)) for row in classified.tables[0].rows]
    assert len(rows) == 21
    assert Counter(row["state"] for row in rows) == {"healthy": 5, "due": 4, "urgent": 4, "expired": 4, "disabled": 4}
    assert sum(row["owner"].startswith("another: Service user ") for row in rows) == 20
    seen = procedure.records[0].seen
    assert len(seen.service_users) == 1
    assert len(seen.connections) == 1


def test_one_api_key_that_is_refused_leaves_the_run_unchecked_and_is_something_to_do(sandbox: Sandbox) -> None:
    keys = {"SECOND": sandbox.users()["second"]["api_key"], "WRONG": "0" * 40}
    procedure, (collected, _, _, todo) = take(sandbox, keys, ["env:SECOND", "env:WRONG"])
    assert (collected.verdict, collected.reason) == (Verdict.UNCHECKED, "api_key_refused")
    assert "Further service users with a response: 1 of 2." in collected.headline
    table = next(table for table in collected.tables if table.name == "service-users")
    states = {row[SERVICE_USERS.columns.index("api key")]: row[1] for row in table.rows}
    assert states == {"env:SECOND": "answered", "env:WRONG": "unchecked"}
    assert "API key env:WRONG" in {row[0] for row in todo.tables[0].rows}
    assert procedure.finish().verdict is Verdict.UNCHECKED


def test_a_service_user_s_own_end_ends_its_certificates(sandbox: Sandbox) -> None:
    keys = {"SOON": sandbox.users()["ends_soon"]["api_key"]}
    issue(sandbox, "Ends with its user", {"DIGICERT_ONE_API_KEY": keys["SOON"]})
    _, (_, classified, *_) = take(sandbox, keys, ["env:SOON"])
    rows = {row[0]: dict(zip(INVENTORY.columns, row, strict=True)) for row in classified.tables[0].rows}
    assert rows["Ends with its user"]["effective end"] == sandbox.users()["ends_soon"]["end_date"]


def test_a_list_that_does_not_say_whose_its_certificates_are_is_of_whoever_was_given_it(sandbox: Sandbox) -> None:
    keys = {"SOON": sandbox.users()["ends_soon"]["api_key"]}
    issue(sandbox, "Ends with its user", {"DIGICERT_ONE_API_KEY": keys["SOON"]})
    procedure = prepare(Inventory, sandbox, keys, api_keys=["env:SOON"])
    procedure.perform("collect")
    (other,) = procedure._others
    silent = [
        one.model_copy(update={"user_id": None}) for one in other.listed or () if one.name == "Ends with its user"
    ]
    procedure._listed, procedure._others = Listing(), [replace(other, listed=tuple(silent))]
    result = procedure.perform("classify").result
    assert result is not None
    rows = {row[0]: dict(zip(INVENTORY.columns, row, strict=True)) for row in result.tables[0].rows}
    assert rows["Ends with its user"]["effective end"] == sandbox.users()["ends_soon"]["end_date"]
    assert rows["Ends with its user"]["owner"].startswith("another: ")
    procedure._user, procedure._listed = None, None  # it is not ours because nobody knows who we are
    result = procedure.perform("classify").result
    assert result is not None
    owners = {row[0]: row[INVENTORY.columns.index("owner")] for row in result.tables[0].rows}
    assert owners["Ends with its user"].startswith("another: ")


def test_a_service_user_who_is_named_twice_keeps_its_certificates(sandbox: Sandbox) -> None:
    issue(sandbox, "Ours")
    _, (_, classified, *_) = take(sandbox, {}, ["env:DIGICERT_ONE_API_KEY"])
    rows = {row[0]: dict(zip(INVENTORY.columns, row, strict=True)) for row in classified.tables[0].rows}
    assert rows["Ours"]["owner"] == "this service user"


def test_what_is_too_long_for_a_report_lies_next_to_it(
    fresh_sandbox: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = LONG + 10
    sandbox = fresh_sandbox(populate=count)
    asked, keys = accounts(sandbox, count)
    monkeypatch.chdir(tmp_path)
    _, (collected, classified, _, todo) = take(sandbox, keys, [one.api_key for one in asked], connections=16)
    assert [one.name for one in collected.beside] == ["service-users"]
    assert [(one.name, one.rows) for one in classified.beside] == [("inventory", count)]
    assert classified.timeline is None
    assert classified.histogram is not None
    assert sum(number for _, _, number in classified.histogram.months) == count
    head = [dict(zip(INVENTORY.columns, row, strict=True)) for row in classified.tables[0].rows]
    assert len(head) == SHOWN
    assert {row["days left"] for row in head} == {"10"}  # the expired ones do not hide those that end next
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"inventory.csv", "service-users.csv"}
    assert len(todo.tables[0].rows) < LONG


def test_an_answer_names_no_key() -> None:
    here = Environment("x", "https://x", "https://x")
    assert "env:KEY" in repr(OwnerAnswer(ApiKeyOwner("a", here, "env:KEY"), None, None, None))
