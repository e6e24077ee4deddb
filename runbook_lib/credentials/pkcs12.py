"""Writes and opens PKCS#12 (RFC 7292): a key, its certificate and the CAs above it in one encrypted file.

Two profiles suffice for every reader tested (docs/measured.md). A reader needs the chain to authenticate, so the file
always holds it.
"""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.hazmat.primitives.serialization import pkcs12 as pyca
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runbook_lib.credentials.keys import KeyKind, check_password, generate, spki
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.secrets import Secret

KDF_ROUNDS = 20_000
"""More would not help: .NET 9 stops at 300,000, and the MAC always has 2,048, so the password's entropy decides."""


class Profile(StrEnum):
    """How the file is encrypted.

    MODERN is AES-256 with SHA-256. COMPAT is 3DES with SHA-1, for Java before 8u301 and 11.0.12 and Windows Server
    before 2019: they cannot read MODERN, and report an incorrect password.
    """

    MODERN = "modern"
    COMPAT = "compat"


def write_p12(identity: Identity, password: Secret, *, profile: Profile, friendly_name: str) -> bytes:
    """An encrypted P12 with key, certificate and chain. The caller writes it to disk and reads it back.

    Args:
        friendly_name: what keytool and Windows show; Java calls it the alias.

    Raises:
        RunbookError: WEAK_PASSWORD; CHAIN_MISSING if the identity has no chain; KEY_MISMATCH if the certificate does
            not match the key.
    """
    check_password(password)
    if not identity.chain:
        raise RunbookError(Reason.CHAIN_MISSING, "The issuing CA's certificate is missing, so no P12 was written.")
    if spki(identity.key.public_key()) != spki(identity.certificate.public_key()):
        raise RunbookError(Reason.KEY_MISMATCH, f"The certificate of {identity!r} belongs to another key.")
    algorithm, mac = (
        (pyca.PBES.PBESv2SHA256AndAES256CBC, hashes.SHA256())
        if profile is Profile.MODERN
        else (pyca.PBES.PBESv1SHA1And3KeyTripleDESCBC, hashes.SHA1())  # noqa: S303  (what old readers know)
    )
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(KDF_ROUNDS)
        .key_cert_algorithm(algorithm)
        .hmac_hash(mac)
        .build(password.reveal().encode())
    )
    return pyca.serialize_key_and_certificates(
        friendly_name.encode(), identity.key, identity.certificate, identity.chain, encryption
    )


def open_p12(data: bytes, password: Secret, *, label: str = "The P12") -> Identity:
    """Open a P12, including one with the RC2 encryption that OpenSSL 3 and curl refuse.

    Args:
        label: what to call the file in an error, such as its path.

    Raises:
        RunbookError: WRONG_PASSWORD; P12_WITHOUT_KEY; KEY_MISMATCH if none of its certificates matches its key;
            UNREADABLE_FILE if it is truncated, or not a P12.
    """
    if not data:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{label} is empty.")
    if b"-----BEGIN " in data[:200]:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{label} is PEM text, not PKCS#12.")
    try:
        content = load_p12(data, password.reveal())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise diagnosis(data, password, error, label) from None
    certificates = [entry.certificate for entry in content.additional_certs]
    if content.cert is not None:
        certificates.insert(0, content.cert.certificate)
    if content.key is None:
        raise RunbookError(Reason.P12_WITHOUT_KEY, f"{label} holds {_number(certificates)} but no private key.")
    if not isinstance(content.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise RunbookError(Reason.UNREADABLE_FILE, f"The key in {label} is neither RSA nor EC.")
    if not certificates:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{label} holds a private key but no certificate.")
    if content.cert is None or spki(content.cert.certificate.public_key()) != spki(content.key.public_key()):
        raise RunbookError(
            Reason.KEY_MISMATCH, f"{label} holds a private key and {_number(certificates)}, but none matches the key."
        )
    return Identity(content.key, certificates[0], tuple(certificates[1:]))


def load_p12(data: bytes, password: str | None) -> pyca.PKCS12KeyAndCertificates:
    """The content of a P12 as pyca reads it. Raises one of `fields.UNDECODABLE`."""
    try:
        secret = None if password is None else password.encode()
    except UnicodeEncodeError:  # a variable whose bytes are not UTF-8
        raise ValueError("Invalid password: not UTF-8") from None
    if secret is not None and b"\0" in secret:
        raise ValueError("Invalid password: NUL")  # pyca 50 panics there, and a panic is not an Exception
    with warnings.catch_warnings():
        # BER, as some tools still write it, and a serial number that is not positive cause a warning
        warnings.simplefilter("ignore")
        return pyca.load_pkcs12(data, secret)


def _opens(data: bytes, password: str | None) -> bool:
    try:
        load_p12(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def diagnosis(data: bytes, password: Secret, error: Exception, label: str) -> RunbookError:
    """Why a P12 did not open. pyca tells structure from password; a changed byte and a wrong password look the same."""
    if not str(error).startswith("Invalid password"):
        return RunbookError(Reason.UNREADABLE_FILE, f"{label} is truncated, damaged, or not PKCS#12.")
    stripped = password.reveal().strip()
    if stripped != password.reveal() and _opens(data, stripped):
        return RunbookError(
            Reason.WRONG_PASSWORD,
            f"The password from {password.source} has a space or line end around it; without that, {label} opens.",
            remedy=f"Remove the space or line end from {password.source}.",
        )
    if _opens(data, None):
        return RunbookError(
            Reason.WRONG_PASSWORD,
            f"{label} has no password: its key is unprotected, and Java reads such a file as empty.",
            remedy="Treat the key as exposed: issue a new certificate with notebook 01 and disable this one.",
        )
    return RunbookError(
        Reason.WRONG_PASSWORD,
        f"{label} does not open with the password from {password.source}: the password is wrong, or the file was "
        "changed. Its integrity check cannot tell which.",
    )


def _number(certificates: list[x509.Certificate]) -> str:
    return f"{len(certificates)} certificate{'' if len(certificates) == 1 else 's'}"


def unrelated_identity() -> Identity:
    """A self-signed client certificate that no server knows, in memory only: for the control that must be refused.

    It is valid at any time, so that a refusal cannot be due to its dates.
    """
    key = generate(KeyKind.P256)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Unrelated certificate of a control request")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 12, 31, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(key, certificate)
