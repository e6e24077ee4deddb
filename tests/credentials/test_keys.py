from __future__ import annotations

import base64
import random
import secrets
import string

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.credentials.fields import describe_key
from runbook_lib.credentials.keys import (
    KeyKind,
    check_password,
    generate,
    same_key,
    seal_key,
    spki,
    spki_sha256,
    unseal,
)
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import PrivateKey
from runbook_lib.secrets import Secret
from tests.credentials.pki import PASSWORD

KEY = generate(KeyKind.P256)
SEALED = seal_key(KEY, PASSWORD)


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        (KeyKind.RSA_2048, "RSA 2048"),
        (KeyKind.RSA_3072, "RSA 3072"),
        (KeyKind.RSA_4096, "RSA 4096"),
        (KeyKind.P256, "EC P-256"),
        (KeyKind.P384, "EC P-384"),
    ],
)
def test_every_kind_of_key_is_made_as_named(kind, description):
    assert describe_key(generate(kind).public_key()) == description


def test_a_sealed_key_opens_with_its_password():
    assert spki_sha256(unseal(SEALED, PASSWORD).public_key()) == spki_sha256(KEY.public_key())


def test_a_sealed_key_holds_no_plaintext():
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in SEALED
    plain = KEY.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    assert plain not in SEALED


def test_a_key_is_never_sealed_under_a_weak_password():
    with pytest.raises(RunbookError) as caught:
        seal_key(KEY, Secret("hunter2", "env:WEAK"))
    assert caught.value.reason is Reason.WEAK_PASSWORD
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_is_called_one_even_where_its_padding_happens_to_fit():
    # one wrong password in 256 gets past the padding: enough tries meet it
    for _ in range(600):
        with pytest.raises(RunbookError) as caught:
            unseal(SEALED, Secret(secrets.token_hex(16), "env:P12"))
        assert caught.value.reason is Reason.WRONG_PASSWORD
    with pytest.raises(RunbookError) as caught:
        unseal(SEALED, Secret("", "env:P12"))
    assert caught.value.reason is Reason.WRONG_PASSWORD


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", SEALED[:100], SEALED[:60] + b"\n-----END ENCRYPTED PRIVATE KEY-----\n"],
    ids=["empty", "junk", "cut off", "cut short"],
)
def test_a_damaged_sealed_key_is_unreadable(data):
    with pytest.raises(RunbookError) as caught:
        unseal(data, PASSWORD)
    assert caught.value.reason is Reason.UNREADABLE_FILE


def test_a_key_of_another_kind_is_refused():
    data = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.reveal().encode())
    )
    with pytest.raises(RunbookError, match="neither RSA nor EC"):
        unseal(data, PASSWORD)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255), st.booleans())
def test_a_damaged_sealed_key_never_raises_anything_else(position, change, cut):
    data = bytearray(SEALED)
    data[position] ^= change
    try:
        unseal(bytes(data[:position] if cut else data), PASSWORD)
    except RunbookError as error:
        assert error.reason in (Reason.WRONG_PASSWORD, Reason.UNREADABLE_FILE)


def in_base64(key: PrivateKey) -> str:
    return base64.b64encode(spki(key.public_key())).decode()


def test_the_api_s_public_key_is_recognised_however_it_is_wrapped():
    text = in_base64(KEY)
    wrapped = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    assert same_key(KEY.public_key(), text)
    assert same_key(KEY.public_key(), f"-----BEGIN PUBLIC KEY-----\n{wrapped}\n-----END PUBLIC KEY-----\n")


@pytest.mark.parametrize("text", ["", "MIIB...", "ä", "%%%%", in_base64(generate(KeyKind.P256))])
def test_another_public_key_is_not_taken_for_ours(text):
    assert not same_key(KEY.public_key(), text)


@pytest.mark.parametrize(
    ("length", "alphabet"),
    [
        (22, string.ascii_letters + string.digits),
        (25, string.ascii_lowercase + string.digits),
        (32, "0123456789abcdef"),
        (32, "0123456789ABCDEF"),
        (39, string.digits),
    ],
)
def test_a_random_password_of_128_bits_is_taken(length, alphabet):
    chance = random.Random(7)  # noqa: S311  (seeded, so that the test gives the same answer every time)
    for _ in range(200):
        check_password(Secret("".join(chance.choices(alphabet, k=length)), "env:P12"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short",
        "Zq7mT2xW9vKc4RbY8nHd3",  # 21 characters
        "0123456789abcdef0123456789abcde",  # 31 hexadecimal digits
        "8293740165829374016582937401658293740",  # 37 digits
        "abcabcabcabcabcabcabcabcabcabcabcabc",
        "0123456789abcdef0123456789abcdef",  # long enough, but the same twice
        "Zq7mT2xW9vKc4RbY8nHd3L\n",
        "Zq7mT2xW9vKc4RbY8nHd3L Zq7mT2xW9vKc",
        "Zq7mT2xW9|Kc4RbY8nHd3L5",
        "Zq7mT2xW9vKc4RbY8nHdäL5",
        "Zq7mT2xW9vKc4RbY8nHd٣L5",  # a digit, but not ASCII
    ],
)
def test_a_password_that_is_weak_or_that_some_reader_cannot_take_is_refused(text):
    with pytest.raises(RunbookError) as caught:
        check_password(Secret(text, "env:P12"))
    assert caught.value.reason is Reason.WEAK_PASSWORD
    assert not text.strip() or text.strip() not in str(caught.value)


@given(st.text(max_size=80))
def test_any_password_is_either_taken_or_refused_in_words(text):
    try:
        check_password(Secret(text, "env:P12"))
    except RunbookError as error:
        assert error.reason is Reason.WEAK_PASSWORD
    else:
        assert len(text) >= 22
        assert text.isascii()
        assert text.isalnum()
