"""Each rule is broken alone and must be the only one that finds it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from runbook_lib.credentials.certificates import load_certificate
from runbook_lib.credentials.csr import build_csr, csr_pem
from runbook_lib.credentials.keys import KeyKind, generate, seal_key
from runbook_lib.credentials.lint import LintFinding, lint
from runbook_lib.identity import PrivateKey
from tests.credentials.pki import (
    CHAIN,
    END,
    INTERMEDIATE,
    NOW,
    PASSWORD,
    ROOT,
    SUBJECT,
    Authority,
    ca_usage,
    leaf_usage,
    name,
)

KEY = generate(KeyKind.P256)
CSR = build_csr(KEY, SUBJECT)


def issued(authority: Authority = INTERMEDIATE, **changes: Any) -> x509.Certificate:
    public_key = changes.pop("public_key", CSR.public_key())
    subject = changes.pop("subject", CSR.subject)
    return authority.issue(public_key, subject, **{"usage": leaf_usage(), **changes})


def check(certificate: x509.Certificate, **changes: Any) -> list[LintFinding]:
    given = {"chain": list(CHAIN), "csr": CSR, "now": NOW, "end_date": END, "ca_trust": [ROOT.certificate], **changes}
    return lint(certificate, **given)


def broken(findings: list[LintFinding]) -> list[str]:
    return [finding.rule for finding in findings if not finding.ok]


def test_a_certificate_as_it_was_asked_for_passes_every_rule():
    findings = check(issued())
    assert broken(findings) == []
    assert [finding.rule for finding in findings] == [
        "key", "chain", "client-auth", "not-a-ca", "in-date", "lifetime", "end-date", "subject", "strength", "serial",
        "key-usage",
    ]  # fmt: skip
    assert all(finding.detail and finding.source for finding in findings)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_kind_of_key_that_is_offered_passes(kind):
    csr = build_csr(generate(kind), SUBJECT)
    assert broken(check(issued(public_key=csr.public_key()), csr=csr)) == []


def test_what_is_optional_may_be_absent():
    assert broken(check(issued(usage=None), end_date=None, ca_trust=None)) == []
    assert broken(check(issued(), chain=[INTERMEDIATE.certificate])) == []


YESTERDAY = NOW - timedelta(days=1)


def leaf(end_date: datetime | None = END, **changes: Any) -> Case:
    """A leaf that differs in one thing from what was asked for."""
    return lambda: {"certificate": issued(**changes), "end_date": end_date}


def key(private_key: PrivateKey) -> Case:
    """A leaf for that key, and its CSR."""
    csr = build_csr(private_key, SUBJECT)
    return lambda: {"certificate": issued(public_key=csr.public_key()), "csr": csr}


def chain(*certificates: x509.Certificate) -> Case:
    """A sound leaf that came with this chain."""
    return lambda: {"chain": list(certificates)}


def below(**changes: Any) -> Case:
    """A sound leaf of a CA that is not sound."""
    authority = Authority.make("Unsound CA", ROOT, **changes)
    return lambda: {"certificate": issued(authority), "chain": [authority.certificate, ROOT.certificate]}


Case = Callable[[], dict[str, Any]]
CASES: dict[str, tuple[str, Case]] = {
    "certificate for another key": ("key", leaf(public_key=INTERMEDIATE.key.public_key())),
    "no chain": ("chain", chain()),
    "chain of another CA": ("chain", chain(ROOT.certificate)),
    "chain upside down": ("chain", chain(*reversed(CHAIN))),
    "CA of the same name that did not sign": ("chain", chain(Authority.make("Test intermediate", ROOT).certificate)),
    "root not trusted": ("chain", lambda: {"ca_trust": [Authority.make("Another root").certificate]}),
    "issuer is no CA": ("chain", below(ca=False)),
    "issuer may not sign": ("chain", below(usage=ca_usage(cert_sign=False))),
    "issuer has expired": ("chain", below(start=NOW - timedelta(days=9), end=YESTERDAY)),
    "for servers only": ("client-auth", leaf(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))),
    "no extended key usage": ("client-auth", leaf(purposes=())),
    "a CA": ("not-a-ca", leaf(ca=True)),
    "starts in an hour": ("in-date", leaf(start=NOW + timedelta(hours=1))),
    "has ended": ("in-date", leaf(YESTERDAY, start=NOW - timedelta(days=9), end=YESTERDAY)),
    "398 days": ("lifetime", leaf(NOW + timedelta(days=398), start=NOW, end=NOW + timedelta(days=398))),
    "397 days and a second": ("lifetime", leaf(None, start=NOW, end=NOW + timedelta(days=397, seconds=1))),
    "a day short": ("end-date", leaf(end=END - timedelta(days=1))),
    "a day long": ("end-date", leaf(end=END + timedelta(days=1))),
    "another subject": ("subject", leaf(subject=name("Somebody else"))),
    "a second common name": ("subject", leaf(subject=x509.Name([*CSR.subject, *name("Somebody else")]))),
    "RSA 1024": ("strength", key(rsa.generate_private_key(65537, 1024))),  # noqa: S505
    "P-192": ("strength", key(ec.generate_private_key(ec.SECP192R1()))),
    "P-521": ("strength", key(ec.generate_private_key(ec.SECP521R1()))),
    "may only encipher": ("key-usage", leaf(usage=leaf_usage(signs=False))),
}


@pytest.mark.parametrize(("rule", "case"), CASES.values(), ids=CASES)
def test_a_broken_rule_is_found_by_that_rule_alone(rule, case):
    changes = case()
    findings = check(changes.pop("certificate", None) or issued(), **changes)
    assert broken(findings) == [rule]


def test_a_start_within_the_skew_of_two_clocks_is_not_a_fault():
    assert broken(check(issued(start=NOW + timedelta(minutes=4)))) == []
    assert broken(check(issued(start=NOW + timedelta(minutes=6)))) == ["in-date"]


def test_exactly_397_days_are_allowed():
    end = NOW + timedelta(days=397)
    assert broken(check(issued(start=NOW, end=end), end_date=end)) == []


def test_what_the_ca_added_to_the_subject_and_a_ca_that_ends_first_are_reported():
    authority = Authority.make("Short-lived", ROOT, end=NOW + timedelta(30))
    certificate = issued(authority, subject=x509.Name([*CSR.subject, x509.NameAttribute(x509.NameOID.SURNAME, "x")]))
    findings = {finding.rule: finding for finding in check(certificate, chain=[authority.certificate])}
    assert findings["subject"].ok
    assert "added by the CA" in findings["subject"].detail
    assert findings["chain"].ok
    assert "expires first" in findings["chain"].detail


def test_a_csr_that_was_changed_after_signing_is_found():
    der = bytearray(CSR.public_bytes(Encoding.DER))
    der[-1] ^= 1
    assert broken(check(issued(), csr=x509.load_der_x509_csr(bytes(der)))) == ["key"]


@pytest.fixture(scope="module")
def openssl_ca(tmp_path_factory):
    """Signs what pyca refuses to sign: gives a function from openssl's options to a certificate and its CA."""
    folder = tmp_path_factory.mktemp("ca")
    (folder / "ca.key").write_bytes(seal_key(INTERMEDIATE.key, PASSWORD))
    (folder / "ca.pem").write_bytes(INTERMEDIATE.certificate.public_bytes(Encoding.PEM))
    (folder / "ext").write_text("basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n")

    def issue(*options: str) -> x509.Certificate:
        run = subprocess.run(
            ["openssl", "x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-passin", "env:CA_PASSWORD",
             "-extfile", "ext", "-days", "30", *options],
            input=csr_pem(CSR).encode(), capture_output=True, check=True, cwd=folder,
            env={**os.environ, "CA_PASSWORD": PASSWORD.reveal()},
        )  # fmt: skip
        return load_certificate(run.stdout)

    return issue


@pytest.mark.interop
@pytest.mark.parametrize(
    ("serial", "expected"),
    [("1", []), ("0x7f" + "ff" * 19, []), ("0", ["serial"]), ("-5", ["serial"]), ("0x80" + "00" * 19, ["serial"])],
)
def test_serial_numbers_are_positive_and_at_most_20_octets(openssl_ca, serial, expected):
    certificate = openssl_ca("-set_serial", serial)
    now = certificate.not_valid_before_utc  # openssl takes the machine's time
    authority = {"chain": [INTERMEDIATE.certificate], "now": max(now, NOW), "end_date": None}
    found = broken(check(certificate, **authority))
    assert [rule for rule in found if rule != "in-date"] == expected


@pytest.mark.interop
def test_a_signature_with_sha_1_is_weak_and_counts_for_no_chain(openssl_ca):
    certificate = openssl_ca("-sha1")
    found = broken(check(certificate, chain=[INTERMEDIATE.certificate], end_date=None))
    assert {"strength", "chain"} <= set(found)
