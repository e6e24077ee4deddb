"""Reads a certificate field by field: with pyca, or with the second reader if pyca refuses."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key

from runbook_lib.credentials.lenient import LenientCertificate

T = TypeVar("T")

UNDECODABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What pyca raises for a part of a certificate that it cannot decode (found by changing every byte of one)."""


@contextmanager
def tolerant() -> Iterator[None]:
    """Silences pyca's warnings about odd certificates, such as one whose serial number is not positive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Fields(NamedTuple):
    """What an inventory says of a certificate. An unreadable field is empty, or None.

    Args:
        subject, issuer, serial_hex, not_before, not_after, key, sha256: as in `certificates.CertificateFacts`.
        unusual: which fields only the second reader reads, in words.
        unread: which fields neither reader reads, in words.
    """

    subject: str
    issuer: str
    serial_hex: str
    not_before: datetime | None
    not_after: datetime | None
    key: str
    sha256: str
    unusual: str = ""
    unread: str = ""


def read_fields(certificate: x509.Certificate | None, der: bytes) -> Fields:
    """The fields of a certificate, within `tolerant()`.

    Args:
        certificate: None if pyca refuses it as a whole.
        der: its encoding, which `LenientCertificate` accepts.
    """
    sha256 = hashlib.sha256(der).hexdigest()
    if certificate is not None:
        try:
            return Fields(
                certificate.subject.rfc4514_string(),
                certificate.issuer.rfc4514_string(),
                f"{certificate.serial_number:X}",
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
                describe_key(certificate.public_key()),
                sha256,
            )
        except UNDECODABLE:
            pass
    reading = Reading(certificate, der)
    if certificate is None:  # what pyca would have decoded
        reading.field("extensions", None, lambda read: read.extensions)
        reading.field("signature", None, LenientCertificate.signature)
    serial = reading.serial()
    return Fields(
        reading.subject() or "",
        reading.issuer() or "",
        "" if serial is None else f"{serial:X}",
        reading.not_before(),
        reading.not_after(),
        reading.key() or "",
        sha256,
        reading.unusual(),
        reading.unread(),
    )


class Reading:
    """One certificate, read by two readers. A method gives None if neither can read its field; `unread` says so."""

    def __init__(self, certificate: x509.Certificate | None, der: bytes) -> None:
        self._certificate = certificate
        self._der = der
        self._odd: list[str] = []
        self._unread: list[str] = []

    def subject(self) -> str | None:
        return self.field("subject", lambda read: read.subject.rfc4514_string(), LenientCertificate.subject)

    def issuer(self) -> str | None:
        return self.field("issuer", lambda read: read.issuer.rfc4514_string(), LenientCertificate.issuer)

    def serial(self) -> int | None:
        return self.field("serial number", lambda read: read.serial_number, LenientCertificate.serial)

    def not_before(self) -> datetime | None:
        return self.field("start", lambda read: read.not_valid_before_utc, LenientCertificate.not_before)

    def not_after(self) -> datetime | None:
        return self.field("end", lambda read: read.not_valid_after_utc, LenientCertificate.not_after)

    def key(self) -> str | None:
        return self.field("key", lambda read: describe_key(read.public_key()), _key)

    def field(
        self, name: str, first: Callable[[x509.Certificate], T] | None, second: Callable[[LenientCertificate], T]
    ) -> T | None:
        """The value from the first reader, or else from the second."""
        if first is not None and self._certificate is not None:
            try:
                return first(self._certificate)
            except UNDECODABLE:
                self._odd.append(name)
        try:
            return second(self._lenient)
        except UNDECODABLE:
            self._unread.append(name)
            return None

    def unusual(self) -> str:
        """The fields that only the second reader reads, in words; empty if none."""
        odd = ["encoding"] if self._certificate is None else [name for name in self._odd if name not in self._unread]
        return f"unusual {', '.join(odd)}" if odd else ""

    def unread(self) -> str:
        """The fields that neither reads, in words; empty if none."""
        return f"{', '.join(self._unread)} cannot be read" if self._unread else ""

    @cached_property
    def _lenient(self) -> LenientCertificate:
        return LenientCertificate(self._der)


def describe_key(public_key: PublicKeyTypes) -> str:
    """`RSA 2048`, `EC P-256`, or the name of another kind."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"RSA {public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        names = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        return f"EC {names.get(public_key.curve.name, public_key.curve.name)}"
    return type(public_key).__name__.removesuffix("PublicKey")


def _key(certificate: LenientCertificate) -> str:
    try:
        return describe_key(load_der_public_key(certificate.spki))
    except UNDECODABLE:
        return certificate.key()
