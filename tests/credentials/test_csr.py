from __future__ import annotations

import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runbook_lib.credentials.csr import Subject, build_csr, csr_pem
from runbook_lib.credentials.keys import KeyKind, generate
from tests.credentials.pki import SUBJECT

KEY = generate(KeyKind.P256)
FULL = Subject(
    common_name="CI/CD Signing Service",
    organization="Müller & Söhne, GmbH",
    country="DE",
    organizational_unit="Ops",
    locality="Köln",
    state="NRW",
)


@pytest.mark.interop
@pytest.mark.parametrize("kind", list(KeyKind))
def test_openssl_verifies_the_request_and_reads_its_subject(kind):
    assert shutil.which("openssl")
    text = csr_pem(build_csr(generate(kind), SUBJECT))
    run = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-subject", "-nameopt", "RFC2253"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "subject=CN=Demo API Service User,O=Your Organization,C=US"
    spoiled = subprocess.run(
        ["openssl", "req", "-verify", "-noout"],
        input=text[:-60] + ("A" if text[-60] != "A" else "B") + text[-59:],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "verify OK" not in spoiled.stdout + spoiled.stderr


def test_every_part_of_the_subject_is_in_the_request_and_empty_ones_are_not():
    assert build_csr(generate(KeyKind.P256), FULL).subject.rfc4514_string() == (
        "CN=CI/CD Signing Service,OU=Ops,O=Müller & Söhne\\, GmbH,L=Köln,ST=NRW,C=DE"
    )
    oids = [attribute.oid for attribute in SUBJECT.name()]
    assert oids == [NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME]


@pytest.mark.parametrize(
    "change",
    [
        {"common_name": ""},
        {"common_name": "   "},
        {"common_name": "x" * 65},
        {"common_name": "ü" * 33},
        {"common_name": "a\x00b"},
        {"common_name": "a\nb"},
        {"common_name": "a\u202eb"},
        {"organization": ""},
        {"organization": "x" * 65},
        {"organizational_unit": "x" * 65},
        {"locality": "x" * 129},
        {"state": "x" * 129},
        {"country": "us"},
        {"country": "USA"},
        {"country": "U1"},
        {"country": "ÄÖ"},
        {"unknown": "x"},
    ],
)
def test_a_part_that_breaks_its_bound_is_refused(change):
    with pytest.raises(ValidationError):
        Subject(**{**SUBJECT.model_dump(), **change})


@given(*(st.text(max_size=70) for _ in range(3)))
def test_whatever_a_subject_accepts_a_request_can_carry(common_name, organization, locality):
    try:
        subject = Subject(common_name=common_name, organization=organization, country="US", locality=locality)
    except ValidationError:
        return
    csr = x509.load_pem_x509_csr(csr_pem(build_csr(KEY, subject)).encode())
    assert csr.is_signature_valid
    assert csr.subject == subject.name()
