"""A small CA for these tests: root, intermediate, and leaves that break one rule at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runbook_lib.credentials.csr import Subject, build_csr
from runbook_lib.credentials.keys import KeyKind, generate
from runbook_lib.identity import Identity, PrivateKey
from runbook_lib.secrets import Secret

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
END = datetime(2027, 10, 20, 23, 59, 59, tzinfo=UTC)
SUBJECT = Subject(common_name="Demo API Service User", organization="Your Organization", country="US")
PASSWORD = Secret("Zq7mT2xW9vKc4RbY8nHd3L", "env:P12")
OTHER_PASSWORD = Secret("aB3dE6gH9jK2mN5pQ8sT1v", "env:OTHER")


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def ca_usage(*, cert_sign: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(False, False, False, False, False, cert_sign, True, False, False)


def leaf_usage(*, signs: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(signs, False, not signs, False, False, False, False, False, False)


@dataclass(frozen=True)
class Authority:
    key: PrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, common_name: str, issuer: Authority | None = None, **changes: Any) -> Authority:
        key = generate(KeyKind.P256)
        certificate = sign(
            key.public_key(),
            name(common_name),
            issuer.certificate.subject if issuer else name(common_name),
            issuer.key if issuer else key,
            **{"end": NOW + timedelta(days=3650), "ca": True, "usage": ca_usage(), "purposes": (), **changes},
        )
        return cls(key, certificate)

    def issue(self, public_key: CertificatePublicKeyTypes, subject: x509.Name, **changes: Any) -> x509.Certificate:
        return sign(public_key, subject, self.certificate.subject, self.key, **changes)


def sign(
    public_key: CertificatePublicKeyTypes,
    subject: x509.Name,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    *,
    start: datetime = NOW - timedelta(minutes=1),
    end: datetime = END,
    ca: bool = False,
    usage: x509.KeyUsage | None = None,
    purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    serial: int | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if usage:
        builder = builder.add_extension(usage, critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


ROOT = Authority.make("Test root")
INTERMEDIATE = Authority.make("Test intermediate", ROOT)
CHAIN = (INTERMEDIATE.certificate, ROOT.certificate)


def identity(kind: KeyKind = KeyKind.P256, chain: tuple[x509.Certificate, ...] = CHAIN) -> Identity:
    """A key with a certificate from the intermediate."""
    key = generate(kind)
    csr = build_csr(key, SUBJECT)
    return Identity(key, INTERMEDIATE.issue(csr.public_key(), csr.subject, usage=leaf_usage()), chain)
