"""What a file in a folder of certificates holds: each certificate in it, or in words why it is none.

Nothing is skipped. A file gives one `Found` for each certificate, and one with a reason for everything that should have
been one. Read are PEM with any number of certificates and any text between them, DER, PKCS#7, and PKCS#12: only with
a password, since opening one costs a check of its key.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from runbook_lib.credentials.certificates import UNDECODABLE
from runbook_lib.credentials.outline import end_of
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.secrets import Secret

MAX_BYTES = 64 * 2**20
"""Of one file, which is read whole: some 40,000 certificates in PEM."""

MAX_CERTIFICATES = 50_000
"""Of one file."""

MAX_DAMAGED = 1_000
"""Parts of one file that should have been certificates: what goes on like that is not a file of certificates."""

_LABELS = 50
"""Kinds of PEM that one file may hold besides certificates."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_CERTIFICATE = (b"CERTIFICATE", b"X509 CERTIFICATE")
_TRUSTED = b"TRUSTED CERTIFICATE"
"""`openssl x509 -trustout`: a certificate, and behind it what it is trusted for."""
_PKCS7 = b"PKCS7"
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
"""What a PKCS#7 with certificates begins with (RFC 5652, section 5.1)."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""What Windows writes for `>`."""
_BEFORE, _BEHIND = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"
_LAST_OF = (b"AEIMQUYcgkosw048", b"AQgw")
"""What base64 may have before one `=` and before two, without bits that mean nothing (RFC 4648, section 3.5)."""
_RC2_40 = bytes.fromhex("060a2a864886f70d010c0106")
"""pbeWithSHAAnd40BitRC2-CBC (RFC 7292, appendix C): a P12 names the cipher of its certificates in plain sight."""


class Found(NamedTuple):
    """One certificate of a file, or why there is none.

    Args:
        form: PEM, DER, P7B or P12; empty where that is not known.
        number: of the certificate in its file, from 1; 0 for the file as a whole.
        reason: what is wrong. A certificate may be there all the same, for example in a P12 without its chain.
        why: the same in words.
        der: what the certificate was parsed from, where that is at hand.
    """

    form: str
    number: int
    certificate: x509.Certificate | None = None
    reason: Reason | None = None
    why: str = ""
    der: bytes = b""


@contextmanager
def tolerant() -> Iterator[None]:
    """Lets odd certificates pass that pyca only warns of, such as one whose serial number is not positive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def look_into(path: str, password: Secret | None) -> Iterable[Found]:
    """What a file holds, in its order, within `tolerant()`. Links are not followed.

    Args:
        password: of P12 files; None leaves them closed, and says so.

    Returns:
        at least one `Found`. Never raises for what the file is or holds.
    """
    try:
        data = _read(path)
    except RunbookError as error:
        return (Found("", 0, None, error.reason, error.what),)
    except OSError as error:
        return (Found("", 0, None, Reason.FILE_NOT_READ, f"{error.strerror or type(error).__name__}"),)
    return look_at(data, password)


def look_at(data: bytes, password: Secret | None) -> Iterable[Found]:
    """What the content of a file holds; see `look_into`. Past the limits, the last one says that the rest is left."""
    if data.startswith(_BEFORE) and data.endswith(_BEHIND):
        # one certificate in PEM: most files, at a fifth of the cost of what follows
        alone = _plain(data[len(_BEFORE) : 1 - len(_BEHIND)], 1)
        if alone is not None:
            return (alone,)
    return _limited(_look_at(data, password))


def _limited(every: Iterable[Found]) -> Iterator[Found]:
    read = damaged = 0
    for found in every:
        if read == MAX_CERTIFICATES:
            why = f"it holds more than {MAX_CERTIFICATES:,} certificates, and the rest was not read"
            yield Found(found.form, 0, None, Reason.FILE_TOO_LARGE, why)
            return
        if damaged == MAX_DAMAGED:
            why = f"it holds more than {MAX_DAMAGED:,} parts that are no certificate, and the rest was not read"
            yield Found(found.form, 0, None, Reason.FILE_TOO_LARGE, why)
            return
        yield found
        read, damaged = read + (found.certificate is not None), damaged + (found.certificate is None)


def _look_at(data: bytes, password: Secret | None) -> Iterator[Found]:
    if data.startswith(_UTF_16):
        data = data.decode("utf-16", "replace").encode()
    if not data.strip():
        yield Found("", 0, None, Reason.NO_CERTIFICATE, "empty")
    # a text may begin with a 0, which is 0x30; its next byte is none of a long element's
    elif data[0] != 0x30 or b"-----BEGIN " in (data if data[1:2] < b"\x80" else data[:64]):
        yield from _in_pem(data)
    elif _is_p12(data):
        yield from _in_p12(data, password)
    elif _SIGNED_DATA in data[:20]:
        yield from _in_p7b(data, 1)
    else:
        yield _in_der(data)


def _read(path: str) -> bytes:
    """Raises OSError, and RunbookError for what is no file to read."""
    # opening must neither follow a link nor wait for the other end of a pipe
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunbookError(Reason.LINK_NOT_FOLLOWED, f"a link to {Path(path).readlink()}") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RunbookError(Reason.FILE_NOT_READ, "neither a file nor a folder that can be listed")
        if status.st_size > MAX_BYTES:
            raise RunbookError(Reason.FILE_TOO_LARGE, f"{status.st_size:,} bytes, and {MAX_BYTES:,} are read at most")
        data = os.read(descriptor, status.st_size + 1)
        while len(data) < status.st_size and (more := os.read(descriptor, status.st_size - len(data))):
            data += more
        if len(data) != status.st_size:  # half of a file would be told as a damaged certificate
            raise RunbookError(Reason.FILE_NOT_READ, "it was written to while it was read")
        return data
    finally:
        os.close(descriptor)


def _plain(body: bytes, number: int) -> Found | None:
    """The certificate between the lines of a PEM; None leaves it to pyca whether that is one."""
    text = body.replace(b"\n", b"")
    # In lines of 64, as nearly all are (RFC 7468, section 2). pyca takes a blank line for the end of headers, and
    # refuses bits behind the last byte
    if len(body) % 65 == 1 or len(body) - len(text) != -(-len(body) // 65) or body[64::65].strip(b"\n"):
        return None
    if text[-1:] == b"=" and text.rstrip(b"=")[-1:] not in _LAST_OF[text.endswith(b"==")]:
        return None
    try:
        der = binascii.a2b_base64(text, strict_mode=True)
        return Found("PEM", number, x509.load_der_x509_certificate(der), der=der)
    except UNDECODABLE:
        return None


def _in_pem(data: bytes) -> Iterator[Found]:
    number, damaged, form = 0, False, ""
    others: dict[bytes, None] = {}
    # one at a time: a file may hold nothing but millions of beginnings
    for begin, following in pairwise(chain(_BEGIN.finditer(data), (None,))):
        assert begin is not None  # noqa: S101  (only the last is)
        end = following.start() if following else len(data)
        label, form = begin[1], "PEM"
        if label in _CERTIFICATE:
            number += 1
            close = data.find(b"-----END " + label + b"-----", begin.end(), end)
            if close < 0:
                yield Found("PEM", number, None, Reason.UNREADABLE_FILE, "truncated: its last line is missing")
            else:
                plain = _plain(data[begin.end() + 1 : close], number) if data[begin.end()] == 0x0A else None
                block = data[begin.start() : close + len(label) + 14]
                yield plain or _decoded("PEM", number, x509.load_pem_x509_certificate, block)
        elif label == _TRUSTED:
            number += 1
            yield _decoded("PEM", number, _trusted, data[begin.end() : end].partition(b"-----END")[0])
        elif label == _PKCS7:
            for found in _in_p7b(data[begin.start() : end], number + 1):
                number, damaged = max(number, found.number), damaged or not found.number
                yield found
        elif label.endswith(b"PRIVATE KEY") and not _is_sealed(label, data[begin.end() : end]):
            yield Found("PEM", 0, None, Reason.KEY_IN_PLAIN_TEXT, "holds a private key that no password protects")
        else:
            others[label[:60]] = None
            if len(others) > _LABELS:
                why = f"holds more than {_LABELS} kinds of PEM, and the rest was not read"
                yield Found("PEM", 0, None, Reason.FILE_TOO_LARGE, why)
                return
    if not number and not damaged:
        labels = ", ".join(one.decode().lower() for one in others)
        yield Found(
            form, 0, None, Reason.NO_CERTIFICATE, f"holds {labels}" if labels else "neither PEM, DER nor PKCS#12"
        )


def _is_sealed(label: bytes, body: bytes) -> bool:
    """Encrypted as PKCS#8 (RFC 5958), or in the older way of RFC 1421, section 4.6.1.1."""
    return label.startswith(b"ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in body[:100]


def _decoded(form: str, number: int, load: Callable[[bytes], x509.Certificate], data: bytes) -> Found:
    try:
        return Found(form, number, load(data))
    except UNDECODABLE:
        if form == "DER":
            return Found("", 0, None, Reason.NO_CERTIFICATE, "DER or the like, and no certificate that can be decoded")
        return Found(form, number, None, Reason.UNREADABLE_FILE, "damaged: no X.509 certificate inside")


def _trusted(encoded: bytes) -> x509.Certificate:
    der = base64.b64decode(encoded)
    return x509.load_der_x509_certificate(der[: end_of(der, 0)] if len(der) > 1 else der)


def _in_der(data: bytes) -> Found:
    long = len(data) > 4 and data[1] > 0x80
    end = end_of(data, 0) if long else len(data)
    if end > len(data):
        why = f"truncated: {len(data):,} bytes of {end:,}"
        return Found("", 0, None, Reason.UNREADABLE_FILE, why)
    return _decoded("DER", 1, x509.load_der_x509_certificate, data[:end])  # something may have been put behind it


def _in_p7b(data: bytes, number: int) -> Iterator[Found]:
    """The certificates of a PKCS#7, the first of which is `number`."""
    from cryptography.hazmat.primitives.serialization import pkcs7

    load = pkcs7.load_der_pkcs7_certificates if data[0] == 0x30 else pkcs7.load_pem_pkcs7_certificates
    try:
        certificates = load(data)
    except UNDECODABLE:
        yield Found("P7B", 0, None, Reason.UNREADABLE_FILE, "damaged: no PKCS#7 with certificates")
        return
    if not certificates:
        yield Found("P7B", 0, None, Reason.NO_CERTIFICATE, "a PKCS#7 without a certificate")
    for count, one in enumerate(certificates, number):
        yield Found("P7B", count, one)


def _is_p12(data: bytes) -> bool:
    """Whether a SEQUENCE begins with version 3, as PFX does (RFC 7292, section 4); its length may be indefinite."""
    length = data[1] if len(data) > 1 else 0
    start = 2 + (length & 0x7F if length & 0x80 else 0)
    return data[start : start + 3] == b"\x02\x01\x03"


def _in_p12(data: bytes, password: Secret | None) -> Iterator[Found]:
    if password is None:
        yield Found("P12", 0, None, Reason.P12_NOT_OPENED, "")
        return
    # pulls in OpenSSL's PKCS#12, which folders without one do not need
    from runbook_lib.credentials.pkcs12 import open_p12

    try:
        identity = open_p12(data, password, label="it")
    except RunbookError as error:
        yield Found("P12", 0, None, error.reason, error.what)
        return
    if _RC2_40 in data:
        yield Found("P12", 1, identity.certificate, Reason.OLD_ENCRYPTION, "encrypted with 40-bit RC2")
    elif not identity.chain:
        yield Found("P12", 1, identity.certificate, Reason.CHAIN_MISSING, "without the CA certificate above it")
    else:
        yield Found("P12", 1, identity.certificate)
    for number, one in enumerate(identity.chain, 2):
        yield Found("P12", number, one)
