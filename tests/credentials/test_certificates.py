from __future__ import annotations

import base64
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.credentials.certificates import extended_key_usage, facts, is_ca, load_certificate, load_certificates
from runbook_lib.credentials.csr import build_csr, csr_pem
from runbook_lib.credentials.keys import KeyKind, generate, seal_key
from runbook_lib.errors import Reason, RunbookError
from tests.credentials.pki import CHAIN, PASSWORD, SUBJECT, identity

LEAF = identity(KeyKind.RSA_2048).certificate
PEM = LEAF.public_bytes(Encoding.PEM)
KEY = generate(KeyKind.P256)


def test_a_certificate_is_read_from_bytes_and_from_text():
    assert load_certificate(PEM) == load_certificate(PEM.decode()) == LEAF


def test_a_chain_keeps_its_order():
    text = b"".join(one.public_bytes(Encoding.PEM) for one in CHAIN)
    assert tuple(load_certificates(b"some words before\n" + text)) == CHAIN


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (PEM[:300], "truncated"),
        (PEM.replace(b"-----END CERTIFICATE-----", b""), "truncated"),
        (PEM.split(b"\n", 1)[1], "first line is missing"),
        (PEM[:200] + PEM[260:], "damaged"),
        (PEM.replace(b"\n", b"\\n"), "jq -r"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
        (LEAF.public_bytes(Encoding.DER), "DER"),
        (seal_key(KEY, PASSWORD), "private key"),
        (PEM + seal_key(KEY, PASSWORD), "private key"),
        (csr_pem(build_csr(KEY, SUBJECT)), "CSR"),
        (b"hello", "not a PEM certificate"),
        ("\ud800", "not a PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (PEM + PEM, "2 certificates"),
    ],
)
def test_what_is_not_a_certificate_is_named_for_what_it_is(data, says):
    with pytest.raises(RunbookError) as caught:
        load_certificate(data, label="client_auth.crt")
    assert caught.value.reason is Reason.UNREADABLE_FILE
    assert says in caught.value.what
    assert "client_auth.crt" in caught.value.what


@pytest.mark.interop
def test_facts_are_what_openssl_says():
    def ask(*options: str) -> str:
        run = subprocess.run(["openssl", "x509", "-noout", *options], input=PEM, capture_output=True, check=True)
        return run.stdout.decode().strip().partition("=")[2]

    seen = facts(LEAF)
    assert seen.subject == ask("-subject", "-nameopt", "RFC2253") == "CN=Demo API Service User,O=Your Organization,C=US"
    assert seen.issuer == ask("-issuer", "-nameopt", "RFC2253") == "CN=Test intermediate"
    assert f"{seen.serial:X}" == seen.serial_hex == ask("-serial").lstrip("0")
    assert seen.sha256 == ask("-fingerprint", "-sha256").replace(":", "").lower()
    assert f"{seen.not_after:%b %e %H:%M:%S %Y} GMT" == ask("-enddate") == "Oct 20 23:59:59 2027 GMT"
    assert seen.not_after.tzinfo is not None
    assert seen.key == "RSA 2048"
    assert extended_key_usage(LEAF) == ("clientAuth",)
    assert not is_ca(LEAF)
    assert (seen.not_after - seen.not_before).days == 331


def test_a_ca_is_seen_as_one():
    assert is_ca(CHAIN[0])
    assert extended_key_usage(CHAIN[0]) == ()


@given(st.integers(0, len(PEM) - 1), st.integers(1, 255))
def test_a_damaged_certificate_never_raises_anything_else(position, change):
    data = bytearray(PEM)
    data[position] ^= change
    try:
        facts(load_certificate(bytes(data)))
    except RunbookError as error:
        assert error.reason is Reason.UNREADABLE_FILE


@given(st.integers(0, len(LEAF.public_bytes(Encoding.DER)) - 1), st.integers(1, 255))
def test_nor_does_one_whose_armour_is_whole_and_whose_content_is_damaged(position, change):
    der = bytearray(LEAF.public_bytes(Encoding.DER))
    der[position] ^= change
    body = base64.encodebytes(bytes(der))
    try:
        facts(load_certificate(b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"))
    except RunbookError as error:
        assert error.reason is Reason.UNREADABLE_FILE
