"""Reads certificates from PEM, says precisely what is wrong with a text, and extracts their facts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from runbook_lib.credentials import keys
from runbook_lib.credentials.armour import look_at_pem
from runbook_lib.credentials.fields import UNDECODABLE, Reading, tolerant
from runbook_lib.errors import Reason, RunbookError

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"

_PURPOSES = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CODE_SIGNING: "codeSigning",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection",
    ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
}


@dataclass(frozen=True)
class CertificateFacts:
    """A certificate's facts, ready to compare and to show. Text in them comes from the issuer: escape it for display.

    Args:
        subject, issuer: RFC 4514.
        serial_hex: upper-case, without leading zeros, as DigiCert ONE writes it; compare `serial`.
        not_before, not_after: aware UTC; both moments belong to the lifetime (RFC 5280, section 4.1.2.5).
        sha256: of the whole certificate in DER, lower-case hexadecimal.
        key: for example `RSA 2048` or `EC P-256`.
    """

    subject: str
    issuer: str
    serial: int
    serial_hex: str
    not_before: datetime
    not_after: datetime
    sha256: str
    spki_sha256: str
    key: str


def load_certificate(pem: bytes | str, *, label: str = "The certificate") -> x509.Certificate:
    """The one certificate in a PEM text.

    Args:
        label: what to call the text in an error, such as its file's path.

    Raises:
        RunbookError: UNREADABLE_FILE, saying what the text is instead.
    """
    found = load_certificates(pem, label=label)
    if len(found) > 1:
        raise RunbookError(
            Reason.UNREADABLE_FILE, f"{label} holds {len(found)} certificates (a chain), but must hold exactly one."
        )
    return found[0]


def load_certificates(pem: bytes | str, *, label: str = "The chain") -> list[x509.Certificate]:
    """All certificates in a PEM text, in its order; at least one.

    Raises:
        RunbookError: UNREADABLE_FILE, saying what the text is instead.
    """
    data = pem.encode(errors="replace") if isinstance(pem, str) else pem
    fault = _fault(data)
    if fault:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{label} {fault}.")
    try:
        with tolerant():  # what pyca warns of, lint reports
            return x509.load_pem_x509_certificates(data)
    except UNDECODABLE:
        fault = "is damaged: it does not hold an X.509 certificate"
        if all(item.der for item in look_at_pem(data)):
            fault = "breaks the encoding rules of RFC 5280: it cannot be used here, even if OpenSSL reads it"
        raise RunbookError(Reason.UNREADABLE_FILE, f"{label} {fault}.") from None


def _fault(data: bytes) -> str:
    """What is wrong with a text of PEM certificates, as the rest of a sentence; empty if nothing was found."""
    lower = data[:2000].lower()
    if not data.strip():
        return "is empty"
    if b"PRIVATE KEY-----" in data:
        return "holds a private key, but only certificates belong there"
    if data[:1] == b"\x30":
        return "is DER, not PEM: convert it with `openssl x509 -inform DER`"
    if b"<html" in lower or b"<!doctype" in lower:
        return "is an HTML page, probably from a proxy or a sign-in page"
    if b"-----BEGIN CERTIFICATE REQUEST-----" in data:
        return "is a signing request (CSR), not a certificate"
    if data.count(_BEGIN) == 0:
        return "is not a PEM certificate: its first line is missing" if _END in data else "is not a PEM certificate"
    if b"\\n" in data:
        return "has \\n instead of line ends: extract it from the JSON with `jq -r`"
    if data.count(_BEGIN) != data.count(_END):
        return f"is truncated: it has {data.count(_BEGIN)} BEGIN but {data.count(_END)} END lines"
    return ""


def facts(certificate: x509.Certificate) -> CertificateFacts:
    """The facts of a certificate, from the second reader if pyca refuses a field.

    Raises:
        RunbookError: UNREADABLE_FILE, naming the fields that neither reads.
    """
    with tolerant():
        return _facts(certificate, certificate.public_bytes(Encoding.DER))


def read_facts(pem: bytes, *, label: str) -> CertificateFacts:
    """The facts of the one certificate in a PEM text, even if pyca refuses it: it still expires.

    Raises:
        RunbookError: UNREADABLE_FILE, as `load_certificate` and `facts`.
    """
    try:
        return facts(load_certificate(pem, label=label))
    except RunbookError:
        found = list(look_at_pem(pem))
        if len(found) != 1 or not found[0].der:
            raise
        with tolerant():
            return _facts(found[0].certificate, found[0].der)


def _facts(certificate: x509.Certificate | None, der: bytes) -> CertificateFacts:
    reading = Reading(certificate, der)
    subject, issuer, serial, key = reading.subject(), reading.issuer(), reading.serial(), reading.key()
    start, end = reading.not_before(), reading.not_after()
    spki = reading.field("public key", lambda read: keys.spki(read.public_key()), lambda read: read.spki)
    if subject is None or issuer is None or serial is None or start is None or end is None or key is None or not spki:
        raise RunbookError(Reason.UNREADABLE_FILE, f"The certificate cannot be decoded completely: {reading.unread()}.")
    sha256, spki_sha256 = hashlib.sha256(der).hexdigest(), hashlib.sha256(spki).hexdigest()
    return CertificateFacts(subject, issuer, serial, f"{serial:X}", start, end, sha256, spki_sha256, key)


def serial_number(certificate: x509.Certificate) -> int:
    """The serial number, even if it is not positive."""
    with tolerant():
        return certificate.serial_number


def extended_key_usage(certificate: x509.Certificate) -> tuple[str, ...]:
    """Names of the purposes (RFC 5280, section 4.2.1.12), dotted numbers for unknown ones; empty if the extension is
    absent. Raises one of UNDECODABLE."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(_PURPOSES.get(oid, oid.dotted_string) for oid in usage)


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints says CA (RFC 5280, section 4.2.1.9). Raises one of UNDECODABLE."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
