"""The API host: every field, status and error body of the tutorial, and the rules behind them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runbook_lib.clock import iso, parse_utc
from runbook_lib.digicert.models import ClientAuthCertificate, User
from tests.conftest import Sandbox
from tests.sandbox.conftest import CERTIFICATES, NOT_AUTHENTICATED, USER_ME, Caller, csr, end_of_day

INVALID = {"errors": [{"code": "invalid_input_field", "message": "Wrong input or input format"}]}
TUTORIAL_LIST_FIELDS = {
    "id", "user_id", "name", "common_name", "end_date", "start_date", "enabled", "serial_number", "public_key",
}  # fmt: skip


def test_a_request_is_answered_201_with_every_field_of_the_tutorial(caller: Caller) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = ((NameOID.ORGANIZATION_NAME, "Your Organization"), (NameOID.COUNTRY_NAME, "US"))
    name, end = f"tutorial {uuid4().hex}", end_of_day(300)
    response = caller.api(
        "POST", CERTIFICATES, {"csr": csr(key, "Demo API Service User", *subject), "name": name, "expiration_date": end}
    )
    assert response.status_code == 201
    answer = response.json()
    assert set(answer) == TUTORIAL_LIST_FIELDS | {"x509_cert", "ca_cert"}
    assert (answer["name"], answer["common_name"], answer["end_date"]) == (name, "Demo API Service User", end)
    assert answer["enabled"] is True
    assert answer["user_id"] == caller.api("GET", USER_ME).json()["id"]

    leaf = x509.load_pem_x509_certificate(answer["x509_cert"].encode())
    issuer = x509.load_pem_x509_certificate(answer["ca_cert"].encode())
    leaf.verify_directly_issued_by(issuer)
    assert leaf.subject == x509.load_pem_x509_csr(csr(key, "Demo API Service User", *subject).encode()).subject
    assert leaf.public_key() == key.public_key()
    assert base64.b64decode(answer["public_key"]) == key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert int(answer["serial_number"], 16) == leaf.serial_number
    assert iso(leaf.not_valid_before_utc) == answer["start_date"]
    assert iso(leaf.not_valid_after_utc) == answer["end_date"]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert ClientAuthCertificate.model_validate(answer).serial == leaf.serial_number


def test_user_me_has_every_field_of_the_tutorial(caller: Caller) -> None:
    response = caller.api("GET", USER_ME)
    assert response.status_code == 200
    me = response.json()
    assert set(me) == {
        "id", "email", "status", "access_scope", "primary_account_id", "created_at", "created_by", "user_type",
        "friendly_name", "description", "locale", "applications", "accounts",
    }  # fmt: skip
    assert (me["status"], me["access_scope"], me["user_type"]) == ("ACTIVE", "account", "service")
    assert {app["name"] for app in me["applications"]} == {
        "Trust Lifecycle", "IoT Trust", "Document Trust", "Account Manager", "CA Manager", "Software Trust",
    }  # fmt: skip
    assert all(set(app) == {"id", "name", "permissions"} for app in me["applications"])
    assert set(me["accounts"][0]) == {"id", "name", "active", "service_period", "friendly_identifier", "locale"}
    assert set(me["accounts"][0]["service_period"]) == {"from", "to"}
    assert User.model_validate(me).accounts[0].id == me["primary_account_id"]


def test_the_list_is_a_bare_array_without_pem_and_holds_the_colleague_s_certificates_too(
    caller: Caller, sandbox: Sandbox
) -> None:
    mine, theirs = caller.issue(), caller.issue(key=sandbox.users()["second"]["api_key"])
    listed = {item["id"]: item for item in caller.api("GET", CERTIFICATES).json()}
    for identity in (mine, theirs):
        item = listed[identity.answer["id"]]
        assert set(item) == TUTORIAL_LIST_FIELDS
        assert item.items() <= identity.answer.items()


def test_another_account_sees_none_of_it_and_can_change_none_of_it(caller: Caller, sandbox: Sandbox) -> None:
    mine, stranger = caller.issue(), sandbox.users()["other_account"]["api_key"]
    assert mine.answer["id"] not in {item["id"] for item in caller.api("GET", CERTIFICATES, key=stranger).json()}
    put = caller.api("PUT", f"{CERTIFICATES}/{mine.answer['id']}/enable", {"enabled": False}, key=stranger)
    assert put.status_code == 404
    assert put.json()["errors"][0]["code"] == "not_found"


def test_disable_and_enable_answer_200_with_the_certificate_as_it_is_now(caller: Caller) -> None:
    identity = caller.issue()
    for enabled in (False, True):
        response = caller.enable(identity, enabled)
        assert response.status_code == 200
        assert set(response.json()) == TUTORIAL_LIST_FIELDS
        assert response.json()["enabled"] is enabled


@pytest.mark.parametrize("body", [{}, {"enabled": "false"}, {"enabled": 0}, {"enabled": None}, [False], None])
def test_enable_takes_only_true_or_false(caller: Caller, body: Any) -> None:
    response = caller.api("PUT", f"{CERTIFICATES}/{caller.issue().answer['id']}/enable", body)
    assert (response.status_code, response.json()) == (400, INVALID)


def test_a_name_is_taken_once_per_account_even_after_it_was_disabled(caller: Caller, sandbox: Sandbox) -> None:
    name = f"once {uuid4().hex}"
    caller.enable(caller.issue(name), False)
    body = {"csr": csr(ec.generate_private_key(ec.SECP256R1()), "another common name"), "name": name}
    for key in (sandbox.api_key, sandbox.users()["second"]["api_key"]):
        response = caller.api("POST", CERTIFICATES, body, key=key)
        assert response.status_code == 400
        assert response.json() == {
            "errors": [
                {
                    "code": "duplicate_error",
                    "message": "Cannot have duplicate names for client authentication certificate",
                }
            ]
        }
    caller.issue(name, key=sandbox.users()["other_account"]["api_key"])


def test_without_permission_a_user_may_look_at_itself_and_no_more(caller: Caller, sandbox: Sandbox) -> None:
    key = sandbox.users()["no_permission"]["api_key"]
    assert caller.api("GET", USER_ME, key=key).status_code == 200
    for method, path, body in (
        ("GET", CERTIFICATES, None),
        ("POST", CERTIFICATES, {"csr": csr(ec.generate_private_key(ec.SECP256R1())), "name": "never"}),
        ("PUT", f"{CERTIFICATES}/{uuid4()}/enable", {"enabled": False}),
    ):
        response = caller.api(method, path, body, key=key)
        assert response.status_code == 403
        assert response.json() == {"errors": [{"code": "no_access", "message": "Not enough permissions"}]}


@pytest.mark.parametrize("which", ["missing", "wrong", "expired", "disabled"])
def test_a_key_that_does_not_count_is_403_authorization_error(caller: Caller, sandbox: Sandbox, which: str) -> None:
    keys = {"missing": "", "wrong": f"{'0' * 26}_{'0' * 64}"}
    key = keys[which] if which in keys else sandbox.users()[which]["api_key"]
    for method, path in (("GET", USER_ME), ("GET", CERTIFICATES), ("POST", CERTIFICATES)):
        response = caller.api(method, path, key=key)
        assert (response.status_code, response.json()) == (403, NOT_AUTHENTICATED)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 3072), ec.generate_private_key(ec.SECP384R1())])
def test_other_strong_keys_are_signed(caller: Caller, key: Any) -> None:
    response = caller.api("POST", CERTIFICATES, {"csr": csr(key), "name": f"strong {uuid4().hex}"})
    assert response.status_code == 201


def _tampered(text: str) -> str:
    der = bytearray(x509.load_pem_x509_csr(text.encode()).public_bytes(Encoding.DER))
    der[der.index(b"test")] ^= 1  # in the subject, after which the signature no longer fits
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


GOOD_CSR = csr(ec.generate_private_key(ec.SECP256R1()))
BAD_CSRS = {
    "not pem": "hello",
    "empty": "",
    "truncated": GOOD_CSR[: len(GOOD_CSR) // 2],
    "changed after signing": _tampered(GOOD_CSR),
    "rsa 1024": csr(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - to be refused
    "ed25519": None,
    "p-521": csr(ec.generate_private_key(ec.SECP521R1())),
    "no common name": csr(ec.generate_private_key(ec.SECP256R1()), ""),
    "blank common name": csr(ec.generate_private_key(ec.SECP256R1()), " "),
    "not text": 7,
}


@pytest.mark.parametrize("why", BAD_CSRS)
def test_a_csr_that_must_not_be_signed_is_not(caller: Caller, why: str) -> None:
    text = BAD_CSRS[why]
    if why == "ed25519":
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        text = builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.PEM).decode()
    response = caller.api("POST", CERTIFICATES, {"csr": text, "name": f"bad {uuid4().hex}"})
    assert (response.status_code, response.json()) == (400, INVALID)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 300, "ü", "a.b", "a\nb", "<script>", "a|b", None, 5, ["a"]])
def test_a_name_outside_the_rule_is_refused(caller: Caller, name: Any) -> None:
    response = caller.api("POST", CERTIFICATES, {"csr": GOOD_CSR, "name": name})
    assert (response.status_code, response.json()) == (400, INVALID)


def test_a_name_of_letters_digits_spaces_dashes_and_underscores_is_taken(caller: Caller) -> None:
    name = f"API Client-Auth_Certificate 2 {uuid4().hex}"
    assert caller.issue(name).answer["name"] == name


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[]", b"null", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000, b'{"name": "no csr"}']
)
def test_a_body_that_is_not_a_request_is_refused(caller: Caller, content: bytes) -> None:
    response = caller.api("POST", CERTIFICATES, data=content)
    assert (response.status_code, response.json()) == (400, INVALID)


def test_without_an_end_date_a_certificate_gets_396_days(caller: Caller) -> None:
    assert caller.issue().answer["end_date"] == end_of_day(396)
    assert caller.issue(expiration_date=None).answer["end_date"] == end_of_day(396)


def test_the_end_date_may_be_397_days_ahead_and_not_a_second_more(caller: Caller) -> None:
    assert caller.issue(expiration_date=end_of_day(396)).answer["end_date"] == end_of_day(396)
    edge = caller.issue(expiration_date=iso(datetime.now(UTC) + timedelta(days=397))).answer
    assert parse_utc(edge["end_date"]) - parse_utc(edge["start_date"]) <= timedelta(days=397)
    for late in (end_of_day(397), end_of_day(1000), iso(datetime.now(UTC) + timedelta(days=397, seconds=60))):
        response = caller.api("POST", CERTIFICATES, {"csr": GOOD_CSR, "name": uuid4().hex, "expiration_date": late})
        assert (response.status_code, response.json()) == (400, INVALID)


def test_a_certificate_never_outlives_its_service_user(caller: Caller, sandbox: Sandbox) -> None:
    user = sandbox.users()["ends_soon"]
    assert user["end_date"] == end_of_day(30)
    assert caller.api("GET", USER_ME, key=user["api_key"]).json()["end_date"] == user["end_date"]
    assert caller.issue(key=user["api_key"]).answer["end_date"] == user["end_date"]
    assert caller.issue(key=user["api_key"], expiration_date=end_of_day(29)).answer["end_date"] == end_of_day(29)
    body = {"csr": GOOD_CSR, "name": uuid4().hex, "expiration_date": end_of_day(31)}
    response = caller.api("POST", CERTIFICATES, body, key=user["api_key"])
    assert (response.status_code, response.json()) == (400, INVALID)


@pytest.mark.parametrize(
    "date",
    ["2020-01-01T00:00:00Z", "tomorrow", "2027-13-01T00:00:00Z", "2027-02-01", "2027-02-01T00:00:00", "", 1800000000],
)
def test_an_end_date_in_the_past_or_no_date_is_refused(caller: Caller, date: Any) -> None:
    response = caller.api("POST", CERTIFICATES, {"csr": GOOD_CSR, "name": uuid4().hex, "expiration_date": date})
    assert (response.status_code, response.json()) == (400, INVALID)


def test_what_was_refused_left_nothing_behind(caller: Caller) -> None:
    name = f"refused {uuid4().hex}"
    assert caller.api("POST", CERTIFICATES, {"csr": "no", "name": name}).status_code == 400
    assert name not in {item["name"] for item in caller.api("GET", CERTIFICATES).json()}
    caller.issue(name)


def test_an_unknown_path_and_method_are_answered_in_json(caller: Caller) -> None:
    missing, method = caller.api("GET", "/nothing"), caller.api("DELETE", CERTIFICATES)
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "not_found")
    assert (method.status_code, method.json()["errors"][0]["code"]) == (405, "method_not_allowed")


def test_serial_numbers_are_upper_case_hexadecimal(caller: Caller) -> None:
    serial = caller.issue().answer["serial_number"]
    assert serial == f"{int(serial, 16):X}"
    assert json.dumps(serial).isascii()
