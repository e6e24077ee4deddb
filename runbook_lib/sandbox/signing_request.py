"""Checks a certificate signing request (RFC 2986) before the sandbox signs it."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID


class BadCsr(Exception):
    """The CSR is malformed, not signed by its own key, of a refused key kind, or without a common name."""


@dataclass(frozen=True)
class Csr:
    """A CSR that passed the checks."""

    subject: x509.Name
    common_name: str
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def read_csr(text: str) -> Csr:
    """Read a CSR in PEM and check it: RSA of 2,048 to 8,192 bits or P-256/P-384, self-signed, with a common name.

    Raises BadCsr.
    """
    try:
        request = x509.load_pem_x509_csr(text.encode("utf-8"))
        if not request.is_signature_valid:
            raise BadCsr("signature")
        key = request.public_key()
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCsr(str(error)) from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or not _accepted(key):
        raise BadCsr("key")
    common_name = names[0].value if names else b""
    if not isinstance(common_name, str) or not common_name.strip():
        raise BadCsr("common name")
    return Csr(request.subject, common_name, key)


def public_key_base64(key: CertificatePublicKeyTypes) -> str:
    """Base64 of the DER SubjectPublicKeyInfo, as the API writes `public_key`."""
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode("ascii")


def _accepted(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return 2048 <= key.key_size <= 8192
    return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
