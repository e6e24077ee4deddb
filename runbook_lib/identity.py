"""A client's identity: its certificate, key and CAs, in memory only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, repr=False, eq=False)
class Identity:
    """The certificate and key that a client authenticates with. `chain` holds the CAs above it, nearest first."""

    key: PrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def __repr__(self) -> str:
        subject = self.certificate.subject.rfc4514_string()
        return f"Identity({subject!r}, serial {self.certificate.serial_number:X})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key must not be pickled")
