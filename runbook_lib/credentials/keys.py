"""Makes private keys, seals them under a password and opens them again. No key is ever serialised unencrypted."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import string
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import PrivateKey
from runbook_lib.secrets import Secret

PASSWORD_BITS = 128
"""The entropy that a P12 password needs: pyca leaves the MAC at 2,048 rounds, so only the password gives strength."""

_FEWEST_DISTINCT = 6


class KeyKind(StrEnum):
    """The kinds of keys on offer. DigiCert's tutorial makes RSA 2048."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P256 = "p-256"
    P384 = "p-384"


_RSA_BITS = {KeyKind.RSA_2048: 2048, KeyKind.RSA_3072: 3072, KeyKind.RSA_4096: 4096}


def generate(kind: KeyKind) -> PrivateKey:
    """A new private key, from the operating system's randomness."""
    if kind is KeyKind.P256:
        return ec.generate_private_key(ec.SECP256R1())
    if kind is KeyKind.P384:
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[kind])


def seal_key(key: PrivateKey, password: Secret) -> bytes:
    """The key as encrypted PKCS#8 in PEM (RFC 5958, RFC 7468 section 11): PBES2 with AES-256.

    Raises:
        RunbookError: WEAK_PASSWORD.
    """
    check_password(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.reveal().encode()))


def unseal(data: bytes, password: Secret) -> PrivateKey:
    """The key that `seal_key` wrote.

    Raises:
        RunbookError: WRONG_PASSWORD; UNREADABLE_FILE if it is not encrypted PKCS#8, or holds another kind of key.
    """
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" not in data or b"-----END ENCRYPTED PRIVATE KEY-----" not in data:
        raise RunbookError(Reason.UNREADABLE_FILE, "The sealed key is not complete encrypted PKCS#8 in PEM.")
    if not password.reveal():
        raise RunbookError(Reason.WRONG_PASSWORD, "The password for the sealed key is empty.")
    try:
        key = load_pem_private_key(data, password.reveal().encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if str(error).startswith(("Unable to load PEM", "Unknown key encryption")):
            raise RunbookError(Reason.UNREADABLE_FILE, "The sealed key is damaged.") from None
        # one wrong password in 256 decrypts to valid padding and fails only later, as damage does
        raise RunbookError(
            Reason.WRONG_PASSWORD,
            f"The sealed key does not open with the password from {password.source}: "
            "the password is wrong, or the file was changed.",
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise RunbookError(Reason.UNREADABLE_FILE, "The sealed key is neither RSA nor EC.")
    return key


def spki(public_key: PublicKeyTypes) -> bytes:
    """DER of the SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7)."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def spki_sha256(public_key: PublicKeyTypes) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal."""
    return hashlib.sha256(spki(public_key)).hexdigest()


def same_key(public_key: PublicKeyTypes, listed: str) -> bool:
    """Whether the API's field `public_key` is this key, ignoring line ends and PEM armour."""
    text = re.sub(r"-----[A-Z ]+-----|\s", "", listed)
    try:
        return base64.b64decode(text, validate=True) == spki(public_key)
    except (binascii.Error, ValueError):
        return False


def check_password(password: Secret) -> None:
    """Refuse a password that some P12 reader cannot take, or that can be guessed.

    Readers differ on anything but ASCII letters and digits (measured with Java, jsign, OpenSSL). The strength follows
    from the smallest usual alphabet that holds the password: 39 digits, 32 hexadecimal digits, 25 letters and digits in
    one case, or 22 in both give 128 bits.

    Raises:
        RunbookError: WEAK_PASSWORD, without the password.
    """
    text = password.reveal()
    if not text:
        raise RunbookError(Reason.WEAK_PASSWORD, f"The password from {password.source} is empty.")
    if not set(text) <= set(string.ascii_letters + string.digits):
        raise RunbookError(
            Reason.WEAK_PASSWORD,
            f"The password from {password.source} must have only ASCII letters and digits.",
        )
    if len(set(text)) < _FEWEST_DISTINCT or text in (text + text)[1:-1]:
        raise RunbookError(Reason.WEAK_PASSWORD, f"The password from {password.source} only repeats a few characters.")
    bits = len(text) * math.log2(_alphabet(text))
    if bits < PASSWORD_BITS:
        raise RunbookError(
            Reason.WEAK_PASSWORD,
            f"The password from {password.source} has {len(text)} characters, which give about {int(bits)} bits; "
            f"{PASSWORD_BITS} are required.",
        )


def _alphabet(text: str) -> int:
    """The size of the smallest usual alphabet that holds the text."""
    for alphabet in (string.digits, "0123456789abcdef", "0123456789ABCDEF"):
        if set(text) <= set(alphabet):
            return len(alphabet)
    return 62 if text.lower() != text and text.upper() != text else 36
