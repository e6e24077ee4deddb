"""The clientauth host: the certificate is the credential, and only a right one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runbook_lib.sandbox.ca import Authority, certificate_pem
from tests.conftest import Sandbox
from tests.sandbox.conftest import CERTIFICATES, NOT_AUTHENTICATED, USER_ME, Caller, Identity, caller_of


def refused(response: requests.Response) -> bool:
    return (response.status_code, response.json()) == (403, NOT_AUTHENTICATED)


def test_the_certificate_alone_says_who_is_calling(caller: Caller, sandbox: Sandbox) -> None:
    response = caller.mtls(caller.issue())
    assert response.status_code == 200
    assert response.json() == caller.api("GET", USER_ME).json()
    colleague = sandbox.users()["second"]
    assert caller.mtls(caller.issue(key=colleague["api_key"])).json()["id"] == colleague["id"]


def test_no_certificate_is_403_even_with_a_good_api_key(caller: Caller, sandbox: Sandbox) -> None:
    assert refused(caller.mtls(None))
    assert refused(caller.mtls(None, headers={"x-api-key": sandbox.api_key}))


def test_an_api_key_sent_along_has_to_be_the_same_user_s(caller: Caller, sandbox: Sandbox) -> None:
    identity = caller.issue()
    assert caller.mtls(identity, headers={"x-api-key": sandbox.api_key}).status_code == 200
    assert refused(caller.mtls(identity, headers={"x-api-key": sandbox.users()["second"]["api_key"]}))
    assert refused(caller.mtls(identity, headers={"x-api-key": "wrong"}))


def test_the_list_is_there_over_mtls_too(caller: Caller) -> None:
    identity = caller.issue()
    assert identity.answer["id"] in {item["id"] for item in caller.mtls(identity, CERTIFICATES).json()}


def test_disabled_is_403_and_enabled_again_is_200_and_other_certificates_do_not_notice(caller: Caller) -> None:
    identity, other = caller.issue(), caller.issue()
    caller.enable(identity, False)
    assert refused(caller.mtls(identity))
    assert caller.mtls(other).status_code == 200
    caller.enable(identity, True)
    assert caller.mtls(identity).status_code == 200


def test_expired_is_403_and_not_a_tls_alert(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = fresh_sandbox()
    caller = caller_of(sandbox, tmp_path)
    identity = caller.issue(expiration_date=_in(days=10))
    assert caller.mtls(identity).status_code == 200
    sandbox.admin("PUT", "/clock", {"offset_seconds": 10 * 86_400 + 3600})
    assert refused(caller.mtls(identity))
    item = next(item for item in caller.api("GET", CERTIFICATES).json() if item["id"] == identity.answer["id"])
    assert item["enabled"] is True  # expired is not disabled, and it stays in the list
    sandbox.admin("PUT", "/clock", {"now": _in(days=-3)})
    assert refused(caller.mtls(identity)), "not valid yet"
    sandbox.admin("PUT", "/clock", {"offset_seconds": 0})
    assert caller.mtls(identity).status_code == 200
    caller.session.close()


def test_a_service_user_s_end_ends_its_certificates(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = fresh_sandbox()
    caller = caller_of(sandbox, tmp_path)
    key = sandbox.users()["ends_soon"]["api_key"]
    identity = caller.issue(key=key)
    assert caller.mtls(identity).status_code == 200
    sandbox.admin("PUT", "/clock", {"offset_seconds": 32 * 86_400})
    assert refused(caller.mtls(identity))
    assert refused(caller.api("GET", USER_ME, key=key))
    caller.session.close()


def test_a_certificate_of_our_ca_that_was_never_issued_is_403(caller: Caller, sandbox: Sandbox) -> None:
    assert refused(caller.mtls(_minted(sandbox, usage=ExtendedKeyUsageOID.CLIENT_AUTH)))


def test_a_certificate_without_extended_key_usage_is_403(caller: Caller, sandbox: Sandbox) -> None:
    assert refused(caller.mtls(_minted(sandbox, usage=None)))


def test_a_certificate_for_servers_is_refused(caller: Caller, sandbox: Sandbox) -> None:
    with pytest.raises(requests.exceptions.SSLError, match="UNSUPPORTED_CERTIFICATE"):
        caller.mtls(_minted(sandbox, usage=ExtendedKeyUsageOID.SERVER_AUTH))


def test_a_certificate_of_a_foreign_ca_is_refused_in_the_handshake(
    caller: Caller, fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    other = caller_of(fresh_sandbox(), tmp_path)
    foreign = other.issue()
    assert other.mtls(foreign).status_code == 200
    with pytest.raises(requests.exceptions.SSLError, match="UNKNOWN_CA"):
        caller.mtls(foreign)
    other.session.close()


def test_without_its_chain_a_certificate_works_where_the_host_knows_the_intermediate(caller: Caller) -> None:
    assert caller.mtls(caller.issue(), chain=False).status_code == 200


def test_where_the_host_knows_only_the_root_a_certificate_needs_its_chain(
    fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    caller = caller_of(fresh_sandbox(clientauth_trusts="root"), tmp_path)
    identity = caller.issue()
    assert caller.mtls(identity, chain=True).status_code == 200
    with pytest.raises(requests.exceptions.SSLError, match="UNKNOWN_CA"):
        caller.mtls(identity, chain=False)
    caller.session.close()


def test_a_common_name_that_looks_like_a_host_is_nothing_special(
    caller: Caller, fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    # OpenSSL would hold it against the root's name constraints
    assert caller.mtls(caller.issue(cn="ci.signing.example.com")).status_code == 200
    strict = caller_of(fresh_sandbox(clientauth_trusts="root"), tmp_path)
    assert strict.mtls(strict.issue(cn="ci.signing.example.com")).status_code == 200
    strict.session.close()


def test_the_hosts_are_trusted_by_the_ca_file_and_by_nothing_else(caller: Caller, sandbox: Sandbox) -> None:
    for url in (sandbox.url, sandbox.clientauth_url):
        by_address = url.replace("localhost", "127.0.0.1") + USER_ME
        assert requests.get(by_address, verify=str(sandbox.ca_file), timeout=10).status_code == 403
        with pytest.raises(requests.exceptions.SSLError), requests.Session() as session:
            session.trust_env = False
            session.get(url + USER_ME, timeout=10)


def _in(*, days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _minted(sandbox: Sandbox, usage: x509.ObjectIdentifier | None) -> Identity:
    """A certificate signed with the sandbox's own intermediate, behind the API's back."""
    authority = Authority.open(sandbox.state / "ca")
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"minted {uuid4().hex}")]))
        .issuer_name(authority.intermediate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(authority.intermediate_key, hashes.SHA256())
    return Identity(
        key, {"x509_cert": certificate_pem(certificate), "ca_cert": certificate_pem(authority.intermediate)}
    )
