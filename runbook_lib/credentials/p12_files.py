"""Lists the certificates of a PKCS#12 file in a folder, with or without a key.

`pkcs12` opens P12s to use them, and requires a key with its certificate and chain. An inventory requires nothing: a
trust store has no key, and a key may be of any kind. It also checks whether the key is protected at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates
from pyasn1.type import univ

from runbook_lib.credentials.armour import FileItem, known_certificate
from runbook_lib.credentials.ber import decode
from runbook_lib.credentials.fields import UNDECODABLE
from runbook_lib.credentials.keys import spki
from runbook_lib.credentials.pkcs12 import diagnosis, load_p12
from runbook_lib.errors import Reason
from runbook_lib.secrets import Secret

MAX_ROUNDS = 5_000_000
"""The limit for all key derivations of a file together, some 5 s. .NET stops at 300,000 for each."""

_MAX_COUNTED = 2**18
"""The largest file, in bytes, whose rounds are counted before it is opened: 25 µs for each element. A larger file is
limited by time."""

_RC2_40 = bytes.fromhex("060a2a864886f70d010c0106")
"""pbeWithSHAAnd40BitRC2-CBC (RFC 7292, appendix C): a P12 names the cipher of its certificates unencrypted."""
_KEY_BAG = bytes.fromhex("060b2a864886f70d010c0a0101")
"""keyBag (RFC 7292, section 4.2.1): readable without a password, it is a key that is not encrypted."""
_DERIVATIONS = (bytes.fromhex("06092a864886f70d01050c"), bytes.fromhex("060a2a864886f70d010c01"))
"""PBKDF2 (RFC 8018), and the common prefix of those in RFC 7292, appendix C."""
_LIST = univ.SequenceOf(componentType=univ.Any())
_OCTETS, _CONSTRUCTED = 0x04, 0x20
_LEVELS, _STRINGS = 20, 2
"""How deep to look for derivations: nested elements, and strings that hold further elements."""


def look_at_p12(data: bytes, password: Secret | None) -> Iterator[FileItem]:
    """The certificates of a P12, or why it was not opened; first of all, whether its key is exposed.

    Args:
        password: None opens only a P12 without a password.
    """
    if (rounds := _rounds(data)) > MAX_ROUNDS:
        why = f"opening it takes {rounds:,} rounds of key derivation; the limit is {MAX_ROUNDS:,}"
        yield FileItem("P12", 0, None, Reason.FILE_GIVEN_UP, why)
        return
    exposed = _KEY_BAG in data
    if exposed:
        yield FileItem("P12", 0, None, Reason.KEY_IN_PLAIN_TEXT, "holds an unencrypted private key")
    problem: Exception | None = None
    content: PKCS12KeyAndCertificates | None = None
    for attempt in (*([password.reveal()] if password else []), None):
        try:
            content = load_p12(data, attempt)
            break
        except UNDECODABLE as error:
            problem = problem or error
    if content is None:
        assert problem is not None  # noqa: S101  (at least one was tried)
        yield _closed(data, password, problem)
        return
    if attempt is None and content.key is not None and not exposed:
        yield FileItem("P12", 0, None, Reason.KEY_IN_PLAIN_TEXT, "holds a private key and opens without a password")
    yield from _certificates(data, content)


def _closed(data: bytes, password: Secret | None, problem: Exception) -> FileItem:
    if password is None and str(problem).startswith("Invalid password"):
        return FileItem("P12", 0, None, Reason.P12_NOT_OPENED, "no password was given")
    error = diagnosis(data, password or Secret("", ""), problem, "it")
    return FileItem("P12", 0, None, error.reason, error.what)


def _certificates(data: bytes, content: PKCS12KeyAndCertificates) -> Iterator[FileItem]:
    certificates = [entry.certificate for entry in content.additional_certs]
    if content.cert is not None:
        certificates.insert(0, content.cert.certificate)
    if not certificates:
        what = "a private key but no certificate" if content.key else "neither a key nor a certificate"
        reason = Reason.UNREADABLE_FILE if content.key else Reason.NO_CERTIFICATE
        yield FileItem("P12", 0, None, reason, f"holds {what}")
        return
    flaw: tuple[Reason | None, str] = (None, "")
    if _RC2_40 in data:
        flaw = (Reason.OLD_ENCRYPTION, "encrypted with 40-bit RC2")
    elif content.key is not None and not _belongs(content):
        flaw = (Reason.KEY_MISMATCH, "none of its certificates matches its private key")
    elif content.key is not None and len(certificates) == 1:
        flaw = (Reason.CHAIN_MISSING, "without the CA certificate")
    for number, certificate in enumerate(certificates, 1):
        yield known_certificate("P12", number, certificate, *(flaw if number == 1 else (None, "")))


def _belongs(content: PKCS12KeyAndCertificates) -> bool:
    certificate: x509.Certificate | None = content.cert.certificate if content.cert else None
    key = content.key
    if certificate is None or key is None:
        return False
    try:
        return spki(certificate.public_key()) == spki(key.public_key())
    except UNDECODABLE:  # an unknown kind of key: no evidence of a mismatch
        return True


def _rounds(data: bytes) -> int:
    """How many rounds of key derivation a P12 requires, as far as that is readable without the password."""
    if len(data) > _MAX_COUNTED:
        return 0
    total = 0
    left = [(data, _LEVELS, _STRINGS)]
    while left:
        element, levels, strings = left.pop()
        if element[0] == _OCTETS and strings:
            inside = _octets(element)
            if inside[:1] == b"\x30":
                left.append((inside, levels, strings - 1))
            continue
        inner = _elements(element) if levels else []
        left += [(part, levels - 1, strings) for part in inner]
        tags = bytes(part[0] for part in inner)
        if tags[:2] == b"\x06\x30" and inner[0].startswith(_DERIVATIONS):
            inner = [b"", *_elements(inner[1])]
            tags = b"\x30" + bytes(part[0] for part in inner[1:])
        elif tags != b"\x30\x04\x02":  # MacData
            continue
        if tags[:3] == b"\x30\x04\x02":  # salt and rounds
            total += max(0, int(decode(inner[2], univ.Integer())[0]))
    return total


def _elements(element: bytes) -> list[bytes]:
    """The parts of a constructed element of any type; empty for a primitive or damaged one."""
    if not element[0] & _CONSTRUCTED:
        return []
    try:
        return [bytes(part) for part in decode(b"\x30" + element[1:], _LIST)[0] if len(part)]
    except ValueError:
        return []


def _octets(element: bytes) -> bytes:
    try:
        return bytes(decode(element, univ.OctetString())[0])
    except ValueError:
        return b""
