"""Unusual is not damaged: a certificate that breaks a rule of encoding is read, and is due like any other."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.clock import parse_utc
from runbook_lib.credentials.armour import FileItem
from runbook_lib.credentials.certificates import load_certificate, read_facts
from runbook_lib.credentials.fields import Fields, read_fields, tolerant
from runbook_lib.credentials.folder import look_at_content
from runbook_lib.errors import Reason, RunbookError
from tests.credentials.pki import identity
from tests.credentials.test_fields import OID, P256, SEQUENCE, SET, SHA256_ECDSA, element

CN = element(OID, b"\x55\x04\x03")
UTC_TIME, GENERALIZED = 0x17, 0x18


def name(value: bytes) -> bytes:
    """A common name whose value is encoded already."""
    return element(SEQUENCE, element(SET, element(SEQUENCE, CN, value)))


def certificate(
    *,
    subject: bytes = name(element(0x0C, b"x")),
    start: bytes = element(UTC_TIME, b"250101000000Z"),
    end: bytes = element(UTC_TIME, b"270101000000Z"),
    serial: bytes = b"\x01",
    key: bytes = P256,
    extensions: bytes = b"",
) -> bytes:
    tbs = element(
        *(SEQUENCE, element(0xA0, element(2, b"\2")), element(2, serial), SHA256_ECDSA, name(element(0x0C, b"CA"))),
        *(element(SEQUENCE, start, end), subject, key, extensions),
    )
    return element(SEQUENCE, tbs, SHA256_ECDSA, element(3, b"\0", bytes(8)))


def read(data: bytes) -> tuple[FileItem, Fields]:
    with tolerant():
        (found,) = look_at_content(data, None)
        return found, read_fields(found.certificate, found.der)


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (element(0x13, b"*.example.com"), "*.example.com"),
        (element(0x13, b"a@b_c&d!"), "a@b_c&d!"),
        (element(0x13, "Zürich".encode()), "Zürich"),
        (element(0x14, "Zürich".encode("latin-1")), "Zürich"),
        (element(0x16, "Zürich".encode("latin-1")), "Zürich"),
        (element(0x0C, b"Z\xfcrich"), "Zürich"),
        (element(0x1E, "Zürich".encode("utf-16-be")), "Zürich"),
        (element(0x13, b""), ""),
        (element(0x03, b"\0abc"), "#030400616263"),
    ],
)
def test_a_name_of_any_encoding_is_read_and_so_is_the_end(value: bytes, text: str):
    _, seen = read(certificate(subject=name(value)))
    assert seen.subject == f"CN={text}"
    assert (seen.not_after, seen.serial_hex, seen.unread) == (parse_utc("2027-01-01T00:00:00Z"), "1", "")


def test_an_empty_and_a_doubled_part_of_a_name_hide_nothing():
    part = element(SEQUENCE, CN, element(0x0C, b"x"))
    doubled = element(SEQUENCE, element(SET), element(SET, part, part))
    assert read(certificate(subject=doubled))[1].subject == "CN=x+CN=x"


@pytest.mark.parametrize(
    ("end", "moment"),
    [
        (element(UTC_TIME, b"270101013000+0130"), "2027-01-01T00:00:00Z"),
        (element(UTC_TIME, b"2701010000Z"), "2027-01-01T00:00:00Z"),
        (element(UTC_TIME, b"491231235959Z"), "2049-12-31T23:59:59Z"),
        (element(UTC_TIME, b"500101000000Z"), "1950-01-01T00:00:00Z"),
        (element(GENERALIZED, b"20270101000000.5Z"), "2027-01-01T00:00:00Z"),
        (element(GENERALIZED, b"20270101000000"), "2027-01-01T00:00:00Z"),
        (element(GENERALIZED, b"99991231235959Z"), "9999-12-31T23:59:59Z"),
        (element(GENERALIZED, b"99991231235959-0100"), "9999-12-31T23:59:59Z"),
        (element(GENERALIZED, b"00000101000000Z"), "0001-01-01T00:00:00Z"),
        (element(GENERALIZED, b"00010101000000+0100"), "0001-01-01T00:00:00Z"),
    ],
)
def test_an_end_in_any_form_and_at_either_end_of_the_calendar_is_an_end(end: bytes, moment: str):
    assert read(certificate(end=end))[1].not_after == parse_utc(moment)


def test_an_end_that_is_not_a_moment_is_reported_and_hides_no_other_field():
    _, seen = read(certificate(end=element(UTC_TIME, b"271301000000Z")))
    assert (seen.not_after, seen.subject, seen.unread) == (None, "CN=x", "end cannot be read")


@pytest.mark.parametrize(("serial", "text"), [(b"\0", "0"), (b"\xff", "-1"), (b"\0\0\1", "1"), (b"\1" * 30, "01" * 30)])
def test_any_serial_number_is_read(serial: bytes, text: str):
    assert read(certificate(serial=serial))[1].serial_hex == text.lstrip("0") or "0"


def test_a_key_of_an_unknown_kind_is_called_by_its_number():
    kind = element(SEQUENCE, element(OID, bytes.fromhex("2a8503020213")))
    gost = element(SEQUENCE, kind, element(3, bytes(65)))
    assert read(certificate(key=gost))[1].key == "1.2.643.2.2.19"


def test_an_rsa_key_with_an_odd_exponent_has_its_size():
    numbers = element(SEQUENCE, element(2, b"\0\xff" + bytes(254) + b"\1"), element(2, b"\1"))
    rsa = element(SEQUENCE, element(OID, bytes.fromhex("2a864886f70d010101")), element(5))
    assert read(certificate(key=element(SEQUENCE, rsa, element(3, b"\0", numbers))))[1].key == "RSA 2048"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.rstrip(),
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\\n"),
        lambda text: b"key: |\n" + b"".join(b"    " + line for line in text.splitlines(keepends=True)),
        lambda text: text.decode().encode("utf-16-le"),
        lambda text: text.decode().encode("utf-16-be"),
        lambda text: b"\n".join(text.splitlines()[1:-1]),
        lambda text: b"".join(text.splitlines()[1:-1]),
        lambda text: b"\xef\xbb\xbf" + b"\r\n".join(text.splitlines()[1:-1]),
        lambda text: text.partition(b"-----END")[0],
        lambda text: text.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
    ],
)
def test_one_certificate_is_the_same_however_its_base64_is_wrapped(wrap):
    leaf = identity().certificate
    found, _ = read(wrap(leaf.public_bytes(Encoding.PEM)))
    assert found.certificate == leaf


def test_bytes_after_a_certificate_are_reported_and_do_not_hide_it():
    leaf = identity().certificate.public_bytes(Encoding.DER)
    found, _ = read(pem(leaf + b"extra"))
    assert (found.der, found.reason, found.why) == (leaf, Reason.UNUSUAL_ENCODING, "5 bytes follow it")


def test_the_second_reader_gives_facts_of_what_cannot_be_used_here():
    odd = pem(certificate(subject=name(element(0x13, b"*.example.com"))))
    assert read_facts(odd, label="cert.pem").not_after == parse_utc("2027-01-01T00:00:00Z")
    with pytest.raises(RunbookError, match="breaks the encoding rules") as refused:
        load_certificate(odd)
    assert refused.value.reason is Reason.UNREADABLE_FILE
