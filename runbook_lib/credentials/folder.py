"""Reads a file in a folder of certificates: each certificate in it, or why there is none.

`armour` reads PEM, DER and PKCS#7, `p12_files` PKCS#12, `keystores` Java key stores. `key_files` recognises private
keys, and `containers` files that may hold certificates and are not read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from runbook_lib.credentials import armour
from runbook_lib.credentials.armour import FileItem
from runbook_lib.credentials.containers import container
from runbook_lib.credentials.fields import UNDECODABLE
from runbook_lib.credentials.key_files import binary_key, text_key
from runbook_lib.credentials.keystores import kind_of, look_at_keystore
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.secrets import Secret

MAX_BYTES = 64 * 2**20
"""The largest PEM file, which is read completely: some 40,000 certificates."""

MAX_BYTES_BUT_PEM = 16 * 2**20
"""The largest file of any other kind, which may be decoded as a whole."""

_FIRST = 2**16
"""The first bytes of a large file, within which PEM must begin."""

EMPTY = "empty"

MAX_CERTIFICATES = 50_000
"""The most certificates of one file."""

MAX_DAMAGED = 1_000
"""The most parts of one file that should have been certificates but are not: a file with more is something else."""

_NAMED = (".pem", ".crt", ".cer", ".der", ".p7b", ".p7c", ".p12", ".pfx", ".jks", ".jceks")
"""Suffixes of files that should hold certificates."""

_KEYS_NAMED = (".key", ".pk8", ".ppk", ".pvk")
"""Suffixes of files that should hold private keys."""


def look_into(path: str, password: Secret | None) -> Iterable[FileItem]:
    """The content of a file, in its order, within `fields.tolerant()`. Links are not followed.

    Args:
        password: for P12 files and Java key stores; with None, a file that needs one says so.

    Returns:
        at least one `FileItem`. Never raises because of the file or its content.
    """
    try:
        data = _read(path)
    except RunbookError as error:
        return (FileItem("", 0, None, error.reason, error.what),)
    except OSError as error:
        return (FileItem("", 0, None, Reason.FILE_NOT_READ, f"{error.strerror or type(error).__name__}"),)
    found = look_at_content(data, password)
    return _as_named(path.lower(), found) if path.lower().endswith((*_NAMED, *_KEYS_NAMED)) else found


def _as_named(name: str, items: Iterable[FileItem]) -> Iterator[FileItem]:
    """Report a file of unknown content whose name suggests a certificate or a key."""
    for found in items:
        if found.reason is Reason.NO_CERTIFICATE and not found.form and found.why != EMPTY:
            what, reason = "certificate", Reason.UNREADABLE_FILE
            if name.endswith(_KEYS_NAMED):
                what, reason = "private key", Reason.KEY_NOT_CHECKED
            found = found._replace(reason=reason, why=f"its name suggests a {what}, but it is {found.why}")
        yield found


def look_at_content(data: bytes, password: Secret | None) -> Iterable[FileItem]:
    """The items in a file's content; see `look_into`. Past a limit, the last one says that the rest was not read."""
    alone = armour.lone_pem(data)  # most files, at a fifth of the cost of what follows
    return (alone,) if alone is not None else _limited(_look_at(data, password))


def _limited(items: Iterable[FileItem]) -> Iterator[FileItem]:
    read = damaged = 0
    for found in items:
        if read == MAX_CERTIFICATES:
            why = f"holds more than {MAX_CERTIFICATES:,} certificates; the rest was not read"
            yield FileItem(found.form, 0, None, Reason.FILE_TOO_LARGE, why)
            return
        if damaged == MAX_DAMAGED:
            why = f"holds more than {MAX_DAMAGED:,} parts that are not certificates; the rest was not read"
            yield FileItem(found.form, 0, None, Reason.FILE_TOO_LARGE, why)
            return
        yield found
        read, damaged = read + bool(found.der), damaged + (not found.der)


def _look_at(data: bytes, password: Secret | None) -> Iterator[FileItem]:
    packed = container(data)
    if packed is not None:
        yield FileItem("", 0, None, *packed)
        return
    if kind_of(data):
        yield from look_at_keystore(data, password, armour.look_at_pem)
        return
    if len(data) > MAX_BYTES_BUT_PEM:
        yield from armour.look_at_pem(data)
        return
    data = armour.without_armour(armour.as_utf8(data))
    if not data.strip():
        yield FileItem("", 0, None, Reason.NO_CERTIFICATE, EMPTY)
    elif armour.is_pem(data):
        key = text_key(data) or (binary_key(data) if b"-----BEGIN " not in data else None)
        if key is not None:
            yield FileItem(key.form, 0, None, key.reason, key.why)
        else:
            yield from armour.look_at_pem(b"\n".join(filter(None, (data, armour.unwrapped(data)))))
    elif is_p12(data):
        yield from _in_p12(data, password)
    elif armour.is_pkcs7(data):
        yield from armour.look_at_pkcs7(data, 1)
    else:
        found = armour.look_at_der(data)
        key = None if found.der else binary_key(data)
        if key is not None:
            yield FileItem(key.form, 0, None, key.reason, key.why)
        elif found.reason is Reason.NO_CERTIFICATE and (what := _other_der(data)):
            yield found._replace(form="DER", why=f"holds {what}")
        else:
            yield found


def _in_p12(data: bytes, password: Secret | None) -> Iterable[FileItem]:
    # loads OpenSSL's PKCS#12, which a folder without a P12 does not need
    from runbook_lib.credentials.p12_files import look_at_p12

    return look_at_p12(data, password)


def is_p12(data: bytes) -> bool:
    """Whether a SEQUENCE starts with version 3, as PFX does (RFC 7292, section 4); its length may be indefinite."""
    length = data[1] if len(data) > 1 else 0
    start = 2 + (length & 0x7F if length & 0x80 else 0)
    return data[start : start + 3] == b"\x02\x01\x03"


def _other_der(data: bytes) -> str:
    """What DER holds other than a certificate or private key; empty if unknown."""
    for load, what in (
        (x509.load_der_x509_csr, "a certificate request"),
        (x509.load_der_x509_crl, "a revocation list"),
        (load_der_public_key, "a public key"),
    ):
        try:
            load(data)
            return what
        except UNDECODABLE:
            continue
    return ""


def _read(path: str) -> bytes:
    """The content of a file. Raises OSError, and RunbookError for anything but a regular file within the limits."""
    # opening must not follow a link, or wait for the other end of a pipe
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RunbookError(Reason.LINK_NOT_FOLLOWED, f"a link to {Path(path).readlink()}") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RunbookError(Reason.FILE_NOT_READ, "neither a regular file nor a folder that can be listed")
        if status.st_size > MAX_BYTES:
            raise RunbookError(Reason.FILE_TOO_LARGE, f"{status.st_size:,} bytes; the limit is {MAX_BYTES:,}")
        if status.st_size > MAX_BYTES_BUT_PEM and b"-----BEGIN " not in os.pread(descriptor, _FIRST, 0):
            why = f"{status.st_size:,} bytes; the limit for files other than PEM is {MAX_BYTES_BUT_PEM:,}"
            raise RunbookError(Reason.FILE_TOO_LARGE, why)
        data = os.read(descriptor, status.st_size + 1)
        while len(data) < status.st_size and (more := os.read(descriptor, status.st_size - len(data))):
            data += more
        if len(data) != status.st_size:  # half a file would be reported as a damaged certificate
            raise RunbookError(Reason.FILE_NOT_READ, "it changed while it was read")
        return data
    finally:
        os.close(descriptor)
