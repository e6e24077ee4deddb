"""What an inventory tells of a certificate, a hundred thousand times over: what `certificates.facts` says, for less.

pyca parses every certificate, so what is one and what is damaged is pyca's word. Behind that, names and keys cost most:
pyca makes objects of them before they can be written. Here both are found by their bytes, as a parsed DER allows.
The plainest parts of a name and the commonest forms of a key are read from them, all else is pyca's to read, and parts
of names are remembered, since a hundred thousand certificates have few organizations and issuers.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.credentials.certificates import describe_key

_REMEMBERED = 4096
"""Parts of names, and names of issuers, at most."""

_ATTRIBUTES = {3: "CN", 6: "C", 7: "L", 8: "ST", 9: "STREET", 10: "O", 11: "OU"}
"""Of 2.5.4, by their last number (RFC 4514, section 3)."""

_EDGE, _MIDDLE = rb"[!$-*\-./0-:=?-\[\]-~]", rb"[ -!#-*\-./0-:=?-\[\]-~]"
"""Of ASCII, what RFC 4514, section 2.4, does not escape: at either end of a value, and within."""
_PLAIN = re.compile(
    rb"1.0.\x06\x03U\x04([\x03\x06-\x0b])[\x0c\x13].(" + _EDGE + rb"(?:" + _MIDDLE + rb"*" + _EDGE + rb")?)", re.DOTALL
)
"""A SET of one SEQUENCE: 2.5.4.x, then a UTF8String or PrintableString of such characters. Whatever has a second
attribute, or a length of more than one byte, has a byte in it that is none of them."""
_RSA = {  # what the SubjectPublicKeyInfo of nearly every RSA key has before and behind its modulus (RFC 8017, A.1.1)
    bytes.fromhex(
        f"3082{bits // 8 + 34:04x}300d06092a864886f70d01010105000382{bits // 8 + 15:04x}00"
        f"3082{bits // 8 + 10:04x}0282{bits // 8 + 1:04x}00"
    ): f"RSA {bits}"
    for bits in (2048, 3072, 4096)
}
_E = bytes.fromhex("0203010001")
_EC = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""The same before the point of an EC key on P-256 (RFC 5480, section 2)."""
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
"""The curve P-256 (SP 800-186, section 3.2.1.3)."""


class Outline(NamedTuple):
    """What an inventory tells of a certificate. The parts are as in `certificates.CertificateFacts`."""

    subject: str
    issuer: str
    serial_hex: str
    not_before: datetime
    not_after: datetime
    key: str
    sha256: str


class Outliner:
    """Tells the outlines of many certificates."""

    def __init__(self) -> None:
        self._issuers: dict[bytes, str] = {}
        self._parts: dict[bytes, str] = {}

    def __call__(self, certificate: x509.Certificate, der: bytes = b"") -> Outline:
        """The outline of a certificate. Within `folder.tolerant()`.

        Args:
            der: what pyca parsed it from, where that is at hand.

        Raises:
            one of `certificates.UNDECODABLE`.
        """
        der = der or certificate.public_bytes(Encoding.DER)
        issuer, subject, key = parts(der)
        by = self._issuers.get(issuer)
        if by is None:
            by = _remember(self._issuers, issuer, self._name(issuer))
        return Outline(
            self._name(subject),
            by,
            f"{certificate.serial_number:X}",
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            _plain_key(key) or describe_key(certificate.public_key()),
            hashlib.sha256(der).hexdigest(),
        )

    def _name(self, encoded: bytes) -> str:
        """A Name as RFC 4514 writes it: its parts from the last to the first."""
        parts = []
        at, end = begin_of(encoded, 0), len(encoded)
        while at < end:
            begin, at = at, end_of(encoded, at)
            part = encoded[begin:at]
            parts.append(self._parts.get(part) or _remember(self._parts, part, _part(part)))
        parts.reverse()
        return ",".join(parts)


def _remember(known: dict[bytes, str], encoded: bytes, text: str) -> str:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[encoded] = text
    return text


def _part(encoded: bytes) -> str:
    plain = _PLAIN.fullmatch(encoded)
    if plain:
        attribute, value = plain.groups()
        return f"{_ATTRIBUTES[attribute[0]]}={value.decode()}"
    size = len(encoded)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    head = b"\x30" + octets if size < 0x80 else bytes([0x30, 0x80 | len(octets)]) + octets
    return x509.Name.from_bytes(head + encoded).rfc4514_string()


def _plain_key(encoded: bytes) -> str:
    """The key in a SubjectPublicKeyInfo of the two commonest forms, where pyca would take it; empty for every other."""
    if encoded.startswith(_EC):  # half of what pyca's own reading of such a certificate costs
        x, y = int.from_bytes(encoded[27:59], "big"), int.from_bytes(encoded[59:], "big")
        return "EC P-256" if x < _P and y < _P and (y * y - (x * x - 3) * x - _B) % _P == 0 else ""
    known = _RSA.get(encoded[:33], "")
    return known if known and encoded[33] >= 0x80 and encoded.endswith(_E) else ""


def parts(der: bytes) -> tuple[bytes, bytes, bytes]:
    """Issuer, subject and SubjectPublicKeyInfo in the DER of a certificate that pyca has parsed (RFC 5280, 4.1)."""
    at = begin_of(der, begin_of(der, 0))
    if der[at] == 0xA0:  # the version, which is left out where it is 1
        at = end_of(der, at)
    issuer = end_of(der, end_of(der, at))  # behind serialNumber and signature
    validity = end_of(der, issuer)
    subject = end_of(der, validity)
    key = end_of(der, subject)
    return der[issuer:validity], der[subject:key], der[key : end_of(der, key)]


def begin_of(der: bytes, at: int) -> int:
    """Where the content of the element at `at` begins (X.690, section 8.1.3)."""
    length = der[at + 1]
    return at + 2 if length < 0x80 else at + 2 + (length & 0x7F)


def end_of(der: bytes, at: int) -> int:
    """Where the element at `at` ends."""
    length = der[at + 1]
    if length < 0x80:
        return at + 2 + length
    begin = at + 2 + (length & 0x7F)
    return begin + int.from_bytes(der[at + 2 : begin], "big")
