"""Seeded fault schedules, about a third of all requests faulty: each issue and rotate succeeds, or reports why not.

The sandbox's own journal is the witness: no certificate that nobody can use stays enabled, and none is issued
twice. Waits are shortened (procedures', urllib3's and the client's read time): the server here lags by requests.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.digicert.client import Client
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.rotate import Rotate
from runbook_lib.sandbox import start, stop
from tests.conftest import Sandbox, read_env
from tests.soak import SOAK
from tests.soak.ledger import Grounds, Owner, audit
from tests.soak.stories import Ending, issue, issue_and_rotate, perform, prepare, rotate

pytestmark = pytest.mark.slow

SCHEDULES = range(1000) if SOAK else range(10)
RERUNS = 10
"""How often an operator runs it again while the faults go on; then they end, and it has to go well."""
READ_SECONDS = 0.4


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    folder = tmp_path_factory.mktemp("schedules")
    yield Grounds(Sandbox(folder / "state", read_env(start(folder / "state"))), folder / "stores")
    stop(folder / "state")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: sleep(min(seconds, 0.01)))
    defaults = Client.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "read_seconds", READ_SECONDS)


def schedule(seed: int) -> list[dict[str, Any]]:
    """Rules with every kind of fault, in another order and strength for each seed."""
    draw = random.Random(seed)  # noqa: S311 - repeatable is what it has to be

    def often(usual: float) -> float:
        return usual * draw.choice([0.2, 0.7, 0.7, 1.2])

    def later() -> dict[str, int]:
        return draw.choice([{}, {"retry_after": 1}, {"retry_after_date": 2}])

    rules: list[dict[str, Any]] = [
        {"fault": "drop_before", "probability": often(0.03)},
        {"fault": "drop_after", "probability": often(0.04)},
        {"fault": "truncated", "probability": often(0.03)},
        {"fault": "delay_before", "probability": often(0.02), "seconds": 0.02},
        {"fault": "delay_after", "probability": often(0.02), "seconds": 0.02},
        {"fault": "delay_after", "probability": often(0.003), "seconds": READ_SECONDS + 0.2},
        {"fault": "delay_before", "probability": often(0.003), "seconds": READ_SECONDS + 0.2},
        {"fault": "too_many_requests", "probability": often(0.03), **later()},
        {"fault": "service_unavailable", "probability": often(0.02), **later()},
        {"fault": "service_unavailable", "probability": often(0.01), "effect": True},
        {"fault": "internal_server_error", "probability": often(0.02), "effect": draw.random() < 0.5},
        {"fault": "empty_answer", "probability": often(0.02), "effect": draw.random() < 0.5},
        {"fault": "html_page", "probability": often(0.02), "effect": draw.random() < 0.5},
        {"fault": "other_key", "probability": often(0.04)},
        {"fault": "wrong_eku", "probability": often(0.04)},
        {"fault": "too_long", "probability": often(0.04)},
        {"fault": "odd_serial", "probability": often(0.2)},
        {"fault": "no_ca_cert", "probability": often(0.04)},
        {"fault": "lower_case_serial", "probability": often(0.1)},
        {"fault": "late_in_list", "probability": often(0.2), "lag": draw.randint(1, 6)},
        {"fault": "shuffled_list", "probability": often(0.2)},
        {"fault": "slow_enable", "probability": often(0.3), "lag": draw.randint(1, 8)},
        {"fault": "clock_skew", "probability": often(0.03), "seconds": draw.choice([-3600, -90, 90, 3600])},
    ]
    draw.shuffle(rules)
    return rules


def play(owner: Owner, seed: int) -> tuple[int, list[Ending], list[str]]:
    """One schedule: the number of runs it took (0: not done during the faults), the refusals, what is wrong."""
    name, refusals = "Scheduled", list[Ending]()
    owner.sandbox.admin("PUT", "/faults", {"seed": seed, "rules": schedule(seed)})
    runs = 0
    for number in range(1, RERUNS + 2):
        ending = issue_and_rotate(name, owner.environ)
        if ending is None:
            runs = number
            break
        refusals.append(ending)
        _heed(owner, ending)
    owner.sandbox.admin("DELETE", "/faults")
    time.sleep(0.25)  # delayed requests are done by then
    wrong = [f"no words: {one}" for one in refusals if one and not (one["what"] and one["remedy"])]
    if not runs:
        rest = [issue_and_rotate(name, owner.environ) for _ in range(3)]
        if rest[-1] is not None and rest[-1]["reason"] == Reason.DUPLICATE_NAME:
            # issued for another key, and the response lost: the chosen name cannot be used again
            return 0, refusals, wrong + [one["name"] for one in owner.certificates() if one["enabled"]]
        if rest[-1] is not None:
            return 0, refusals, [*wrong, f"stuck: {rest}"]
    return runs, refusals, wrong + audit(owner, name)


def _heed(owner: Owner, refusal: dict[str, Any]) -> None:
    """Follow the remedy for a name that is taken: disable that certificate if nobody has its key."""
    if refusal["reason"] == Reason.DUPLICATE_NAME:
        name = refusal["what"].split("“")[1].split("”")[0]
        procedure = prepare(Issue, name, owner.environ)
        owner.sandbox.admin("DELETE", "/faults")
        with procedure.session.api() as api:
            for one in api.certificates():
                if one.name == name:
                    api.set_enabled(one.id or "", False)


def test_a_name_taken_by_another_key_does_not_stop_the_rotations_for_ever(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("Taken name", owner.environ) is None
    rules = [{"fault": "other_key", "nth": 1}, {"fault": "drop_after", "method": "POST", "nth": 1}]
    owner.sandbox.admin("PUT", "/faults", {"seed": 1, "rules": rules})
    refusal = rotate("Taken name", owner.environ)
    owner.sandbox.admin("DELETE", "/faults")
    assert refusal is not None
    assert refusal["reason"] == Reason.DUPLICATE_NAME
    assert "Run again" in refusal["remedy"]
    assert "“Taken name 0002” is enabled and nobody has its key" in audit(owner, "Taken name")
    _heed(owner, refusal)
    assert rotate("Taken name", owner.environ) is None
    assert audit(owner, "Taken name") == []
    assert [one["name"] for one in owner.certificates() if one["enabled"]] == ["Taken name 0003"]


def test_every_schedule_ends_done_or_in_words_and_leaves_no_orphan(grounds: Grounds) -> None:
    runs, reasons, faults = Counter[int](), Counter[str](), Counter[str]()
    requests = faulty = 0
    bad = {}
    for seed in SCHEDULES:
        owner = grounds.owner()
        took, refusals, wrong = play(owner, seed)
        runs[took] += 1
        reasons.update(str(one["reason"]) for one in refusals if one)
        for request in owner.sandbox.admin("GET", f"/requests?after={owner.since}"):
            requests += 1
            faulty += bool(request["faults"])
            faults.update(request["faults"])
        if wrong:
            bad[seed] = wrong
            print(f"seed {seed}: {wrong}", flush=True)
        if seed % 50 == 49:
            print(f"{seed + 1} schedules, {requests} requests, {faulty / requests:.0%} faulty", flush=True)
    print(f"runs until done: {sorted(runs.items())}; refusals: {dict(reasons)}; faults: {dict(faults)}")
    assert not bad
    assert set(reasons) <= set(Reason)
    assert 0.2 < faulty / requests < 0.4


def test_without_looking_for_the_lost_certificate_an_orphan_would_be_left(
    grounds: Grounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: a run that treats a lost response as a request that never arrived leaves what the audit finds."""
    owner = grounds.owner()
    rules = [{"fault": "drop_after", "method": "POST", "nth": 1}]
    owner.sandbox.admin("PUT", "/faults", {"seed": 1, "rules": rules})

    def careless(self: Any, api: Any, number: int) -> bool:
        self.journal.append("reconciled", number, found="nobody looked")
        self.journal.append("abandoned", number)
        self.seal_key()
        return True

    with monkeypatch.context() as patch:
        patch.setattr("runbook_lib.lifecycle.issuance.Issuance._reconcile", careless)
        assert issue_and_rotate("Careless", owner.environ) is None
    owner.sandbox.admin("DELETE", "/faults")
    assert "“Careless” is enabled and nobody has its key" in audit(owner, "Careless")


def test_a_list_that_lags_is_not_taken_for_a_certificate_that_is_gone(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("Lagging", owner.environ) is None
    rules = [{"fault": "late_in_list", "lag": 3}]
    owner.sandbox.admin("PUT", "/faults", {"seed": 1, "rules": rules})
    procedure = prepare(Rotate, "Lagging", owner.environ, rotate_now=True)
    assert perform(procedure) is None  # both stay enabled for a day
    assert perform(prepare(Rotate, "Lagging", owner.environ)) is None
    owner.sandbox.admin("DELETE", "/faults")
    assert {one["name"]: one["enabled"] for one in owner.certificates()} == {"Lagging": True, "Lagging 0002": True}


def test_a_roll_back_disables_the_new_one_although_the_list_lags(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("Lagging back", owner.environ) is None
    owner.sandbox.admin("PUT", "/faults", {"seed": 1, "rules": [{"fault": "late_in_list", "lag": 3}]})
    assert perform(prepare(Rotate, "Lagging back", owner.environ, rotate_now=True)) is None
    assert perform(prepare(Rotate, "Lagging back", owner.environ, action="roll back")) is None
    owner.sandbox.admin("DELETE", "/faults")
    enabled = {one["name"]: one["enabled"] for one in owner.certificates()}
    assert enabled == {"Lagging back": True, "Lagging back 0002": False}


def test_a_roll_back_settles_a_request_in_doubt_by_itself(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("In doubt", owner.environ) is None
    owner.sandbox.admin("PUT", "/faults", {"seed": 1, "rules": [{"fault": "internal_server_error", "method": "POST"}]})
    refusal = perform(prepare(Rotate, "In doubt", owner.environ, rotate_now=True))
    assert refusal is not None
    assert refusal["reason"] == Reason.OUTCOME_UNKNOWN
    refusal = perform(prepare(Rotate, "In doubt", owner.environ, action="roll back"))
    assert refusal is not None
    assert refusal["reason"] == Reason.OUTCOME_UNKNOWN
    owner.sandbox.admin("DELETE", "/faults")
    refusal = perform(prepare(Rotate, "In doubt", owner.environ))
    assert refusal is not None
    assert refusal["reason"] == Reason.STEP_OUT_OF_ORDER  # a roll-back that has started does not stop by itself
    assert perform(prepare(Rotate, "In doubt", owner.environ, action="roll back")) is None
    assert audit(owner, "In doubt") == []
    assert [one["name"] for one in owner.certificates() if one["enabled"]] == ["In doubt"]
