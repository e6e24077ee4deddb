"""What a file in a folder of certificates holds: each certificate in it, or in words why it is none.

`armour` reads PEM, DER and PKCS#7. A PKCS#12 is opened here, and only with a password: opening one costs a check of its
key.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from runbook_lib.credentials import armour
from runbook_lib.credentials.armour import Found, known_certificate
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.secrets import Secret

MAX_BYTES = 64 * 2**20
"""Of one file, which is read whole: some 40,000 certificates in PEM."""

MAX_CERTIFICATES = 50_000
"""Of one file."""

MAX_DAMAGED = 1_000
"""Parts of one file that should have been certificates: what goes on like that is not a file of certificates."""

_RC2_40 = bytes.fromhex("060a2a864886f70d010c0106")
"""pbeWithSHAAnd40BitRC2-CBC (RFC 7292, appendix C): a P12 names the cipher of its certificates in plain sight."""


def look_into(path: str, password: Secret | None) -> Iterable[Found]:
    """What a file holds, in its order, within `fields.tolerant()`. Links are not followed.

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
    alone = armour.lone_pem(data)  # most files, at a fifth of the cost of what follows
    return (alone,) if alone is not None else _limited(_look_at(data, password))


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
        read, damaged = read + bool(found.der), damaged + (not found.der)


def _look_at(data: bytes, password: Secret | None) -> Iterator[Found]:
    data = armour.without_armour(armour.as_utf8(data))
    if not data.strip():
        yield Found("", 0, None, Reason.NO_CERTIFICATE, "empty")
    elif armour.is_pem(data):
        yield from armour.look_at_pem(data)
    elif _is_p12(data):
        yield from _in_p12(data, password)
    elif armour.is_pkcs7(data):
        yield from armour.look_at_pkcs7(data, 1)
    else:
        yield armour.look_at_der(data)


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
        flaw: tuple[Reason | None, str] = (Reason.OLD_ENCRYPTION, "encrypted with 40-bit RC2")
    elif not identity.chain:
        flaw = (Reason.CHAIN_MISSING, "without the CA certificate above it")
    else:
        flaw = (None, "")
    yield known_certificate("P12", 1, identity.certificate, *flaw)
    for number, one in enumerate(identity.chain, 2):
        yield known_certificate("P12", number, one)
