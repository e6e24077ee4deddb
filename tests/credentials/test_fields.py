"""The fields of a certificate are what pyca says of them, and the second reader reads them the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook_lib.credentials.armour import read_certificate
from runbook_lib.credentials.certificates import facts
from runbook_lib.credentials.fields import UNDECODABLE, describe_key, read_fields, tolerant
from runbook_lib.credentials.keys import KeyKind, generate
from tests.credentials.pki import CHAIN, ROOT, identity, name, sign
from tests.soak import SOAK

PYCA: dict[str, Callable[[x509.Certificate], object]] = {
    "subject": lambda one: one.subject.rfc4514_string(),
    "issuer": lambda one: one.issuer.rfc4514_string(),
    "serial_hex": lambda one: f"{one.serial_number:X}",
    "not_before": lambda one: one.not_valid_before_utc,
    "not_after": lambda one: one.not_valid_after_utc,
    "key": lambda one: describe_key(one.public_key()),
    "sha256": lambda one: hashlib.sha256(one.public_bytes(Encoding.DER)).hexdigest(),
}


def agrees(der: bytes) -> bool:
    """Whether pyca accepted a certificate. If so, our fields must equal pyca's, with the certificate and without."""
    with tolerant():
        try:
            certificate = x509.load_der_x509_certificate(der)
        except UNDECODABLE:
            read_certificate("DER", 1, der)  # a certificate or a reason, and never an exception
            return False
        fields, second = read_fields(certificate, der), read_fields(None, der)
        for field, word in PYCA.items():
            try:
                expected = word(certificate)
            except UNDECODABLE:
                continue
            assert getattr(fields, field) == expected
            assert getattr(second, field) == expected, (field, second)
    return True


# --- certificates by hand, as odd as wanted ---------------------------------------------------------------------------


def element(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    size = len(body)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 0x80 else bytes([0x80 | len(octets)]) + octets) + body


SEQUENCE, SET, OID = 0x30, 0x31, 0x06
SHA256_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")
ATTRIBUTES = [bytes([0x55, 4, last]) for last in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 45)]
ATTRIBUTES += [bytes.fromhex(one) for one in ("0992268993f22c640119", "0992268993f22c640101", "2a864886f70d010901")]
STRINGS = {0x0C: "utf-8", 0x14: "utf-8", 0x16: "ascii", 0x1E: "utf-16-be", 0x1C: "utf-32-be", 0x12: "ascii"}
PRINTABLE = 0x13
TEXTS = st.text("aZ0 #,+=\"\\;<>'()/:?-_@*&é证\0\r\n", max_size=12) | st.text(max_size=150)


def seldom(odd: st.SearchStrategy[bytes], usual: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """So that most certificates are odd in one place, and few in so many that pyca takes them for none."""
    return st.integers(0, 30).flatmap(lambda number: usual if number else odd)


@st.composite
def attribute(draw: st.DrawFn) -> bytes:
    tag = draw(st.sampled_from([*STRINGS, 0x0C, PRINTABLE, PRINTABLE]))
    if tag == PRINTABLE:
        usual = st.text("aZ0 ,+='()/:?-.", max_size=12).map(str.encode)
    else:
        usual = TEXTS.map(lambda text: text.encode(STRINGS[tag], "replace"))
    value = draw(seldom(st.binary(max_size=9), usual))
    return element(SEQUENCE, element(OID, draw(st.sampled_from(ATTRIBUTES))), element(tag, value))


names = st.lists(
    st.lists(attribute(), min_size=1, max_size=2).map(lambda several: element(SET, *sorted(several))), max_size=4
).map(lambda rdns: element(SEQUENCE, *rdns))


def spki(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


def rsa_of(bits: int, exponent: int = 65537, low: int = 1) -> bytes:
    """Of a modulus that is any number."""
    return spki(rsa.RSAPublicNumbers(exponent, 1 << bits - 1 | 0x55 << 300 | low).public_key())


CURVES = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1(), ec.BrainpoolP256R1())
P256 = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
COMPRESSED = (
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
)
KEYS = [
    *(spki(ec.generate_private_key(curve).public_key()) for curve in CURVES),
    *(rsa_of(bits) for bits in (1024, 2047, 2048, 3072, 4096, 8192)),
    *(rsa_of(2048, exponent) for exponent in (3, 0x10001 + 2, 2**40 + 1)),
    rsa_of(2048, low=0),
    spki(ed25519.Ed25519PrivateKey.generate().public_key()),
    spki(ed448.Ed448PrivateKey.generate().public_key()),
    spki(x25519.X25519PrivateKey.generate().public_key()),
    spki(dsa.generate_private_key(1024).public_key()),  # noqa: S505  (many an old certificate has one)
    element(SEQUENCE, P256[2:23], element(3, b"\0", COMPRESSED)),
    element(SEQUENCE, P256[2:23], element(3, b"\0\0")),  # the point at infinity
    P256[:27] + bytes(64),
    P256[:27] + b"\xff" * 64,
    element(SEQUENCE, element(SEQUENCE, element(OID, b"\x2a\x03")), element(3, b"\0abc")),
]


@st.composite
def broken_key(draw: st.DrawFn) -> bytes:
    key = bytearray(draw(st.sampled_from(KEYS)))
    key[draw(st.integers(0, len(key) - 1))] = draw(st.integers(0, 255))
    return bytes(key)


def moment(*most: int) -> st.SearchStrategy[bytes]:
    """UTCTime or GeneralizedTime whose parts, from the century on, are at most these."""
    parts = st.tuples(*(st.integers(int(place in (2, 3)), one) for place, one in enumerate(most)))
    texts = parts.map(lambda numbers: "".join(f"{one:02}" for one in numbers) + "Z")
    return texts.map(lambda text: element(0x17, text[2:].encode())) | texts.map(
        lambda text: element(0x18, text.encode())
    )


moments = seldom(moment(99, 99, 13, 32, 24, 60, 61), moment(20, 99, 12, 28, 23, 59, 59))
serials = seldom(
    st.binary(min_size=1, max_size=24),
    st.binary(min_size=1, max_size=20).map(lambda data: b"\x4a" + data)
    | st.sampled_from([b"\0", b"\1", b"\xff", b"\x0a\xbc", b"\0\xff"]),
)
versions = seldom(
    st.sampled_from([element(0xA0, element(2, bytes([one]))) for one in (0, 1, 3)]),
    st.sampled_from([b"", element(0xA0, element(2, b"\2"))]),
)


@st.composite
def certificates(draw: st.DrawFn) -> bytes:
    tbs = element(
        *(SEQUENCE, draw(versions), element(2, draw(serials)), SHA256_ECDSA, draw(names)),
        *(element(SEQUENCE, draw(moments), draw(moments)), draw(names)),
        draw(st.sampled_from(KEYS) | broken_key()),
    )
    behind = draw(seldom(st.just(b"\n"), st.just(b"")))
    return element(SEQUENCE, tbs, SHA256_ECDSA, element(3, b"\0", bytes(8))) + behind


# --- the tests --------------------------------------------------------------------------------------------------------


@given(certificates())
@settings(max_examples=800 if SOAK else 200, suppress_health_check=[HealthCheck.too_slow])
def test_the_fields_of_any_certificate_are_what_pyca_says(der: bytes):
    agrees(der)


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_every_kind_of_key_is_called_what_pyca_calls_it(number: int):
    dates = element(SEQUENCE, element(0x17, b"260101000000Z"), element(0x17, b"270101000000Z"))
    nobody = element(SEQUENCE)
    tbs = element(
        *(SEQUENCE, element(0xA0, element(2, b"\2")), element(2, b"\1"), SHA256_ECDSA),
        *(nobody, dates, nobody, KEYS[number]),
    )
    assert agrees(element(SEQUENCE, tbs, SHA256_ECDSA, element(3, b"\0", bytes(8))))


@given(st.data())
@settings(max_examples=400 if SOAK else 100)
def test_a_certificate_with_a_changed_byte_is_read_as_pyca_reads_it(data: st.DataObject):
    der = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    agrees(bytes(der))


WHOLE = [
    one.public_bytes(Encoding.DER)
    for one in (
        identity().certificate,
        *CHAIN,
        identity(KeyKind.RSA_2048).certificate,
        identity(KeyKind.P384).certificate,
    )
]


def test_fields_say_what_the_facts_say_also_of_odd_certificates():
    key = generate(KeyKind.P384)
    odd = sign(key.public_key(), name("O\\=dd, \u8bc1 #1"), name('CA "x"+y'), ROOT.key, serial=0xABC)
    with tolerant():
        for one in (*(x509.load_der_x509_certificate(der) for der in WHOLE), odd):
            fields, known = read_fields(one, one.public_bytes(Encoding.DER)), facts(one)
            assert fields[:-2] == tuple(getattr(known, field) for field in fields._fields[:-2])
            assert (fields.unusual, fields.unread) == ("", "")
    assert fields.serial_hex == "ABC"
