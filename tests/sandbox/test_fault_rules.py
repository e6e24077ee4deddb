"""Rules of faults: what they match, that they are repeatable, and how a bad one is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.sandbox.faults import Faults, Rule, read_rules, read_rules_file
from tests.sandbox.conftest import CERTIFICATES, USER_ME

ROOT = Path(__file__).parents[2]

Request = tuple[str, str, str | None]
REQUESTS: list[Request] = [
    ("GET", USER_ME, None),
    ("GET", USER_ME, "Demo"),
    ("GET", CERTIFICATES, None),
    ("POST", CERTIFICATES, "Demo"),
    ("POST", CERTIFICATES, "Demo 2"),
    ("PUT", f"{CERTIFICATES}/5/enable", "Demo"),
]
plain_rules = st.fixed_dictionaries(
    {
        "fault": st.sampled_from(
            ["drop_before", "drop_after", "too_many_requests", "html_page", "other_key", "truncated"]
        )
    },
    optional={
        "name": st.sampled_from(["*", "Demo", "Demo ?"]),
        "path": st.sampled_from(["*", "*/user/me", "/account/*"]),
    },
)
when: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.integers(1, 4).map(lambda n: {"nth": n}),
    st.integers(1, 4).map(lambda n: {"first": n}),
    st.floats(0.05, 1).map(lambda p: {"probability": p}),
)
some_rules = st.lists(st.tuples(plain_rules, when).map(lambda both: both[0] | both[1]), max_size=6)


def met(rules: list[Rule], seed: int, requests: list[Request]) -> list[list[str]]:
    faults = Faults()
    faults.set(rules, seed)
    return [[counted.rule.fault for counted in faults.plan(*request, []).rules] for request in requests]


@given(some_rules, st.integers(0, 2**32), st.lists(st.sampled_from(REQUESTS), max_size=30))
def test_the_same_seed_and_the_same_requests_give_the_same_faults(
    data: list[dict[str, Any]], seed: int, requests: list[Request]
) -> None:
    rules = read_rules(data)
    first = met(rules, seed, requests)
    assert met(rules, seed, requests) == first
    # and they depend on nothing that is still to come
    assert met(rules, seed, requests[: len(requests) // 2]) == first[: len(requests) // 2]


def test_another_seed_gives_other_faults() -> None:
    rules = read_rules([{"fault": "drop_before", "probability": 0.5}])
    requests = REQUESTS * 5
    assert met(rules, 1, requests) != met(rules, 2, requests)


def test_about_as_many_requests_are_faulty_as_was_asked_for() -> None:
    faulty = sum(map(bool, met(read_rules([{"fault": "drop_before", "probability": 0.3}]), 1, REQUESTS[:1] * 2000)))
    assert 540 <= faulty <= 660


@pytest.mark.parametrize(
    ("selection", "expected"),
    [({}, "11111"), ({"nth": 2}, "01000"), ({"first": 3}, "11100"), ({"probability": 1.0}, "11111")],
)
def test_which_of_the_matching_requests(selection: dict[str, Any], expected: str) -> None:
    rules = read_rules([{"fault": "drop_before", "method": "POST", **selection}])
    post, get = REQUESTS[3], REQUESTS[0]
    seen = met(rules, 1, [one for _ in range(5) for one in (post, get)])
    assert "".join("1" if faults else "0" for faults in seen[::2]) == expected
    assert not any(seen[1::2])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({}, "111111"),
        ({"method": "GET"}, "111000"),
        ({"path": "*/client-auth-certificate"}, "001110"),
        ({"path": "*/enable"}, "000001"),
        ({"name": "Demo"}, "010101"),
        ({"name": "Demo*"}, "010111"),
        ({"name": "demo*"}, "000000"),
        ({"name": "*", "method": "GET"}, "010000"),
    ],
)
def test_what_a_request_has_to_match(pattern: dict[str, str], expected: str) -> None:
    seen = met(read_rules([{"fault": "html_page", **pattern}]), 1, REQUESTS)
    assert "".join("1" if faults else "0" for faults in seen) == expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"fault": "other_key"}, "000110"),
        ({"fault": "late_in_list", "lag": 1}, "000110"),
        ({"fault": "shuffled_list"}, "001000"),
        ({"fault": "slow_enable", "lag": 1}, "000001"),
    ],
)
def test_some_faults_are_for_one_kind_of_request(fault: dict[str, Any], expected: str) -> None:
    seen = met(read_rules([fault]), 1, REQUESTS)
    assert "".join("1" if faults else "0" for faults in seen) == expected


def test_one_request_has_one_end_and_the_first_rule_s_wins() -> None:
    rules = read_rules([{"fault": fault} for fault in ("lower_case_serial", "html_page", "drop_after")])
    assert met(rules, 1, REQUESTS[:1]) == [["lower_case_serial", "html_page"]]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "rule 2: fault: Field required"),
        ("drop_before", "rule 2: Input should be a valid dictionary"),
        ({"fault": "explode"}, "rule 2 (explode): fault: Input should be"),
        ({"fault": "drop_before", "nht": 1}, "rule 2 (drop_before): nht: Extra inputs are not permitted"),
        ({"fault": "drop_before", "nth": 0}, "rule 2 (drop_before): nth: Input should be greater than or equal to 1"),
        ({"fault": "drop_before", "nth": True}, "rule 2 (drop_before): nth: Input should be a valid integer"),
        ({"fault": "drop_before", "probability": 1.5}, "probability: Input should be less than or equal to 1"),
        ({"fault": "drop_before", "probability": float("nan")}, "probability: Input should be"),
        ({"fault": "drop_before", "nth": 1, "first": 1}, "use only one of `nth`, `first` and `probability`"),
        ({"fault": "drop_before", "method": "get"}, "method: Input should be 'GET', 'POST' or 'PUT'"),
        ({"fault": "drop_before", "path": "user/me"}, "`path` must start with / or *"),
        ({"fault": "drop_before", "seconds": 1}, "rule 2 (drop_before): drop_before has no `seconds`"),
        ({"fault": "drop_after", "effect": False}, "drop_after has no `effect`"),
        ({"fault": "internal_server_error", "retry_after": 1}, "internal_server_error has no `retry_after`"),
        ({"fault": "other_key", "method": "GET"}, "other_key applies to POST requests only"),
        ({"fault": "slow_enable"}, "rule 2 (slow_enable): `lag` is missing"),
        ({"fault": "late_in_list", "lag": 0}, "lag: Input should be greater than or equal to 1"),
        ({"fault": "delay_before", "seconds": -1}, "a delay must be from 0 to 600 seconds"),
        ({"fault": "delay_before", "seconds": "1"}, "seconds: Input should be a valid number"),
        (
            {"fault": "too_many_requests", "retry_after": 1, "retry_after_date": 1},
            "use `retry_after` or `retry_after_date`, not both",
        ),
    ],
)
def test_a_bad_rule_is_reported_by_its_number_with_what_is_wrong_with_it(rule: Any, said: str) -> None:
    with pytest.raises(RunbookError) as caught:
        read_rules([{"fault": "drop_before"}, rule])
    assert caught.value.reason is Reason.BAD_PARAMETER
    assert said in caught.value.what
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- {fault: drop_before\n", "is not YAML in line 2"),
        ("- fault: nothing", "rule 1 (nothing)"),
        ("fault: drop_before", "the rules: Input should be a valid list"),
        ("", "the rules: Input should be a valid list"),
        ("\udcff", "line 1: not UTF-8 text"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "faults.yaml"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunbookError) as caught:
        read_rules_file(file)
    assert caught.value.what.startswith(str(file))
    assert said in caught.value.what
    with pytest.raises(RunbookError, match="cannot be read"):
        read_rules_file(tmp_path / "missing.yaml")


def test_a_rule_may_be_json_too(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text('[{"fault": "delay_after", "seconds": 2, "nth": 1}]')
    assert read_rules_file(file) == [Rule(fault="delay_after", seconds=2, nth=1)]


@pytest.mark.parametrize("name", ["lost-answer", "slow-morning", "wrong-certificate"])
def test_the_example_files_are_good(name: str) -> None:
    assert read_rules_file(ROOT / "parameters" / "faults" / f"{name}.yaml")
