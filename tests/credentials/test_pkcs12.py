from __future__ import annotations

import os
import pickle
import subprocess
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption
from cryptography.hazmat.primitives.serialization import pkcs12 as pyca
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.credentials.certificates import extended_key_usage, facts
from runbook_lib.credentials.keys import KeyKind, generate, seal_key, spki_sha256
from runbook_lib.credentials.pkcs12 import Profile, open_p12, unrelated_identity, write_p12
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.secrets import Secret
from tests.credentials.pki import CHAIN, OTHER_PASSWORD, PASSWORD, identity

WHOLE = identity()
P12 = write_p12(WHOLE, PASSWORD, profile=Profile.MODERN, friendly_name="demo")


def refused(data: bytes, password: Secret = PASSWORD) -> RunbookError:
    with pytest.raises(RunbookError) as caught:
        open_p12(data, password, label="client_auth.p12")
    assert "client_auth.p12" in caught.value.what
    assert password.reveal().strip() not in str(caught.value) or not password.reveal().strip()
    return caught.value


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("kind", [KeyKind.RSA_2048, KeyKind.P256, KeyKind.P384])
def test_what_is_written_opens_again_with_key_certificate_and_chain_in_order(profile, kind):
    given = identity(kind)
    opened = open_p12(write_p12(given, PASSWORD, profile=profile, friendly_name="demo"), PASSWORD)
    assert opened.certificate == given.certificate
    assert opened.chain == CHAIN
    assert spki_sha256(opened.key.public_key()) == spki_sha256(given.key.public_key())


def test_an_identity_shows_whom_it_names_and_never_its_key():
    text = f"{WHOLE!r} {WHOLE} {[WHOLE]}"
    assert "Demo API Service User" in text
    assert f"{WHOLE.certificate.serial_number:X}" in text
    assert "Key" not in text
    with pytest.raises(TypeError):
        pickle.dumps(WHOLE)


def test_no_p12_is_written_without_its_chain():
    with pytest.raises(RunbookError) as caught:
        write_p12(Identity(WHOLE.key, WHOLE.certificate), PASSWORD, profile=Profile.MODERN, friendly_name="demo")
    assert caught.value.reason is Reason.CHAIN_MISSING


def test_no_p12_is_written_with_another_key():
    with pytest.raises(RunbookError) as caught:
        stranger = Identity(generate(KeyKind.P256), WHOLE.certificate, CHAIN)
        write_p12(stranger, PASSWORD, profile=Profile.MODERN, friendly_name="demo")
    assert caught.value.reason is Reason.KEY_MISMATCH


@pytest.mark.parametrize("text", ["", "short", "Zq7mT2xW9vKc4RbY8nHd3L\n"])
def test_no_p12_is_written_under_a_weak_or_empty_password(text):
    with pytest.raises(RunbookError) as caught:
        write_p12(WHOLE, Secret(text, "env:P12"), profile=Profile.MODERN, friendly_name="demo")
    assert caught.value.reason is Reason.WEAK_PASSWORD


@pytest.mark.parametrize(
    "password",
    [
        OTHER_PASSWORD,
        Secret("", "env:P12"),
        Secret("pässwort", "env:P12"),
        Secret("with\0nul", "env:P12"),
        Secret("not utf-8: \udce4", "env:P12"),
        Secret("no text: \ud800", "env:P12"),
    ],
)
def test_a_wrong_password_is_called_one(password):
    error = refused(P12, password)
    assert error.reason is Reason.WRONG_PASSWORD
    assert password.source in error.what


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}", "\t{} "])
def test_a_password_with_a_line_end_around_it_is_reported(around):
    error = refused(P12, Secret(around.format(PASSWORD.reveal()), "file:/run/p12"))
    assert error.reason is Reason.WRONG_PASSWORD
    assert "The password from file:/run/p12 has a space or line end around it" in error.what
    assert "around it" not in refused(P12, Secret(around.format(OTHER_PASSWORD.reveal()), "env:P12")).what


def test_one_changed_byte_is_found():
    data = bytearray(P12)
    data[len(data) // 2] ^= 1
    error = refused(bytes(data))
    assert error.reason is Reason.WRONG_PASSWORD
    assert "or the file was changed" in error.what


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (P12[:-1], "truncated"),
        (P12[: len(P12) // 2], "truncated"),
        (b"hello", "not PKCS#12"),
        (WHOLE.certificate.public_bytes(Encoding.DER), "not PKCS#12"),
        (WHOLE.certificate.public_bytes(Encoding.PEM), "PEM"),
        (seal_key(WHOLE.key, PASSWORD), "PEM"),
    ],
)
def test_what_is_not_a_p12_is_unreadable(data, says):
    error = refused(data)
    assert error.reason is Reason.UNREADABLE_FILE
    assert says in error.what


def raw(key: Any, certificate: Any, chain: Any) -> bytes:
    """What pyca writes without our checks."""
    encryption = BestAvailableEncryption(PASSWORD.reveal().encode())
    return pyca.serialize_key_and_certificates(b"x", key, certificate, chain, encryption)


def test_a_p12_without_a_key_is_reported():
    error = refused(raw(None, WHOLE.certificate, CHAIN))
    assert error.reason is Reason.P12_WITHOUT_KEY
    assert "3 certificates" in error.what


def test_a_p12_with_another_s_certificate_is_reported():
    error = refused(raw(generate(KeyKind.P256), None, [WHOLE.certificate]))
    assert error.reason is Reason.KEY_MISMATCH


def test_a_p12_without_a_certificate_is_reported():
    error = refused(raw(WHOLE.key, None, None))
    assert error.reason is Reason.UNREADABLE_FILE
    assert "no certificate" in error.what


def test_a_p12_without_a_password_is_refused_and_its_key_called_exposed():
    data = pyca.serialize_key_and_certificates(b"x", WHOLE.key, WHOLE.certificate, None, NoEncryption())
    error = refused(data)
    assert error.reason is Reason.WRONG_PASSWORD
    assert "no password" in error.what
    assert "exposed" in error.remedy


@pytest.mark.interop
def test_a_file_with_the_old_rc2_that_openssl_3_refuses_still_opens(tmp_path):
    (tmp_path / "sealed.pem").write_bytes(seal_key(WHOLE.key, PASSWORD))
    (tmp_path / "cert.pem").write_bytes(WHOLE.certificate.public_bytes(Encoding.PEM))
    environ = {**os.environ, "P": PASSWORD.reveal()}
    subprocess.run(
        ["openssl", "pkcs12", "-export", "-legacy", "-in", "cert.pem", "-inkey", "sealed.pem", "-passin", "env:P",
         "-passout", "env:P", "-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-RC2-40", "-out", "old.p12"],
        check=True, cwd=tmp_path, env=environ,
    )  # fmt: skip
    plain = ["openssl", "pkcs12", "-in", "old.p12", "-noout", "-passin", "env:P"]
    assert subprocess.run(plain, cwd=tmp_path, env=environ, check=False, capture_output=True).returncode != 0
    assert open_p12((tmp_path / "old.p12").read_bytes(), PASSWORD).certificate == WHOLE.certificate


@given(st.integers(0, len(P12) - 1), st.integers(0, 255), st.booleans(), st.binary(max_size=3))
def test_a_damaged_p12_never_raises_anything_else(position, change, cut, tail):
    data = bytearray(P12)
    data[position] ^= change
    try:
        open_p12(bytes(data[:position] if cut else data) + tail, PASSWORD)
    except RunbookError as error:
        assert error.reason in (Reason.WRONG_PASSWORD, Reason.UNREADABLE_FILE, Reason.P12_WITHOUT_KEY)


@given(st.text(max_size=40))
def test_no_other_password_opens_it_and_none_raises_anything_else(text):
    with pytest.raises(RunbookError):
        open_p12(P12, Secret(text, "env:P12"))


def test_an_unrelated_identity_is_a_client_certificate_of_nobody():
    one, other = unrelated_identity(), unrelated_identity()
    seen = facts(one.certificate)
    assert extended_key_usage(one.certificate) == ("clientAuth",)
    assert seen.subject == seen.issuer
    assert one.chain == ()
    assert seen.spki_sha256 != facts(other.certificate).spki_sha256
