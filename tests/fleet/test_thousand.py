"""Accounts that fail in every way, cut off in the middle and gone on with: each is accounted for, none done twice.

The sandbox's own journal is the witness. `make test` takes a small fleet, RUNBOOK_SOAK=1 one of a thousand accounts.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib.catalogue import Exit, Reason
from tests.conftest import Sandbox
from tests.fleet.conftest import Fleet
from tests.soak import SOAK

ACCOUNTS, PART_FAILING = (1000, 0.05) if SOAK else (36, 0.4)
FAULTS: dict[str, Reason] = {
    "internal_server_error": Reason.SERVER_ERROR,
    "drop_before": Reason.UNREACHABLE,
    "too_many_requests": Reason.RATE_LIMITED,
    "service_unavailable": Reason.SERVER_ERROR,
    "html_page": Reason.SERVER_ERROR,
    "empty_answer": Reason.UNEXPECTED_ANSWER,
    "truncated": Reason.UNREACHABLE,
}
"""A sandbox each, in which every request meets this fault; and what an account there fails with."""


@pytest.fixture
def ways(
    fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> Callable[[Sandbox], list[tuple[dict[str, Any], Reason]]]:
    """Ways to fail: an account's parameters, and the reason it has to be listed with."""

    def secret(name: str, value: str, mode: int = 0o600) -> str:
        path = tmp_path / "keys" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value)
        path.chmod(mode)
        return f"file:{path}"

    def make(sandbox: Sandbox) -> list[tuple[dict[str, Any], Reason]]:
        users = sandbox.users()
        other_ca = fresh_sandbox().ca_file
        key = secret("ordinary", sandbox.api_key)
        found: list[tuple[dict[str, Any], Reason]] = [
            ({"api_key": secret("wrong", "0" * 26 + "_" + "0" * 64)}, Reason.API_KEY_REFUSED),
            ({"api_key": secret("expired", users["expired"]["api_key"])}, Reason.API_KEY_REFUSED),
            ({"api_key": secret("disabled", users["disabled"]["api_key"])}, Reason.API_KEY_REFUSED),
            ({"api_key": secret("no_permission", users["no_permission"]["api_key"])}, Reason.NO_ACCESS),
            ({"api_key": key, "environment": "https://localhost:1"}, Reason.UNREACHABLE),
            ({"api_key": key, "environment": "https://no-such-host.invalid"}, Reason.UNREACHABLE),
            ({"api_key": key, "ca_file": str(other_ca)}, Reason.TLS_NOT_TRUSTED),
            ({"api_key": f"file:{tmp_path}/keys/none"}, Reason.SECRET_NOT_FOUND),
            ({"api_key": "env:NO_SUCH_VARIABLE"}, Reason.SECRET_NOT_FOUND),
            ({"api_key": secret("open", sandbox.api_key, 0o644)}, Reason.SECRET_EXPOSED),
            ({"api_key": key, "due_days": 0}, Reason.BAD_PARAMETER),
            ({"api_key": key, "environment": "http://localhost"}, Reason.BAD_PARAMETER),
            ({"api_key": key, "due_dais": 60}, Reason.UNKNOWN_PARAMETER),
        ]
        for fault, reason in list(FAULTS.items())[: None if SOAK else 2]:
            rules = tmp_path / f"{fault}.yaml"
            more = {"retry_after": 0} if fault in ("too_many_requests", "service_unavailable") else {}
            rules.write_text(yaml.safe_dump([{"fault": fault, **more}]))
            faulty = fresh_sandbox(faults=rules)
            where = {"environment": faulty.url, "ca_file": str(faulty.ca_file)}
            found.append(({"api_key": secret(fault, faulty.api_key), **where}, reason))
        return found

    return make


@pytest.mark.slow
@pytest.mark.timeout(7200 if SOAK else 600)
def test_every_account_is_accounted_for_and_none_is_done_twice(
    fresh_sandbox: Callable[..., Sandbox],
    ways: Callable[[Sandbox], list[tuple[dict[str, Any], Reason]]],
    tmp_path: Path,
) -> None:
    sandbox = fresh_sandbox(populate=ACCOUNTS)
    keys = tmp_path / "keys"
    keys.mkdir()
    users = [user for user in sandbox.admin("GET", "/users") if user["role"] == "populated"]
    for user in users:
        (keys / user["id"]).write_text(user["api_key"])
        (keys / user["id"]).chmod(0o600)
    bad = ways(sandbox)
    every = round(1 / PART_FAILING)
    fleet = Fleet(
        tmp_path,
        {
            "notebook": "inventory",
            "parameters": {"environment": "sandbox", "store": str(tmp_path / "store")},
            "budget": {"starts_per_second": 1000, "at_once": 100},
            "retries": 1,
        },
    )
    expected: dict[str, str] = {}
    for number, user in enumerate(users):
        account = {"account": f"account {number:04}", "api_key": f"file:{keys / user['id']}"}
        reason = ""
        if number % every == 0:
            way, reason = bad[(number // every) % len(bad)]
            account |= {"store": str(tmp_path / f"store {number}"), **way}
        expected[account["account"]] = str(reason)
        fleet.accounts.append(account)
    healthy = {user["id"] for user, reason in zip(users, expected.values(), strict=True) if not reason}
    assert len(set(expected.values())) > 8

    def lists() -> Counter[str]:
        """How often each user's certificates were listed."""
        journal = sandbox.admin("GET", "/requests")
        return Counter(
            one["user_id"]
            for one in journal
            if one["method"] == "GET" and one["path"].endswith("/client-auth-certificate") and one["status"] == 200
        )

    process = fleet.start(env=sandbox.env)
    until = time.monotonic() + 1800
    while len(lists().keys() & healthy) < len(healthy) / 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    code, first, said = fleet.ended(process)
    assert (code, first.record["status"]) == (Exit.UNEXPECTED, "interrupted"), said
    code, second, said = fleet.run(env=sandbox.env)
    assert (code, second.record["status"]) == (Exit.CHECK_FAILED, "failed"), said

    assert {name: row["reason"] for name, row in second.rows.items()} == expected
    assert {name: row["status"] == "done" for name, row in second.rows.items()} == {
        name: not reason for name, reason in expected.items()
    }
    here = {name for name, row in second.rows.items() if not row["bag"]}
    before = {name for name, row in first.rows.items() if row["status"] != "missing"}
    assert here.isdisjoint(before)
    assert here | before == set(expected)
    assert (first.link["expected"], second.link["expected"]) == (ACCOUNTS, len(here))
    done = sum(row["status"] == "done" for row in first.rows.values())
    assert (first.link["produced"], second.link["produced"]) == (done, len(healthy) - done)
    assert {user: count for user, count in lists().items() if user in healthy} == dict.fromkeys(healthy, 1)
    assert fleet.holds() == []
    print(f"{ACCOUNTS} accounts, {ACCOUNTS - len(healthy)} failing in {len(bad)} ways: {done} done before Ctrl-C")
