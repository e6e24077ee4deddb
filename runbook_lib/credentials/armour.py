"""Finds the certificates in the bytes of a file: PEM in all its labels and forms, DER, PKCS#7.

Nothing is skipped: each certificate gives a `FileItem`; whatever should have been one gives a `FileItem` with a reason.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.credentials.ber import TruncatedBer
from runbook_lib.credentials.fields import UNDECODABLE
from runbook_lib.credentials.key_files import pem_key
from runbook_lib.credentials.lenient import LenientCertificate, certificates_of_pkcs7, first_element
from runbook_lib.errors import Reason

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 #]+)-----")
_END = b"-----END "
_TRUSTED = b"TRUSTED CERTIFICATE"
"""`openssl x509 -trustout`: a certificate, followed by what it is trusted for."""
_CERTIFICATE = (b"CERTIFICATE", b"X509 CERTIFICATE", _TRUSTED)
_PKCS7 = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA")
"""RFC 7468, sections 8 and 9, and the labels of old OpenSSL and Netscape."""
_CONTENT = bytes.fromhex("06092a864886f70d0107")
"""The start of a PKCS#7 (RFC 5652, section 3)."""
_VERSION = bytes.fromhex("a003020102")
"""The start of a version 3 certificate, and of no request, list or key (RFC 5280, section 4.1.2.1)."""
_LABELS = 50
"""The most kinds of PEM that one file may hold besides certificates."""
_BEFORE, _BEHIND = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_SPACE = b" \t\r\n\v\f"
_EMPTY_LINE = re.compile(rb"\n[ \t]*\n")
MAX_BLOCK = 16 * 2**20
"""The most bytes of a PEM block."""
_MAX_WRAPPED = 10_000
"""The most pieces of base64 with PEM in one text."""
_BARE = re.compile(rb"(?:\xef\xbb\xbf)?\s*M[A-P][A-Za-z0-9+/=\s]+")
"""Base64 of a SEQUENCE without PEM lines: what Windows calls base64, and what CI systems store."""
_WRAPPED_BEGIN = b"LS0tLS1CRUdJTi"
"""`-----BEGIN` in base64."""
_WRAPPED = re.compile(_WRAPPED_BEGIN + rb"[A-Za-z0-9+/]+={0,2}")
_UTF_16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"-\0-\0": "utf-16-le", b"\0-\0-": "utf-16-be"}
"""The start of a text that Windows' `>` writes."""


class FileItem(NamedTuple):
    """One certificate of a file, or why there is none.

    Args:
        form: PEM, DER, P7B or P12; empty if unknown.
        number: of the certificate in its file, from 1; 0 for the file as a whole.
        certificate: None also if only the second reader accepts the certificate (`fields.read_fields`).
        reason: what is wrong. There may still be a certificate, for example in a P12 without its chain.
        why: the same in words.
        der: of the certificate; empty if there is none.
    """

    form: str
    number: int
    certificate: x509.Certificate | None = None
    reason: Reason | None = None
    why: str = ""
    der: bytes = b""


def read_certificate(form: str, number: int, der: bytes, *, extra: bool = False) -> FileItem:
    """Read the encoding of one certificate.

    Args:
        extra: whether data is expected after it.
    """
    try:
        return FileItem(form, number, x509.load_der_x509_certificate(der), der=der)
    except UNDECODABLE:
        pass
    try:
        alone = first_element(der)
        rest = b"" if extra else der[len(alone) :].strip()
        count = "1 byte follows it" if len(rest) == 1 else f"{len(rest):,} bytes follow it"
        reason, why = (Reason.UNUSUAL_ENCODING, count) if rest else (None, "")
        if len(alone) < len(der):
            try:
                return FileItem(form, number, x509.load_der_x509_certificate(alone), reason, why, alone)
            except UNDECODABLE:
                pass
        LenientCertificate(alone)
        return FileItem(form, number, None, reason, why, alone)
    except TruncatedBer:
        return FileItem(form, number, None, Reason.UNREADABLE_FILE, "truncated: the end is missing")
    except UNDECODABLE:
        return FileItem(form, number, None, Reason.UNREADABLE_FILE, "damaged: not an X.509 certificate")


def known_certificate(
    form: str, number: int, certificate: x509.Certificate, reason: Reason | None = None, why: str = ""
) -> FileItem:
    """A certificate that pyca has read."""
    return FileItem(form, number, certificate, reason, why, certificate.public_bytes(Encoding.DER))


def lone_pem(data: bytes) -> FileItem | None:
    """The certificate of a file that holds one in PEM and nothing else, as most do; None for any other file."""
    if data.startswith(_BEFORE) and data.endswith(_BEHIND):
        try:
            der = binascii.a2b_base64(data[len(_BEFORE) : -len(_BEHIND)].replace(b"\n", b""), strict_mode=True)
            return FileItem("PEM", 1, x509.load_der_x509_certificate(der), der=der)
        except UNDECODABLE:
            pass
    return None


def as_utf8(data: bytes) -> bytes:
    """UTF-16 text as UTF-8; any other data unchanged."""
    encoding = _UTF_16.get(data[:2]) or _UTF_16.get(data[:4])
    if not encoding:
        return data
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError:  # PEM is ASCII; replacing damaged characters one by one takes seconds
        return data[1::2] if data[:1] in (b"\xfe", b"\0") else data[::2]


def without_armour(data: bytes) -> bytes:
    """The content of base64 without PEM lines; any other data unchanged."""
    return (_decoded(data.removeprefix(b"\xef\xbb\xbf")) or data) if _BARE.fullmatch(data) else data


def unwrapped(data: bytes) -> bytes:
    """The PEM inside base64 in a text, as in a kubeconfig or a Kubernetes secret; empty if there is none."""
    found = islice(_WRAPPED.finditer(data), _MAX_WRAPPED)
    return b"\n".join(_decoded(match[0]) for match in found) if _WRAPPED_BEGIN in data else b""


def is_pem(data: bytes) -> bool:
    """Whether this is text rather than DER."""
    # a text may start with 0, which is 0x30; the next byte then cannot be that of a long element
    return data[:1] != b"\x30" or b"-----BEGIN " in (data if data[1:2] < b"\x80" else data[:64])


def look_at_pem(data: bytes) -> Iterator[FileItem]:
    """The content of a text with PEM blocks, in its order; at least one `FileItem`."""
    number, reported, form = 0, False, ""
    others: dict[bytes, None] = {}
    # one at a time: a file may hold millions of BEGIN lines and nothing else
    for begin, following in pairwise(chain(_BEGIN.finditer(data), (None,))):
        assert begin is not None  # noqa: S101  (only the last is)
        start, end = begin.end(), following.start() if following else len(data)
        label, form = begin[1], "PEM"
        if label in _CERTIFICATE or label in _PKCS7:
            if (last := data.find(_END, start, end)) >= 0:
                end = last + len(_END)
            if end - start > MAX_BLOCK:
                reported = True
                why = f"a PEM block has {end - start:,} bytes; the limit is {MAX_BLOCK:,}"
                yield FileItem("PEM", 0, None, Reason.FILE_TOO_LARGE, why)
                continue
            for found in _in_block(label, data[start:end], number + 1):
                number, reported = max(number, found.number), reported or not found.number
                yield found
        elif key := pem_key(label, data[start : min(end, start + 200)]):
            reported = True
            yield FileItem(key.form, 0, None, key.reason, key.why)
        else:
            others[label[:60]] = None
            if len(others) > _LABELS:
                why = f"holds more than {_LABELS} kinds of PEM; the rest was not read"
                yield FileItem("PEM", 0, None, Reason.FILE_TOO_LARGE, why)
                return
    if not number and not reported:
        labels = ", ".join(label.decode().lower() for label in others)
        yield FileItem(
            form, 0, None, Reason.NO_CERTIFICATE, f"holds {labels}" if labels else "neither PEM, DER nor PKCS#12"
        )


def _in_block(label: bytes, body: bytes, number: int) -> Iterable[FileItem]:
    text, end, _ = body.partition(_END)
    der = _decoded(text)
    if label in _PKCS7 or _CONTENT in der[:20]:  # certutil calls whatever it encodes a certificate
        return look_at_pkcs7(der, number)
    found = read_certificate("PEM", number, der, extra=label == _TRUSTED)
    if not end and found.der:
        return [found._replace(reason=Reason.UNUSUAL_ENCODING, why="its last line is missing")]
    if not end:
        return [found._replace(why="truncated: its last line is missing")]
    return [found]


def _decoded(text: bytes) -> bytes:
    """The decoded base64 of a PEM block; empty if it is damaged."""
    try:
        return binascii.a2b_base64(text.translate(None, _SPACE), strict_mode=True)
    except ValueError:
        pass
    text = text.replace(b"\\r", b"").replace(b"\\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n").strip()
    if b":" in text.partition(b"\n")[0] and (empty := _EMPTY_LINE.search(text)):  # headers (RFC 1421, section 4.4)
        text = text[empty.end() :]
    joined = text.translate(None, _SPACE).rstrip(b"=")
    if not _BASE64.fullmatch(joined) or len(joined) % 4 == 1:
        return b""
    return binascii.a2b_base64(joined + b"=" * (-len(joined) % 4))


def is_pkcs7(data: bytes) -> bool:
    """Whether DER starts like a PKCS#7."""
    return _CONTENT in data[:20]


def look_at_der(data: bytes) -> FileItem:
    """The certificate in a DER file; other data may follow it."""
    found = read_certificate("DER", 1, data)
    if found.der or data.find(_VERSION, 0, 16) > 4:  # within a second SEQUENCE
        return found
    return FileItem("", 0, None, Reason.NO_CERTIFICATE, "not a certificate that can be decoded")


def look_at_pkcs7(der: bytes, number: int) -> Iterator[FileItem]:
    """The certificates of a PKCS#7, the first of which is `number`."""
    from cryptography.hazmat.primitives.serialization import pkcs7

    try:
        found = [known_certificate("P7B", 0, certificate) for certificate in pkcs7.load_der_pkcs7_certificates(der)]
    except UNDECODABLE:
        try:
            found = [read_certificate("P7B", 0, der) for der in certificates_of_pkcs7(der)]
        except UNDECODABLE:
            yield FileItem("P7B", 0, None, Reason.UNREADABLE_FILE, "damaged: not a PKCS#7 with certificates")
            return
    if not found:
        yield FileItem("P7B", 0, None, Reason.NO_CERTIFICATE, "a PKCS#7 without a certificate")
    for count, item in enumerate(found, number):
        yield item._replace(number=count)
