"""A host is never sent more requests in a second than its budget, whoever sends them and however often."""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor

import pytest

from runbook_lib.digicert.budget import Budget
from runbook_lib.digicert.client import Client
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.secrets import Secret
from tests.digicert.conftest import API_KEY, Scripted, drop

USER = json.dumps({"id": "u1", "status": "ACTIVE", "user_type": "service"})


def most_in_a_second(times: list[float]) -> int:
    """In any second, not only in those of a calendar."""
    times = sorted(times)
    return max(bisect_left(times, start + 1.0) - number for number, start in enumerate(times))


def ask(scripted: Scripted, budget: Budget, count: int, threads: int = 6) -> list[Reason | None]:
    """So many reads by so many threads over one client's connections: how each ended."""

    def one(number: int) -> Reason | None:
        try:
            client.for_user(Secret(f"{number:026x}_" + "c0ffee" * 8, "test")).me()
        except RunbookError as error:
            return error.reason
        return None

    with (
        Client(scripted.environment, budget=budget, connections=threads) as client,
        ThreadPoolExecutor(threads) as pool,
    ):
        return list(pool.map(one, range(count)))


def test_in_no_second_do_more_requests_arrive_than_the_budget_has(scripted: Scripted) -> None:
    scripted.says(200, USER)
    assert ask(scripted, Budget(10), 25) == [None] * 25
    assert len(scripted.times) == 25
    assert most_in_a_second(scripted.times) <= 10


def test_a_budget_that_is_too_large_would_be_seen(scripted: Scripted) -> None:
    scripted.says(200, USER)
    ask(scripted, Budget(1000), 25)
    assert most_in_a_second(scripted.times) > 10


def test_repetitions_are_counted_too(scripted: Scripted) -> None:
    for _ in range(6):
        scripted.says(503, "", Retry_After="0")
        scripted.answers.append(drop)
    scripted.says(200, USER)
    ask(scripted, Budget(6), 8)
    assert len(scripted.times) > 12
    assert most_in_a_second(scripted.times) <= 6


def test_a_retry_after_holds_for_everybody(scripted: Scripted) -> None:
    scripted.says(429, "", Retry_After="1")
    scripted.says(200, USER)
    scripted.takes = 0.3  # longer than a busy client takes to read the 429
    assert ask(scripted, Budget(100), 30, threads=3) == [None] * 30
    first = scripted.times[0]
    assert all(at < first + 0.5 or at > first + 0.9 for at in scripted.times)
    assert sum(at < first + 0.5 for at in scripted.times) <= 3  # those that were under way
    assert len(scripted.times) == 31


def test_who_is_refused_for_good_says_so_and_holds_no_place(scripted: Scripted) -> None:
    scripted.says(429, "", Retry_After="0")
    budget = Budget(100)
    assert set(ask(scripted, budget, 4)) == {Reason.RATE_LIMITED}
    scripted.answers.clear()
    scripted.answers.append(drop)
    assert set(ask(scripted, budget, 4)) == {Reason.UNREACHABLE}
    assert budget._under_way == 0


def test_a_place_is_given_to_the_next_as_soon_as_it_may_be(scripted: Scripted) -> None:
    budget = Budget(1)
    began = time.monotonic()
    done = threading.Event()

    def second() -> None:
        with budget.request():
            done.set()

    with budget.request():
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.2)
    thread.join()
    assert 1.0 <= time.monotonic() - began < 3


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Budget(0)


# --- one connection, many service users -------------------------------------------------------------------------------


def test_each_service_user_has_its_own_key_and_nobody_s_cookie(scripted: Scripted) -> None:
    scripted.says(200, USER, Set_Cookie="session=somebody; Secure; Path=/")
    with Client(scripted.environment, api_key=Secret(API_KEY, "test")) as client:
        client.me()
        client.for_user(Secret("second", "test")).me()
        client.me()
    assert [headers["x-api-key"] for _, _, headers, _ in scripted.requests] == [API_KEY, "second", API_KEY]
    assert not any("Cookie" in headers for _, _, headers, _ in scripted.requests)


def test_what_one_service_user_met_is_not_reported_of_another(scripted: Scripted) -> None:
    scripted.says(200, USER)
    with Client(scripted.environment, api_key=Secret(API_KEY, "test")) as client:
        other = client.for_user(Secret("second", "test"))
        other.me()
        assert (client.user, client.connections) == (None, [])
        assert other.user is not None
        assert len(other.connections) == 1
