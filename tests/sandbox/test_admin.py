"""The admin listener: the journal, the clock, and who may look."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from runbook_lib.clock import parse_utc
from tests.conftest import Sandbox
from tests.sandbox.conftest import CERTIFICATES, USER_ME, Caller, caller_of, key_pem


@pytest.mark.parametrize("path", ["/health", "/users", "/certificates", "/requests", "/clock", "/nothing"])
def test_without_the_token_the_admin_listener_tells_nothing(sandbox: Sandbox, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": sandbox.env["DIGICERT_ONE_ADMIN_TOKEN"]}):
        response = requests.get(sandbox.env["DIGICERT_ONE_ADMIN_URL"] + path, headers=headers, timeout=5)
        assert response.status_code == 401
        assert set(response.json()) == {"error"}


@pytest.mark.parametrize("given", ["Bearer sch\u00f6n".encode(), b"Bearer \xff\xfe"])
def test_a_token_that_is_not_ascii_is_a_wrong_one(sandbox: Sandbox, given: bytes) -> None:
    url = sandbox.env["DIGICERT_ONE_ADMIN_URL"] + "/health"
    assert requests.get(url, headers={"Authorization": given}, timeout=5).status_code == 401
    api = requests.get(
        sandbox.env["DIGICERT_ONE_URL"] + USER_ME,
        headers={"x-api-key": given},
        verify=sandbox.env["DIGICERT_ONE_CA_FILE"],
        timeout=5,
    )
    assert api.status_code in (401, 403)


def test_the_admin_paths_are_not_on_the_api_s_hosts(caller: Caller) -> None:
    assert caller.api("GET", "/users").status_code == 404


def test_the_seeded_users_are_listed_with_keys_that_look_real(sandbox: Sandbox) -> None:
    users = sandbox.users()
    assert set(users) == {"ordinary", "second", "no_permission", "expired", "disabled", "ends_soon", "other_account"}
    assert all(re.fullmatch(r"[0-9a-f]{26}_[0-9a-f]{64}", user["api_key"]) for user in users.values())
    assert users["ordinary"]["api_key"] == sandbox.api_key
    assert users["ordinary"]["account_id"] == users["second"]["account_id"] != users["other_account"]["account_id"]


def test_the_journal_tells_who_asked_what_and_how_it_ended(caller: Caller, sandbox: Sandbox) -> None:
    name = f"journalled {uuid4().hex}"
    identity = caller.issue(name)
    caller.mtls(identity)
    caller.api("POST", CERTIFICATES, {"csr": "bad", "name": name})
    caller.mtls(None)
    issued, used, refused, anonymous = sandbox.admin("GET", "/requests")[-4:]
    me = sandbox.users()["ordinary"]["id"]
    assert (issued["listener"], issued["method"], issued["path"]) == ("api", "POST", CERTIFICATES)
    assert (issued["status"], issued["user_id"], issued["certificate_name"]) == (201, me, name)
    assert (used["listener"], used["path"], used["status"], used["user_id"]) == ("clientauth", USER_ME, 200, me)
    assert used["certificate_serial"] == identity.answer["serial_number"]
    assert (refused["status"], refused["certificate_name"]) == (400, name)
    assert (anonymous["status"], anonymous["user_id"], anonymous["certificate_serial"]) == (403, None, None)
    assert all(parse_utc(entry["time"]) for entry in (issued, used, refused, anonymous))


def test_the_journal_holds_neither_keys_nor_certificates(caller: Caller, sandbox: Sandbox) -> None:
    identity = caller.issue()
    caller.mtls(identity)
    caller.api("GET", USER_ME, key="a-wrong-key-somebody-pasted")
    journal = str(sandbox.admin("GET", "/requests"))
    for secret in (sandbox.api_key, "a-wrong-key-somebody-pasted", "BEGIN", identity.answer["public_key"]):
        assert secret not in journal


def test_the_journal_is_read_on_from_a_number(caller: Caller, sandbox: Sandbox) -> None:
    caller.api("GET", USER_ME)
    seen = sandbox.admin("GET", "/requests")[-1]["number"]
    assert sandbox.admin("GET", f"/requests?after={seen}") == []
    caller.api("GET", CERTIFICATES)
    assert [one["path"] for one in sandbox.admin("GET", f"/requests?after={seen}")] == [CERTIFICATES]
    with pytest.raises(urllib.error.HTTPError) as caught:
        sandbox.admin("GET", "/requests?after=yesterday")
    assert caught.value.code == 400
    caught.value.close()


def test_the_certificates_of_one_account_are_listed(caller: Caller, sandbox: Sandbox) -> None:
    other = sandbox.users()["other_account"]
    theirs = caller.issue(key=other["api_key"]).answer["id"]
    ours = caller.issue().answer["id"]
    listed = {one["id"] for one in sandbox.admin("GET", f"/certificates?account_id={other['account_id']}")}
    assert theirs in listed
    assert ours not in listed


def test_the_server_never_had_the_private_key(caller: Caller, sandbox: Sandbox) -> None:
    identity = caller.issue()
    body = b"".join(key_pem(identity.key).splitlines()[1:-1])
    for path in sandbox.state.glob("sandbox.db*"):
        assert body not in path.read_bytes()


def test_certificates_of_all_accounts_are_listed_with_their_public_keys(caller: Caller, sandbox: Sandbox) -> None:
    ours = caller.issue().answer
    theirs = caller.issue(key=sandbox.users()["other_account"]["api_key"]).answer
    listed = {item["id"]: item for item in sandbox.admin("GET", "/certificates")}
    for answer in (ours, theirs):
        assert listed[answer["id"]]["public_key"] == answer["public_key"]
    assert listed[ours["id"]]["account_id"] != listed[theirs["id"]]["account_id"]


def test_the_clock_can_be_set_and_runs_on(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = fresh_sandbox()
    caller = caller_of(sandbox, tmp_path)
    answer = sandbox.admin("PUT", "/clock", {"now": "2030-05-01T12:00:00Z"})
    assert abs(parse_utc(answer["now"]) - parse_utc("2030-05-01T12:00:00Z")) <= timedelta(seconds=2)
    assert caller.issue().answer["start_date"] == "2030-05-01T00:00:00Z"
    date = parsedate_to_datetime(caller.api("GET", USER_ME).headers["Date"])
    assert date.strftime("%Y-%m-%d") == "2030-05-01", "the Date header tells the sandbox's time"
    assert sandbox.admin("GET", "/requests")[-1]["time"].startswith("2030-05-01T12:")
    sandbox.admin("PUT", "/clock", {"offset_seconds": 0})
    assert caller.issue().answer["start_date"] < "2030"
    caller.session.close()


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        {"now": "2030-05-01"},
        {"now": "noon"},
        {"now": 5},
        {"offset_seconds": "1"},
        {"offset_seconds": 1e30},
        {"now": "9999-12-31T00:00:00Z"},
        {"offset_seconds": 1, "now": "2030-05-01T00:00:00Z"},
    ],
)
def test_a_time_that_is_none_is_refused_and_the_clock_stays(sandbox: Sandbox, body: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        sandbox.admin("PUT", "/clock", body)
    assert caught.value.code == 400
    caught.value.close()
    assert sandbox.admin("GET", "/clock")["offset_seconds"] == 0
