"""BER that somebody broke on purpose: a value or a ValueError, and never another exception."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.type import univ, useful

from runbook_lib.credentials import lenient
from runbook_lib.credentials.ber import TruncatedBer, decode
from runbook_lib.credentials.fields import UNDECODABLE, tolerant
from runbook_lib.credentials.lenient import LenientCertificate
from tests.credentials.test_folder import DER

TYPES = [
    univ.Any(),
    univ.SequenceOf(componentType=univ.Any()),
    univ.SetOf(componentType=univ.Any()),
    *(univ.Integer(), univ.BitString(), univ.ObjectIdentifier(), univ.OctetString(), univ.Boolean()),
    *(useful.UTCTime(), useful.GeneralizedTime()),
]
FIELDS = ("subject", "issuer", "serial", "not_before", "not_after", "key", "signature")


def test_an_integer_is_its_value_and_what_stands_behind_it():
    value, rest = decode(b"\x02\x01\x07rest", univ.Integer())
    assert (int(value), rest) == (7, b"rest")


def test_a_length_beyond_any_memory_is_a_truncated_element():
    with pytest.raises(TruncatedBer):
        decode(b"\x30\x88" + b"\xbc" * 8, univ.Any())


def test_a_bit_string_without_its_first_byte_is_refused():
    with pytest.raises(ValueError, match="index"):
        decode(b"\x03\x80\xea\x00", univ.BitString())


@pytest.mark.parametrize("kind", TYPES, ids=lambda one: type(one).__name__)
@given(data=st.binary(min_size=1, max_size=40), length=st.sampled_from([b"", b"\x80", b"\x88", b"\xff"]))
@settings(deadline=None)
def test_any_bytes_are_a_value_or_a_value_error(kind: univ.Any, data: bytes, length: bytes):
    tag = bytes([kind.tagSet[0].tagId | kind.tagSet[0].tagFormat]) if len(kind.tagSet) else data[:1]
    for encoded in (data, tag + length + data):
        with contextlib.suppress(ValueError):
            decode(encoded, kind)


@given(st.integers(0, len(DER) - 1), st.binary(min_size=1, max_size=9))
@settings(max_examples=400, deadline=None)
def test_a_changed_certificate_has_fields_or_says_which_cannot_be_read(at: int, instead: bytes):
    try:
        certificate = LenientCertificate(DER[:at] + instead + DER[at + len(instead) :])
    except UNDECODABLE:
        return
    for name in FIELDS:
        try:
            with tolerant():
                getattr(certificate, name)()
        except UNDECODABLE:
            pass


def test_a_certificate_whose_algorithm_is_empty_is_read_but_for_it():
    signed, *signature = lenient._parts(DER)
    version, serial, _, *others = lenient._parts(signed)
    changed = lenient._list(lenient._SEQUENCE, version, serial, b"\x30\x00", *others)
    certificate = LenientCertificate(lenient._list(lenient._SEQUENCE, changed, *signature))
    assert certificate.subject()
    with pytest.raises(ValueError, match="empty"):
        certificate.signature()
