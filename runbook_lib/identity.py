"""Whom a client proves itself to be: a certificate with its key and its CAs, in memory alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, repr=False, eq=False)
class Identity:
    """What a client proves itself with. `chain` holds the CAs above the certificate, nearest first."""

    key: PrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def __repr__(self) -> str:
        subject = self.certificate.subject.rfc4514_string()
        return f"Identity({subject!r}, serial {self.certificate.serial_number:X})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")
