"""The load on a host stays within limits, whatever the number of accounts and workers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.catalogue import Exit
from runbook_lib.clock import parse_utc
from runbook_lib.fleet.file import HostBudget
from runbook_lib.fleet.pace import Host
from tests.conftest import Sandbox
from tests.fleet.conftest import Fleet


@given(st.floats(0.5, 100), st.integers(1, 5), st.lists(st.floats(0, 0.3), min_size=20, max_size=200))
def test_no_second_sees_more_begin_than_the_budget_and_no_moment_more_under_way(
    rate: float, at_once: int, steps: list[float]
) -> None:
    host = Host[int](HostBudget(starts_per_second=rate, at_once=at_once))
    host.waiting.extend(range(1000))
    now, begun = 1000.0, []
    for number, step in enumerate(steps):
        now += step
        while host.may_start(now):
            host.start(now)
            begun.append(now)
        assert host.under_way <= at_once
        if number % 3 == 0 and host.under_way:
            host.ended()
    for moment in begun:
        assert sum(moment <= one < moment + 1 for one in begun) <= rate + 1


def test_one_at_a_time_is_what_the_server_sees(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = fresh_sandbox(populate=5)
    users = [user for user in sandbox.admin("GET", "/users") if user["role"] == "populated"]
    settings = {"notebook": "inventory", "parameters": {"environment": "sandbox", "store": str(tmp_path / "store")}}
    fleet = Fleet(tmp_path, {**settings, "budget": {"at_once": 1, "starts_per_second": 1000}})
    for number in range(len(users)):
        fleet.accounts.append({"account": f"a{number}", "api_key": f"env:KEY_{number}"})
    env = {**sandbox.env, **{f"KEY_{number}": user["api_key"] for number, user in enumerate(users)}}
    code, _, said = fleet.run(env=env)
    assert code == Exit.DONE, said
    asked = [one["user_id"] for one in sandbox.admin("GET", "/requests") if one["user_id"]]
    assert len(asked) >= 2 * len(users)
    assert [user for user, _ in groupby(asked)] == [user["id"] for user in users]  # one after the other, in order


def test_a_host_that_asks_to_wait_is_not_asked_by_anybody_until_then(
    night: Callable[..., Fleet], fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """The client gives up after three repetitions; then the batch obeys the last answer's Retry-After."""
    wait = 4
    rules = [{"fault": "too_many_requests", "retry_after": 0 if nth < 4 else wait, "nth": nth} for nth in (1, 2, 3, 4)]
    (tmp_path / "faults.yaml").write_text(yaml.safe_dump(rules))
    sandbox = fresh_sandbox(faults=tmp_path / "faults.yaml")
    fleet = night(2, notebook="inventory", budget={"starts_per_second": 100, "at_once": 1})
    fleet.settings["parameters"] = {"environment": "sandbox"}
    fleet.accounts = [{"account": name, "store": str(tmp_path / name)} for name in ("a", "b")]
    code, bag, said = fleet.run(env=sandbox.env)
    assert code == Exit.DONE, said
    assert {name: row["attempts"] for name, row in bag.rows.items()} == {"a": "2", "b": "1"}
    at = [parse_utc(one["time"]) for one in sandbox.admin("GET", "/requests")]
    assert (at[4] - at[3]).total_seconds() >= wait - 1  # the journal has full seconds
    assert "a: retry in" in said
