"""The second reader of certificates: reads certificates whose encoding pyca refuses, field by field.

OpenSSL and Windows accept what RFC 5280 forbids: `*` in a PrintableString, Latin-1 in a T61String, a FALSE that should
have been left out, a time with an offset. Such a certificate works, and it expires. pyasn1 reads BER element by element
here, so that an unreadable field hides no other. It verifies nothing, so trust no certificate because of this module.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property

from cryptography import x509
from pyasn1.codec.der import encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import char, tag, univ, useful

from runbook_lib.credentials.ber import decode

MAX_BYTES = 2**18
"""The largest certificate that is read here: each element takes 25 µs (measured) and may have only two bytes."""
MAX_BYTES_PKCS7 = 2**20

_SEQUENCE = univ.SequenceOf(componentType=univ.Any())
_SET = univ.SetOf(componentType=univ.Any())

_TEXT = {0x0C: "utf-8", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_TEXT |= dict.fromkeys((0x12, 0x13, 0x14, 0x15, 0x16, 0x1A, 0x1B), "ascii")
"""String types (X.680, section 8.4) and their encodings. Text in another encoding is read as UTF-8, else Latin-1."""

_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The limits of Python's calendar."""

_MOMENT = re.compile(r"\d{10}(\d\d){0,2}([.,]\d+)?(Z|[+-]\d{4})?", re.ASCII)
"""YYYYMMDDHH, then optional parts (X.680, sections 46 and 47)."""

_KEYS = {"1.2.840.113549.1.1.1": "RSA", "1.2.840.10045.2.1": "EC", "1.2.840.10040.4.1": "DSA"}
_SIGNED_DATA = "1.2.840.113549.1.7.2"


def first_element(data: bytes) -> bytes:
    """The first element of some BER, without what follows it. Raises ValueError, or TruncatedBer."""
    return data[: len(data) - len(decode(data, univ.Any())[1])]


def certificates_of_pkcs7(der: bytes) -> list[bytes]:
    """The encoded certificates in a PKCS#7 (RFC 5652, section 5.1). Raises ValueError."""
    kind, *content = _parts(der, most=MAX_BYTES_PKCS7)
    if _oid(kind) != _SIGNED_DATA or not content:
        return []
    signed = _parts(content[0], _SEQUENCE.subtype(explicitTag=_tag(0)), most=MAX_BYTES_PKCS7)
    wrapped = [part for part in signed if part[:1] == b"\xa0"]
    found = _parts(wrapped[0], _SET.subtype(implicitTag=_tag(0)), most=MAX_BYTES_PKCS7) if wrapped else []
    return [part for part in found if part[:1] == b"\x30"]


class LenientCertificate:
    """The fields of a certificate (RFC 5280, section 4.1), each read on first use.

    Args:
        der: the certificate and nothing after it.

    Raises:
        ValueError: if it does not have the structure of a certificate; from a method if its field cannot be read.
    """

    def __init__(self, der: bytes) -> None:
        signed, *self._signature = _parts(der)
        fields = _parts(signed)
        if fields and fields[0][:1] == b"\xa0":  # the version, which is left out if it is 1
            del fields[0]
        if len(self._signature) != 2 or len(fields) < 6:
            raise ValueError("not the structure of a certificate")
        self.der = der
        self._serial, self._algorithm, self._issuer, validity, self._subject, self.spki, *self._more = fields
        self._validity = _parts(validity)
        if len(self._validity) != 2:
            raise ValueError("not the validity of a certificate")

    def subject(self) -> str:
        """RFC 4514."""
        return _name(self._subject)

    def issuer(self) -> str:
        """RFC 4514."""
        return _name(self._issuer)

    def serial(self) -> int:
        return int(decode(self._serial, univ.Integer())[0])

    def not_before(self) -> datetime:
        return _moment(self._validity[0])

    def not_after(self) -> datetime:
        return _moment(self._validity[1])

    def key(self) -> str:
        """`RSA` and its size, or else the algorithm's name or dotted number."""
        algorithm, bits = _parts(self.spki)
        kind = _oid(_first(algorithm))
        if _KEYS.get(kind) != "RSA":
            return _KEYS.get(kind, kind)
        modulus = _first(decode(bits, univ.BitString())[0].asOctets())
        return f"RSA {int(decode(modulus, univ.Integer())[0]).bit_length()}"

    def signature(self) -> bytes:
        """The signature; also decodes the algorithm in both places that name it."""
        for algorithm in (self._algorithm, self._signature[0]):
            _oid(_first(algorithm))
        return bytes(decode(self._signature[1], univ.BitString())[0].asOctets())

    @cached_property
    def extensions(self) -> dict[str, bytes]:
        """The content of each extension, by its dotted number. Raises ValueError."""
        wrapped = next((part for part in self._more if part[:1] == b"\xa3"), None)
        if wrapped is None:
            return {}
        found: dict[str, bytes] = {}
        for extension in _parts(wrapped, _SEQUENCE.subtype(explicitTag=_tag(3))):
            fields = _parts(extension)
            found.setdefault(_oid(_first(extension)), bytes(decode(fields[-1], univ.OctetString())[0]))
        return found


def _parts(encoded: bytes, kind: univ.SequenceOf | univ.SetOf = _SEQUENCE, most: int = MAX_BYTES) -> list[bytes]:
    """The encoded elements of a SEQUENCE, or of another kind of list."""
    if len(encoded) > most:
        raise ValueError(f"{len(encoded):,} bytes; the limit is {most:,}")
    return [bytes(part) for part in decode(encoded, kind)[0] if len(part)]


def _first(encoded: bytes) -> bytes:
    """The first element of a SEQUENCE."""
    if not (parts := _parts(encoded)):
        raise ValueError("an empty SEQUENCE")
    return parts[0]


def _tag(number: int) -> tag.Tag:
    """The tag `[number]` of a constructed element."""
    return tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, number)


def _oid(encoded: bytes) -> str:
    """An OBJECT IDENTIFIER in dotted numbers."""
    return str(decode(encoded, univ.ObjectIdentifier())[0])


def _name(encoded: bytes) -> str:
    """A Name as RFC 4514 writes it, from its last part to its first, without empty parts."""
    written = ["+".join(map(_attribute, _parts(part, _SET))) for part in reversed(_parts(encoded))]
    return ",".join(filter(None, written))


def _attribute(encoded: bytes) -> str:
    kind, value = _parts(encoded)
    text = _text(value)
    # pyca knows the short names, and what to escape
    readable = _list(_SEQUENCE, kind, encoder.encode(char.UTF8String("x" if text is None else text)))
    written = x509.Name.from_bytes(_list(_SEQUENCE, _list(_SET, readable))).rfc4514_string()
    return f"{written[:-1]}#{value.hex()}" if text is None else written


def _text(encoded: bytes) -> str | None:
    """The text of a string; None for anything else, and for a character that its type cannot have."""
    number = encoded[0] & 0xDF  # a string may come in pieces
    if number not in _TEXT:
        return None
    kind = univ.OctetString().subtype(implicitTag=tag.Tag(tag.tagClassUniversal, tag.tagFormatSimple, number))
    octets = bytes(decode(encoded, kind)[0])
    wide = _TEXT[number] in ("utf-16-be", "utf-32-be")
    for encoding in (_TEXT[number],) if wide else (_TEXT[number], "utf-8", "latin-1"):
        try:
            return octets.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _list(kind: univ.SequenceOf | univ.SetOf, *elements: bytes) -> bytes:
    value = kind.clone()  # type: ignore[no-untyped-call]
    value.extend(univ.Any(element) for element in elements)
    return bytes(encoder.encode(value))


def _moment(encoded: bytes) -> datetime:
    """UTCTime or GeneralizedTime in UTC; a time outside Python's calendar gives its first or last second."""
    short = encoded[:1] in (b"\x17", b"\x37")  # a string may come in pieces
    text = str(decode(encoded, useful.UTCTime() if short else useful.GeneralizedTime())[0])
    if short:  # RFC 5280, section 4.1.2.5.1
        text = ("20" if text[:2] < "50" else "19") + text
    if not _MOMENT.fullmatch(text):
        raise ValueError("not a moment")
    if text[:4] == "0000":
        return _FIRST
    try:
        moment: datetime = useful.GeneralizedTime(text).asDateTime
    except PyAsn1Error:
        raise ValueError("not a moment") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        return _LAST if moment.year > 1 else _FIRST
