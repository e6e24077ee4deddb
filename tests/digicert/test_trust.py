"""A server's certificate is accepted as curl accepts it, whatever our reader of certificates makes of it, or refused
with the cause and what mends it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from runbook_lib.digicert.client import Client
from runbook_lib.errors import Reason, RunbookError
from tests.digicert.hostile import hostile_server, says

USER = {"id": "u1", "status": "ACTIVE"}
KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
Patch = tuple[bytes, bytes]


@dataclass(frozen=True)
class Chain:
    """Certificates of a server, its CA in between and its root, in DER."""

    leaf: bytes
    middle: bytes
    root: bytes


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def sign(
    number: int, issuer: int, subject: str, by: str, *extensions: x509.ExtensionType, patch: Patch | None = None,
    days: tuple[int, int] = (-1, 30), serial: int = 4711,
) -> bytes:  # fmt: skip
    """A certificate for one of `KEYS` by another; `patch` exchanges as many bytes before it is signed."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(by))
        .public_key(KEYS[number].public_key())
        .serial_number(serial)
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    for one in extensions:
        builder = builder.add_extension(one, critical=isinstance(one, x509.BasicConstraints))
    made = builder.sign(KEYS[issuer], hashes.SHA256())
    der, body = made.public_bytes(Encoding.DER), made.tbs_certificate_bytes
    if patch is None:
        return der
    assert len(patch[0]) == len(patch[1])
    assert patch[0] in body
    other = body.replace(*patch)
    signature = KEYS[issuer].sign(other, padding.PKCS1v15(), hashes.SHA256())
    return der.replace(body, other)[: -len(signature)] + signature


def aki(number: int) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(KEYS[number].public_key())


CA = x509.BasicConstraints(ca=True, path_length=None)
SAN = x509.SubjectAlternativeName([x509.DNSName("localhost")])


def chain(
    *more: x509.ExtensionType, subject: str = "localhost", by: str = "Middle", san: bool = True,
    identified: bool = True, patch: Patch | None = None, ca_patch: Patch | None = None, **changes: Any,
) -> Chain:  # fmt: skip
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ids = [x509.SubjectKeyIdentifier.from_public_key(one.public_key()) for one in KEYS]
    leaf = [*([SAN] if san else []), *([aki(1)] if identified else []), *more]
    return Chain(
        sign(0, 1, subject, by, *leaf, patch=patch, **changes),
        sign(1, 2, by, "Root", CA, usage, ids[1], *([aki(2)] if identified else []), patch=ca_patch, serial=2),
        sign(2, 2, "Root", "Root", CA, usage, ids[2], serial=1),
    )


def both(text: bytes, tag: int, other: bytes) -> Patch:
    """The same text under another tag of a string, perhaps with other bytes."""
    return b"\x0c" + bytes([len(text)]) + text, bytes([tag, len(other)]) + other


AT, STAR, CITY = b"ops@corp.example", b"*_&!.example", b"Zuerich CA"
ODD_CA = both(CITY, 0x14, b"Z\xfcrich CA.")
FINE: dict[str, Chain] = {
    "as it should be": chain(),
    "@ in a PrintableString": chain(subject=AT.decode(), patch=both(AT, 0x13, AT)),
    "* _ & ! in a PrintableString": chain(subject=STAR.decode(), patch=both(STAR, 0x13, STAR)),
    "Latin-1 in a T61String": chain(subject=CITY.decode(), patch=ODD_CA),
    "a CA with Latin-1 in a T61String": chain(by=CITY.decode(), patch=ODD_CA, ca_patch=ODD_CA),
    "serial number 0": chain(serial=0x5A, patch=(b"\x02\x01\x5a", b"\x02\x01\x00")),
    "a negative serial number": chain(serial=0x5A, patch=(b"\x02\x01\x5a", b"\x02\x01\xff")),
    "an explicit DEFAULT FALSE": chain(
        x509.UnrecognizedExtension(ExtensionOID.BASIC_CONSTRAINTS, b"\x30\x03\x01\x01\x00")
    ),
    "an extension that is none": chain(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\xff\x00")),
    "no subject alternative name": chain(san=False),
    "no identifiers": chain(identified=False),
    "100 names": chain(
        x509.SubjectAlternativeName([x509.DNSName(f"n{n}.example") for n in range(100)] + [x509.DNSName("localhost")]),
        san=False,
    ),
}
REFUSED: dict[str, tuple[Chain, str, str]] = {
    "expired": (chain(days=(-30, -1)), "expired", "renew"),
    "not yet valid": (chain(days=(1, 30)), "not yet valid", "clock"),
    "another name": (
        chain(x509.SubjectAlternativeName([x509.DNSName("x.example")]), san=False),
        "mismatch",
        "alternative",
    ),
    "an address only": (
        chain(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), san=False, subject="x"),
        "mismatch",
        "alternative",
    ),
    "for clients": (chain(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])), "purpose", "serverAuth"),
}


def pem(*certificates: bytes) -> bytes:
    return b"".join(ssl.DER_cert_to_PEM_cert(one).encode() for one in certificates)


@pytest.fixture
def meets(tmp_path: Path) -> Callable[..., Any]:
    """Ask a server of that chain: gives the client's TLS facts; fails where curl does not say the same."""

    def meet(served: bytes, trusted: bytes) -> Any:
        ca, both = tmp_path / "ca.pem", tmp_path / "server.pem"
        ca.write_bytes(trusted)
        key = KEYS[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"once"))
        both.write_bytes(served + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both, password="once")
        with hostile_server(tmp_path, (ca, context)) as server:
            server.answer = says(USER)
            agrees = curl(server.environment.api_url, ca)
            try:
                with Client(server.environment) as client:
                    client.me()
            except RunbookError:
                assert agrees in (None, False)
                raise
            assert agrees in (None, True)
            return client.connections[0]

    return meet


def curl(url: str, ca: Path) -> bool | None:
    """Whether curl trusts a server; None where there is no curl."""
    program = shutil.which("curl")
    if program is None:
        return None
    command = [program, "-s", "-q", "--noproxy", "*", "-o", "/dev/null", "--cacert", str(ca), url]
    return subprocess.run(command, timeout=20, check=False).returncode != 60


@pytest.mark.parametrize("kind", FINE)
def test_what_curl_accepts_is_accepted_and_reported(meets: Callable[..., Any], kind: str) -> None:
    one = FINE[kind]
    facts = meets(pem(one.leaf, one.middle), pem(one.root))
    assert facts.not_after.startswith("20")
    assert len(facts.sha256) == 64
    assert facts.server


def test_a_ca_in_between_is_trusted_by_being_in_the_file(meets: Callable[..., Any]) -> None:
    one = FINE["as it should be"]
    assert meets(pem(one.leaf), pem(one.middle)).server == "CN=localhost"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_says_why_and_what_fixes_it(meets: Callable[..., Any], kind: str) -> None:
    one, cause, remedy = REFUSED[kind]
    with pytest.raises(RunbookError) as told:
        meets(pem(one.leaf, one.middle), pem(one.root))
    assert told.value.reason is Reason.TLS_NOT_TRUSTED
    assert cause in told.value.what
    assert remedy in told.value.remedy
    assert not any(words in told.value.remedy for words in ("name its CA", "Name the CA"))


@pytest.mark.parametrize("kind", ["unknown", "no CA in between", "signed by itself"])
def test_a_ca_that_is_not_known_is_reported_with_where_to_name_it(meets: Callable[..., Any], kind: str) -> None:
    one = FINE["as it should be"]
    own = sign(0, 0, "localhost", "localhost", SAN)
    other = sign(2, 2, "Other", "Other", CA)
    served, trusted = {
        "unknown": (pem(one.leaf, one.middle), pem(other)),
        "no CA in between": (pem(one.leaf), pem(one.root)),
        "signed by itself": (pem(own), pem(one.root)),
    }[kind]
    with pytest.raises(RunbookError) as told:
        meets(served, trusted)
    assert told.value.reason is Reason.TLS_NOT_TRUSTED
    assert "ca_file" in told.value.remedy
    assert "-showcerts" in told.value.remedy


def test_a_ca_without_key_identifiers_is_the_cause_where_python_is_strict(
    meets: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ssl.create_default_context

    def strict(**given: Any) -> ssl.SSLContext:  # as Python 3.13 makes it
        context = usual(**given)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    monkeypatch.setattr("tests.digicert.test_trust.curl", lambda *_: None)  # which is not strict
    one = FINE["no identifiers"]
    with pytest.raises(RunbookError) as told:
        meets(pem(one.leaf, one.middle), pem(one.root))
    assert told.value.reason is Reason.TLS_NOT_TRUSTED
    assert "VERIFY_X509_STRICT" in told.value.what
    assert "authorityKeyIdentifier" in told.value.remedy
    assert "does not fix this" in told.value.remedy
    fine = FINE["as it should be"]
    assert meets(pem(fine.leaf, fine.middle), pem(fine.root)).server == "CN=localhost"
