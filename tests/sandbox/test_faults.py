"""Each fault, as a client sees it on the wire, and whether the request was carried out all the same."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from runbook_lib.clock import parse_utc
from runbook_lib.errors import RunbookError
from runbook_lib.sandbox import start, stop
from runbook_lib.sandbox.signing_request import public_key_base64
from tests.conftest import Sandbox, read_env
from tests.sandbox.conftest import CERTIFICATES, USER_ME, Caller, Identity, caller_of, csr

LOST = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    state = tmp_path_factory.mktemp("faulty") / "state"
    yield Sandbox(state, read_env(start(state)))
    stop(state)
    log = (state / "sandbox.log").read_text()
    assert log == "", "faults are meant, and no reason for a traceback"


class Operator:
    """A service user in an account of its own, and the admin listener as well."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.user = sandbox.admin("POST", "/users")
        own = Sandbox(sandbox.state, sandbox.env | {"DIGICERT_ONE_API_KEY": self.user["api_key"]})
        self.caller: Caller = caller_of(own, folder)

    def faults(self, *rules: dict[str, Any], seed: int = 1) -> None:
        self.sandbox.admin("PUT", "/faults", {"seed": seed, "rules": list(rules)})

    def fired(self) -> list[int]:
        return [rule["fired"] for rule in self.sandbox.admin("GET", "/faults")["rules"]]

    def post(self, name: str = "wanted") -> requests.Response:
        return self.caller.api(
            "POST", CERTIFICATES, {"csr": csr(ec.generate_private_key(ec.SECP256R1())), "name": name}
        )

    def listed(self) -> list[str]:
        return [item["name"] for item in self.caller.api("GET", CERTIFICATES).json()]

    def there(self) -> list[str]:
        """The names of the account's certificates that really exist."""
        mine = self.sandbox.admin("GET", f"/certificates?account_id={self.user['account_id']}")
        return [one["name"] for one in mine]

    def journal(self) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = self.sandbox.admin("GET", f"/requests?after={self.since}")
        return requests

    def __enter__(self) -> Operator:
        self.since = max((one["number"] for one in self.sandbox.admin("GET", "/requests")), default=0)
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.admin("DELETE", "/faults")
        self.caller.session.close()


@pytest.fixture
def operator(shared: Sandbox, tmp_path: Path) -> Iterator[Operator]:
    with Operator(shared, tmp_path) as operator:
        yield operator


# the connection


@pytest.mark.parametrize(("fault", "done"), [("drop_before", False), ("drop_after", True), ("truncated", True)])
def test_the_answer_is_lost_and_only_the_journal_knows_whether_it_was_done(
    operator: Operator, fault: str, done: bool
) -> None:
    operator.faults({"fault": fault, "method": "POST", "path": "*/client-auth-certificate", "name": "want*", "nth": 1})
    with pytest.raises(LOST):
        operator.post()
    assert operator.there() == (["wanted"] if done else [])
    entry = operator.journal()[-1]
    assert (entry["faults"], entry["effect"]) == ([fault], done)
    assert (entry["method"], entry["certificate_name"]) == ("POST", "wanted")
    assert entry["status"] == (201 if fault == "truncated" else 0)
    assert operator.post().status_code == (400 if done else 201), "the second one is not dropped"
    assert operator.fired() == [1]


def test_a_truncated_answer_begins_like_a_good_one_and_promises_more_than_it_gives(operator: Operator) -> None:
    operator.faults({"fault": "truncated"})
    body = json.dumps({"csr": csr(ec.generate_private_key(ec.SECP256R1())), "name": "cut"})
    response = operator.caller.session.post(
        operator.sandbox.url + CERTIFICATES,
        data=body,
        headers={"x-api-key": operator.user["api_key"]},
        verify=str(operator.sandbox.ca_file),
        timeout=10,
        stream=True,
    )
    assert response.status_code == 201
    got = b""
    with pytest.raises(LOST) as caught:
        for chunk in response.iter_content(64):
            got += chunk
    assert "IncompleteRead" in str(caught.value)
    assert got.startswith(b'{"id": "')
    promised = int(response.headers["Content-Length"])
    assert promised // 2 - 64 <= len(got) < promised
    response.close()


def test_a_dropped_connection_gives_not_one_byte(operator: Operator) -> None:
    operator.faults({"fault": "drop_after"})
    context = ssl.create_default_context(cafile=str(operator.sandbox.ca_file))
    port = int(operator.sandbox.url.rpartition(":")[2])
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
    with pytest.raises((http.client.RemoteDisconnected, ssl.SSLEOFError, ConnectionResetError)):
        connection.request("GET", USER_ME, headers={"x-api-key": operator.user["api_key"]})
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize(("fault", "done"), [("delay_before", False), ("delay_after", True)])
def test_a_delay_comes_before_or_after_the_effect(operator: Operator, fault: str, done: bool) -> None:
    operator.faults({"fault": fault, "seconds": 0.6, "method": "POST", "nth": 1})
    with pytest.raises(requests.exceptions.ReadTimeout):
        operator.caller.session.post(
            operator.sandbox.url + CERTIFICATES,
            json={"csr": csr(ec.generate_private_key(ec.SECP256R1())), "name": "slow"},
            headers={"x-api-key": operator.user["api_key"]},
            verify=str(operator.sandbox.ca_file),
            timeout=(10, 0.3),
        )
    assert operator.there() == (["slow"] if done else [])
    deadline = time.monotonic() + 10
    while not operator.journal() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert operator.there() == ["slow"], "the client has gone, and the request is carried out nevertheless"
    assert (operator.journal()[-1]["faults"], operator.journal()[-1]["effect"]) == ([fault], True)


def test_a_delayed_answer_is_a_good_one(operator: Operator) -> None:
    operator.faults({"fault": "delay_after", "seconds": 0.3}, {"fault": "delay_before", "seconds": 0.3})
    begun = time.monotonic()
    assert operator.caller.api("GET", USER_ME).status_code == 200
    assert time.monotonic() - begun >= 0.6
    assert operator.journal()[-1]["faults"] == ["delay_before", "delay_after"]


def test_while_one_request_waits_others_are_answered(operator: Operator, shared: Sandbox, tmp_path: Path) -> None:
    operator.faults({"fault": "delay_before", "seconds": 30, "path": "*/client-auth-certificate"})
    with pytest.raises(requests.exceptions.ReadTimeout):
        operator.caller.session.get(
            shared.url + CERTIFICATES,
            headers={"x-api-key": operator.user["api_key"]},
            verify=str(shared.ca_file),
            timeout=(10, 0.2),
        )
    assert operator.caller.api("GET", USER_ME).status_code == 200


# another answer


@pytest.mark.parametrize(
    ("rule", "status", "retry_after"),
    [
        ({"fault": "too_many_requests", "retry_after": 7}, 429, "7"),
        ({"fault": "too_many_requests"}, 429, None),
        ({"fault": "service_unavailable", "retry_after": 0}, 503, "0"),
        ({"fault": "service_unavailable"}, 503, None),
        ({"fault": "internal_server_error"}, 500, None),
    ],
)
def test_a_refusal_says_how_long_to_wait_or_does_not_and_nothing_was_done(
    operator: Operator, rule: dict[str, Any], status: int, retry_after: str | None
) -> None:
    operator.faults(rule)
    response = operator.post()
    assert (response.status_code, response.headers.get("Retry-After")) == (status, retry_after)
    assert set(response.json()["errors"][0]) == {"code", "message"}
    assert operator.there() == []
    entry = operator.journal()[-1]
    assert (entry["faults"], entry["status"], entry["effect"]) == ([rule["fault"]], status, False)


@pytest.mark.parametrize(("fault", "status"), [("too_many_requests", 429), ("service_unavailable", 503)])
def test_how_long_to_wait_may_be_an_http_date_on_the_server_s_clock(
    operator: Operator, fault: str, status: int
) -> None:
    operator.faults({"fault": fault, "retry_after_date": 90})
    response = operator.post()
    assert response.status_code == status
    assert response.headers["Retry-After"].endswith(" GMT")
    until, now = (parsedate_to_datetime(response.headers[name]) for name in ("Retry-After", "Date"))
    assert timedelta(seconds=89) <= until - now <= timedelta(seconds=91)


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("internal_server_error", 500, "application/json"),
        ("service_unavailable", 503, "application/json"),
        ("empty_answer", 200, "application/json"),
        ("html_page", 502, "text/html"),
    ],
)
def test_an_answer_that_tells_nothing_may_hide_that_it_was_done(
    operator: Operator, fault: str, status: int, kind: str, effect: bool
) -> None:
    operator.faults({"fault": fault, "effect": effect})
    response = operator.post()
    assert (response.status_code, response.headers["Content-Type"].partition(";")[0]) == (status, kind)
    if fault == "empty_answer":
        assert response.content == b""
    if fault == "html_page":
        assert response.text.startswith("<html>")
    assert operator.there() == (["wanted"] if effect else [])
    assert operator.journal()[-1]["effect"] is effect


def test_a_disabling_whose_answer_is_lost_was_done(operator: Operator) -> None:
    identity = operator.caller.issue("wanted")
    operator.faults({"fault": "drop_after", "method": "PUT", "name": "wanted"})
    with pytest.raises(LOST):
        operator.caller.enable(identity, False)
    assert operator.caller.mtls(identity).status_code == 403
    put = next(one for one in operator.journal() if one["method"] == "PUT")
    assert (put["certificate_name"], put["enabled"], put["effect"], put["status"]) == ("wanted", False, True, 0)


# another certificate


def issued(operator: Operator, fault: str, **more: Any) -> tuple[Identity, x509.Certificate, dict[str, Any]]:
    """What a POST with this fault answers, its certificate, and the certificate as the list has it."""
    operator.faults({"fault": fault, **more})
    identity = operator.caller.issue("wanted")
    assert operator.fired() == [1]
    entry = operator.journal()[-1]
    assert (entry["faults"], entry["status"], entry["effect"]) == ([fault], 201, True)
    listed = next(item for item in operator.caller.api("GET", CERTIFICATES).json() if item["name"] == "wanted")
    return identity, x509.load_pem_x509_certificate(identity.answer["x509_cert"].encode()), listed


def test_a_certificate_for_another_key(operator: Operator) -> None:
    identity, leaf, listed = issued(operator, "other_key")
    assert leaf.public_key() != identity.key.public_key()
    assert identity.answer["public_key"] == listed["public_key"] == public_key_base64(leaf.public_key())


def test_a_certificate_for_servers_opens_nothing(operator: Operator) -> None:
    identity, leaf, _ = issued(operator, "wrong_eku")
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    with pytest.raises(requests.exceptions.SSLError):
        operator.caller.mtls(identity)


def test_a_certificate_that_is_valid_too_long(operator: Operator) -> None:
    identity, leaf, listed = issued(operator, "too_long")
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc > timedelta(days=397)
    assert parse_utc(identity.answer["end_date"]) == leaf.not_valid_after_utc == parse_utc(listed["end_date"])


def test_an_answer_without_the_ca_s_certificate(operator: Operator) -> None:
    identity, _, _ = issued(operator, "no_ca_cert")
    assert "ca_cert" not in identity.answer
    assert "BEGIN CERTIFICATE" in identity.answer["x509_cert"]


def test_a_serial_number_of_an_odd_number_of_digits(operator: Operator) -> None:
    identity, leaf, listed = issued(operator, "odd_serial")
    serial = identity.answer["serial_number"]
    assert len(serial) % 2 == 1
    assert int(serial, 16) == leaf.serial_number
    assert listed["serial_number"] == serial
    assert operator.caller.mtls(identity).status_code == 200


def test_a_serial_number_in_lower_case_everywhere(operator: Operator) -> None:
    identity, leaf, listed = issued(operator, "lower_case_serial", first=1)
    serial = identity.answer["serial_number"]
    assert serial == f"{leaf.serial_number:x}"
    assert listed["serial_number"] == serial.upper(), "only the first answer"
    operator.faults({"fault": "lower_case_serial"})
    assert operator.caller.api("GET", CERTIFICATES).json()[0]["serial_number"] == serial
    assert operator.caller.enable(identity, False).json()["serial_number"] == serial
    assert operator.caller.api("GET", USER_ME).status_code == 200
    assert [one["faults"] for one in operator.journal()[-3:]] == [["lower_case_serial"]] * 2 + [[]]


def test_what_was_refused_anyway_meets_no_fault_of_issuance(operator: Operator) -> None:
    operator.caller.issue("taken")
    operator.faults({"fault": "other_key"})
    assert operator.post("taken").status_code == 400
    assert operator.journal()[-1]["faults"] == []
    assert operator.sandbox.admin("GET", "/faults")["rules"] == [{"fault": "other_key", "matched": 1, "fired": 0}]


# the world behind it


def test_a_new_certificate_comes_late_into_its_user_s_list(operator: Operator) -> None:
    operator.caller.issue("old")
    operator.faults({"fault": "late_in_list", "lag": 2, "name": "new*"})
    identity = operator.caller.issue("new one")
    assert [operator.listed() for _ in range(4)] == [["old"], ["old"], ["old", "new one"], ["old", "new one"]]
    assert [one["faults"] for one in operator.journal()[-5:]] == [["late_in_list"]] * 3 + [[], []]
    assert operator.caller.mtls(identity).status_code == 200, "it works from the beginning"
    assert operator.there() == ["old", "new one"]


def test_a_colleague_sees_a_late_certificate_at_once(operator: Operator) -> None:
    users = operator.sandbox.users()
    operator.faults({"fault": "late_in_list", "lag": 1, "name": "late for me"})
    operator.caller.issue("late for me", key=users["ordinary"]["api_key"])

    def sees(role: str) -> bool:
        items = operator.caller.api("GET", CERTIFICATES, key=users[role]["api_key"]).json()
        return "late for me" in {item["name"] for item in items}

    assert [sees("second"), sees("ordinary"), sees("second"), sees("ordinary")] == [True, False, True, True]


def test_a_lost_answer_and_a_late_list_may_come_together(operator: Operator) -> None:
    operator.faults({"fault": "late_in_list", "lag": 1}, {"fault": "drop_after", "method": "POST", "nth": 1})
    with pytest.raises(LOST):
        operator.post()
    assert operator.listed() == []
    assert operator.post().json()["errors"][0]["code"] == "duplicate_error", "the name is taken, listed or not"
    assert operator.listed() == ["wanted"]
    assert operator.fired() == [1, 1]


def test_a_list_in_another_order_has_the_same_in_it(operator: Operator) -> None:
    names = [f"number {number}" for number in range(6)]
    for name in names:
        operator.caller.issue(name)
    assert operator.listed() == names
    rule = {"fault": "shuffled_list"}
    operator.faults(rule, seed=5)
    first = [operator.listed() for _ in range(3)]
    assert all(sorted(seen) == names for seen in first)
    assert any(seen != names for seen in first)
    operator.faults(rule, seed=5)
    assert [operator.listed() for _ in range(3)] == first


def test_a_disabling_and_an_enabling_that_take_some_requests_to_bite(operator: Operator) -> None:
    identity, other = operator.caller.issue("slow one"), operator.caller.issue("other")
    operator.faults({"fault": "slow_enable", "lag": 2, "name": "slow*"})

    def seen() -> list[int]:
        return [operator.caller.mtls(identity).status_code for _ in range(3)]

    assert operator.caller.enable(identity, False).json()["enabled"] is False
    operator.caller.enable(other, False)
    assert operator.caller.mtls(other).status_code == 403
    assert operator.caller.api("GET", CERTIFICATES).json()[0]["enabled"] is False, "the list knows at once"
    assert seen() == [200, 200, 403]
    operator.caller.enable(identity, False)  # said again, it changes nothing and is late for nothing
    assert seen() == [403, 403, 403]
    operator.caller.enable(identity, True)
    assert seen() == [403, 403, 200]
    assert [one["faults"] for one in operator.journal()[-3:]] == [["slow_enable"], ["slow_enable"], []]
    assert operator.fired() == [2]


@pytest.mark.parametrize("days", [-3, 3])
def test_whoever_answers_has_a_wrong_clock(operator: Operator, days: int) -> None:
    operator.faults({"fault": "clock_skew", "seconds": days * 86_400, "method": "POST"})
    response = operator.post()
    shift = parsedate_to_datetime(response.headers["Date"]) - datetime.now(UTC)
    assert abs(shift - timedelta(days=days)) < timedelta(minutes=1)
    begins = parse_utc(response.json()["start_date"]).date()
    assert abs(begins - datetime.now(UTC).date() - timedelta(days=days)) <= timedelta(days=1)
    entry = operator.journal()[-1]
    assert abs(parse_utc(entry["time"]) - datetime.now(UTC)) < timedelta(minutes=1), "the journal's clock is right"
    assert entry["faults"] == ["clock_skew"]
    right = parsedate_to_datetime(operator.caller.api("GET", USER_ME).headers["Date"])
    assert abs(right - datetime.now(UTC)) < timedelta(minutes=1)


# which requests


def test_faults_are_off_until_they_are_set_and_after_they_were_deleted(operator: Operator) -> None:
    off: dict[str, Any] = {"seed": None, "rules": []}
    assert operator.sandbox.admin("GET", "/faults") == off
    rule = {"fault": "drop_before", "path": "*/user/me"}
    answer = operator.sandbox.admin("PUT", "/faults", {"seed": 7, "rules": [rule]})
    assert answer == {"seed": 7, "rules": [rule | {"matched": 0, "fired": 0}]}
    with pytest.raises(LOST):
        operator.caller.api("GET", USER_ME)
    assert operator.listed() == [], "another path"
    assert operator.sandbox.admin("GET", "/faults")["rules"] == [rule | {"matched": 1, "fired": 1}]
    assert operator.sandbox.admin("DELETE", "/faults") == off
    assert operator.caller.api("GET", USER_ME).status_code == 200
    assert operator.journal()[-1]["faults"] == []


def test_a_name_of_the_certificate_presented_over_mtls_is_a_name_too(operator: Operator) -> None:
    mine, other = operator.caller.issue("mine"), operator.caller.issue("other")
    operator.faults({"fault": "internal_server_error", "name": "mine"})
    assert operator.caller.mtls(mine).status_code == 500
    assert operator.caller.mtls(other).status_code == 200
    assert operator.caller.mtls(None).status_code == 403
    assert operator.caller.api("GET", USER_ME).status_code == 200


def test_the_same_seed_and_requests_give_the_same_faults_again(operator: Operator) -> None:
    rules = (
        {"fault": "too_many_requests", "probability": 0.3},
        {"fault": "html_page", "probability": 0.3},
        {"fault": "lower_case_serial", "probability": 0.5},
    )

    def seen(seed: int) -> list[int]:
        operator.faults(*rules, seed=seed)
        return [operator.caller.api("GET", path).status_code for path in (USER_ME, CERTIFICATES) * 12]

    first = seen(11)
    assert set(first) == {200, 429, 502}
    assert seen(11) == first
    assert seen(12) != first


def test_a_seed_that_is_not_given_is_drawn_and_reported(operator: Operator) -> None:
    def drawn() -> int:
        return int(operator.sandbox.admin("PUT", "/faults", {"rules": [{"fault": "drop_before"}]})["seed"])

    assert drawn() != drawn()


def test_sandbox_env_tells_the_seed_while_faults_are_on(operator: Operator) -> None:
    def env_seed() -> str | None:
        return read_env(operator.sandbox.state / "sandbox.env").get("DIGICERT_ONE_FAULT_SEED")

    assert env_seed() is None
    operator.faults({"fault": "drop_before", "nth": 9}, seed=77)
    assert env_seed() == "77"
    operator.sandbox.admin("DELETE", "/faults")
    assert env_seed() is None
    operator.faults(seed=77)
    assert env_seed() is None, "no rules are no faults"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"rules": [{"fault": "drop"}]}, "rule 1 (drop): fault: Input should be 'drop_before', 'drop_after'"),
        ({"rules": [{"fault": "drop_before"}, {"fault": "delay_after"}]}, "rule 2 (delay_after): `seconds` is missing"),
        ({"rules": {}}, "the rules: Input should be a valid list"),
        ({"rules": [], "seed": "x"}, "seed"),
        ({"rules": [], "seed": True}, "seed"),
        ({"rules": [], "sead": 1}, "seed"),
        ([], "seed"),
        (None, "seed"),
    ],
)
def test_a_bad_rule_is_named_and_the_rules_in_force_stay(operator: Operator, body: Any, said: str) -> None:
    operator.faults({"fault": "drop_before", "nth": 9}, seed=3)
    with pytest.raises(urllib.error.HTTPError) as caught:
        operator.sandbox.admin("PUT", "/faults", body)
    assert caught.value.code == 400
    assert said in json.load(caught.value)["error"]
    caught.value.close()
    assert operator.sandbox.admin("GET", "/faults")["seed"] == 3


def test_the_faults_are_out_of_reach_without_the_token(operator: Operator) -> None:
    for method in ("GET", "PUT", "DELETE"):
        url = operator.sandbox.env["DIGICERT_ONE_ADMIN_URL"] + "/faults"
        assert requests.request(method, url, timeout=5).status_code == 401


def test_an_added_service_user_has_an_account_of_its_own(operator: Operator, shared: Sandbox, tmp_path: Path) -> None:
    operator.caller.issue("wanted")
    with Operator(shared, tmp_path) as another:
        assert another.listed() == []
        assert another.caller.issue("wanted").answer["user_id"] == another.user["id"]
    assert operator.listed() == ["wanted"]


def test_ending_the_sandbox_does_not_wait_for_a_long_delay(tmp_path: Path) -> None:
    state = tmp_path / "state"
    rules = tmp_path / "faults.yaml"
    rules.write_text("- {fault: delay_before, seconds: 500}")
    sandbox = Sandbox(state, read_env(start(state, faults=rules)))
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(sandbox.url + USER_ME, verify=str(sandbox.ca_file), timeout=(10, 0.2))
    begun = time.monotonic()
    stop(state)
    assert time.monotonic() - begun < 5
    after = Sandbox(state, read_env(start(state)))
    assert after.admin("GET", "/requests")[-1]["status"] == 0
    assert after.admin("GET", "/faults") == {"seed": None, "rules": []}, "a plain start has no faults"
    stop(state)


def test_a_person_starts_it_with_a_file_of_faults_and_learns_the_seed(tmp_path: Path) -> None:
    state, rules = tmp_path / "state", tmp_path / "faults.yaml"
    rules.write_text("- {fault: html_page, path: '*/user/me', probability: 0.5}")

    def runbook(*words: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("runbook")
        command = [str(program), "sandbox", *words, "--state", str(state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    try:
        first = runbook("start", "--faults", str(rules))
        assert first.returncode == 0, first.stderr
        seed = read_env(state / "sandbox.env")["DIGICERT_ONE_FAULT_SEED"]
        assert f"Faults are on, with seed {seed}." in first.stdout
        again = runbook("start", "--faults", str(rules))
        assert "already running" in again.stdout
        assert f"with seed {seed}." in again.stdout
        rules.write_text("- {fault: drop_before}")
        changed = runbook("start", "--faults", str(rules))
        assert (changed.returncode, "different options: faults" in changed.stderr) == (2, True), (
            "an edited file is another one"
        )
    finally:
        stop(state)


def test_a_bad_file_of_faults_starts_nothing(tmp_path: Path) -> None:
    rules = tmp_path / "faults.yaml"
    rules.write_text("- {fault: drop_before}\n- {fault: drop_after, nth: 0}")
    with pytest.raises(RunbookError, match=r"faults\.yaml: rule 2 \(drop_after\): nth"):
        start(tmp_path / "state", faults=rules)
    with pytest.raises(RunbookError, match="there are none"):
        start(tmp_path / "state", fault_seed=1)
    assert not (tmp_path / "state").exists()


def test_a_start_with_a_given_seed_repeats_the_faults(tmp_path: Path) -> None:
    state, rules = tmp_path / "state", tmp_path / "faults.yaml"
    rules.write_text("- {fault: html_page, probability: 0.5}")

    def seen() -> list[int]:
        sandbox = Sandbox(state, read_env(start(state, faults=rules, fault_seed=4)))
        caller = caller_of(sandbox, tmp_path)
        statuses = [caller.api("GET", USER_ME).status_code for _ in range(12)]
        caller.session.close()
        stop(state)
        return statuses

    first = seen()
    assert set(first) == {200, 502}
    assert seen() == first
