"""Accounts that fail in every way, in a batch that is interrupted and resumed: none is missing, none runs twice.

The sandbox's own journal is the witness. `make test` takes a small fleet, RUNBOOK_SOAK=1 one of a thousand accounts.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.catalogue import Exit, Reason
from tests.conftest import Sandbox
from tests.fleet.conftest import Fleet
from tests.fleet.ways import ACCOUNT_DEADLINE, CELL_TIMEOUT, NOT_HERE, Ways, write_notebook
from tests.soak import SOAK

MANY = 20 if SOAK else 2
"""Accounts per failing one: one in twenty fails, of more than a thousand."""


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """What stays open while the batch runs."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.timeout(7200 if SOAK else 600)
def test_every_account_is_accounted_for_and_none_is_done_twice(
    fresh_sandbox: Callable[..., Sandbox], tmp_path: Path, held: ExitStack
) -> None:
    sandbox = fresh_sandbox(populate=1400 if SOAK else 40)
    ways = Ways(tmp_path, sandbox, fresh_sandbox, held)
    bad = ways.every() if SOAK else ways.few()
    users = [user for user in sandbox.admin("GET", "/users") if user["role"] == "populated"][: MANY * len(bad)]
    total = len(users)
    assert total == MANY * len(bad)
    assert total > 1000 or not SOAK
    write_notebook(tmp_path / "any.ipynb")
    fleet = Fleet(
        tmp_path,
        {
            "notebook": "any.ipynb",
            "budget": {"starts_per_second": 1000, "at_once": 100},
            "retries": 1,
            "cell_timeout": CELL_TIMEOUT,
            "account_deadline": ACCOUNT_DEADLINE,
        },
    )
    expected: dict[str, str] = {}
    for number, user in enumerate(users):
        name, reason = f"account {number:04}", ""
        parameters: dict[str, Any] = {
            "given": {"api_key": ways.secret(user["id"], user["api_key"]), "store": str(tmp_path / "store")}
        }
        if number % MANY == 0:
            found, parameters = bad[number // MANY]
            # the same parameters twice would be a mistake in the file
            reason, parameters = str(found), {"number": number, **parameters}
        fleet.accounts.append({"account": name, **parameters})
        expected[name] = reason
    healthy = {user["id"] for user, reason in zip(users, expected.values(), strict=True) if not reason}

    def lists() -> Counter[str]:
        """How often each user's certificates were listed."""
        journal = sandbox.admin("GET", "/requests")
        return Counter(
            one["user_id"]
            for one in journal
            if one["method"] == "GET" and one["path"].endswith("/client-auth-certificate") and one["status"] == 200
        )

    # a run that waits does not block others
    process = fleet.start("--jobs", "6", env=sandbox.env)
    until = time.monotonic() + 1800
    while len(lists().keys() & healthy) < len(healthy) / 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    code, first, said = fleet.ended(process)
    assert (code, first.record["status"]) == (Exit.UNEXPECTED, "interrupted"), said
    code, second, said = fleet.run("--jobs", "6", env=sandbox.env)
    assert (code, second.record["status"]) == (Exit.CHECK_FAILED, "failed"), said

    assert {name: row["reason"] for name, row in second.rows.items()} == expected
    assert {name: row["status"] == "done" for name, row in second.rows.items()} == {
        name: not reason for name, reason in expected.items()
    }
    here = {name for name, row in second.rows.items() if not row["bag"]}
    before = {name for name, row in first.rows.items() if row["status"] != "missing"}
    assert here.isdisjoint(before)
    assert here | before == set(expected)
    assert (first.link["expected"], second.link["expected"]) == (total, len(here))
    done = sum(row["status"] == "done" for row in first.rows.values())
    assert (first.link["produced"], second.link["produced"]) == (done, len(healthy) - done)
    assert {user: count for user, count in lists().items() if user in healthy} == dict.fromkeys(healthy, 1)
    assert fleet.holds() == []
    reasons = {reason for reason, _ in bad}
    print(f"{total} accounts, {len(bad)} failing, with {len(reasons)} reasons: {done} done before Ctrl-C")
    if SOAK:
        assert reasons | NOT_HERE.keys() == set(Reason)
        assert not reasons & NOT_HERE.keys()
