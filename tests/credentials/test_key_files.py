"""A private key among certificates is reported as exposed if, and only if, no password protects it."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from runbook_lib.credentials.fields import tolerant
from runbook_lib.credentials.folder import look_at_content, look_into
from runbook_lib.errors import Reason

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
DSA = dsa.generate_private_key(2048)
SEALED = BestAvailableEncryption(b"long enough")
PEM, DER = Encoding.PEM, Encoding.DER
PKCS8, TRADITIONAL, OPENSSH = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH


def reasons(data: bytes) -> list[Reason | None]:
    with tolerant():
        return [one.reason for one in look_at_content(data, None)]


FORMS = [
    *((key, encoding, PKCS8) for key in (RSA, EC, ED, DSA) for encoding in (PEM, DER)),
    *((key, encoding, TRADITIONAL) for key in (RSA, EC, DSA) for encoding in (PEM, DER)),
    *((key, PEM, OPENSSH) for key in (RSA, EC, ED)),
]


@pytest.mark.parametrize(("key", "encoding", "form"), FORMS)
def test_a_key_is_exposed_without_encryption_and_not_with_it(
    key: PrivateKeyTypes, encoding: Encoding, form: PrivateFormat
) -> None:
    assert reasons(key.private_bytes(encoding, form, NoEncryption())) == [Reason.KEY_IN_PLAIN_TEXT]
    if form is OPENSSH or (encoding is DER and form is TRADITIONAL):
        return  # there is no such form, or it needs another library: see below
    sealed: KeySerializationEncryption = SEALED
    assert reasons(key.private_bytes(encoding, form, sealed)) == [Reason.NO_CERTIFICATE]


def test_a_key_of_an_algorithm_that_nobody_knows_is_exposed_by_its_structure() -> None:
    data = bytearray(ED.private_bytes(DER, PKCS8, NoEncryption()))
    at = data.index(bytes.fromhex("06032b6570"))
    data[at + 4] = 0x7E
    assert reasons(bytes(data)) == [Reason.KEY_IN_PLAIN_TEXT]


PPK = b"PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: %s\r\nComment: none\r\nPublic-Lines: 1\r\nAAAA\r\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PPK % b"none", Reason.KEY_IN_PLAIN_TEXT),
        (PPK % b"aes256-cbc", Reason.NO_CERTIFICATE),
        (json.dumps({"kty": "EC", "crv": "P-256", "x": "", "y": "", "d": "AA"}).encode(), Reason.KEY_IN_PLAIN_TEXT),
        (json.dumps({"keys": [{"kty": "oct", "k": "AA"}]}).encode(), Reason.KEY_IN_PLAIN_TEXT),
        (json.dumps({"kty": "EC", "crv": "P-256", "x": "", "y": ""}).encode(), Reason.NO_CERTIFICATE),
        (b'{"kty": ' + b"[" * 100_000, Reason.KEY_NOT_CHECKED),
        (b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n", Reason.KEY_NOT_CHECKED),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n", Reason.KEY_NOT_CHECKED),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", Reason.KEY_NOT_CHECKED),
        (bytes.fromhex("1ef1b5b0") + bytes(8) + b"\0\0\0\0" + bytes(100), Reason.KEY_IN_PLAIN_TEXT),
        (bytes.fromhex("1ef1b5b0") + bytes(8) + b"\1\0\0\0" + bytes(100), Reason.NO_CERTIFICATE),
        (b"\7\2\0\0\0\xa4\0\0RSA2" + bytes(100), Reason.KEY_IN_PLAIN_TEXT),
    ],
)
def test_keys_in_other_forms_are_reported_by_what_protects_them(data: bytes, reason: Reason) -> None:
    assert reasons(data) == [reason]


def test_a_public_key_is_nobodys_secret() -> None:
    assert reasons(EC.public_key().public_bytes(DER, PublicFormat.SubjectPublicKeyInfo)) == [Reason.NO_CERTIFICATE]


def test_a_key_in_base64_in_a_kubeconfig_is_exposed() -> None:
    key = EC.private_bytes(PEM, PKCS8, NoEncryption())
    config = b"users:\n- user:\n    client-key-data: " + base64.b64encode(key) + b"\n"
    assert reasons(config) == [Reason.KEY_IN_PLAIN_TEXT]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_openssh_key_is_exposed_only_without_a_cipher(line_end: bytes) -> None:
    key = ED.private_bytes(PEM, OPENSSH, NoEncryption())
    body = base64.b64decode(b"".join(key.splitlines()[1:-1]))
    sealed = body.replace(b"\0\0\0\4none\0\0\0\4none", b"\0\0\0\x0aaes256-ctr\0\0\0\6bcrypt")
    assert sealed != body
    for content, expected in ((body, Reason.KEY_IN_PLAIN_TEXT), (sealed, Reason.NO_CERTIFICATE)):
        lines = base64.encodebytes(content).replace(b"\n", line_end)
        text = b"-----BEGIN OPENSSH PRIVATE KEY-----" + line_end + lines + b"-----END OPENSSH PRIVATE KEY-----\n"
        assert reasons(text) == [expected]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.p12", b"\x31garbage", Reason.UNREADABLE_FILE),
        ("A.CRT", b"hello", Reason.UNREADABLE_FILE),
        ("a.key", b"\x00garbage", Reason.KEY_NOT_CHECKED),
        ("a.pem", b"", Reason.NO_CERTIFICATE),
        ("README", b"hello", Reason.NO_CERTIFICATE),
        ("dhparam.pem", b"-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", Reason.NO_CERTIFICATE),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_not_calm(
    tmp_path: Path, name: str, data: bytes, reason: Reason
) -> None:
    (tmp_path / name).write_bytes(data)
    with tolerant():
        assert [one.reason for one in look_into(str(tmp_path / name), None)] == [reason]


def test_a_file_that_holds_others_says_that_they_were_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    subprocess.run(["tar", "-cf", "t", "a"], cwd=tmp_path, check=True)
    subprocess.run(["gzip", "-k", "t"], cwd=tmp_path, check=True)
    for name in ("t", "t.gz"):
        assert reasons((tmp_path / name).read_bytes()) == [Reason.CONTAINER_NOT_OPENED]
    assert reasons(b"PK\x03\x04" + bytes(50)) == [Reason.CONTAINER_NOT_OPENED]
    assert reasons(b"SQLite format 3\0" + bytes(50)) == [Reason.KEYSTORE_NOT_READ]
    assert reasons(b"\0\0\0\2\0\0\0\x14" + bytes(50)) == [Reason.KEYSTORE_NOT_READ]
